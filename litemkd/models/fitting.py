"""Tensors that others saved, fitted to a network: below a prefix, without a classifier, or by their order."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from litemkd.errors import some


class UnfitError(ValueError):
    """Tensors that are not of this network; the message says in what, as in `state dict (MESSAGE)`."""


@dataclass(frozen=True)
class Fitted:
    """Tensors under a network's own names.

    Attributes:
        state: by name.
        notes: what was done to them, and what was not there, a line each.
    """

    state: Mapping[str, Tensor]
    notes: tuple[str, ...] = ()

    def into(self, network: nn.Module) -> None:
        """Load them; what is not among them stays as it is."""
        state = OrderedDict(self.state)
        # Some networks of torchvision ask which version of them a state is of: of this one, since it fits.
        state._metadata = getattr(network.state_dict(), "_metadata", {})  # type: ignore[attr-defined]
        network.load_state_dict(state, strict=False)


def tensors_of(saved: Any) -> dict[str, Tensor]:
    """All tensors of what was saved, those in mappings below it by dotted names; other values are left out.

    Raises:
        UnfitError: there are none.
    """
    found: dict[str, Tensor] = {}

    def look(values: Mapping[Any, Any], prefix: str) -> None:
        for key, value in values.items():
            if isinstance(value, Tensor):
                found[f"{prefix}{key}"] = value
            elif isinstance(value, Mapping):
                look(value, f"{prefix}{key}.")

    if isinstance(saved, Mapping):
        look(saved, "")
    if not found:
        raise UnfitError(f"it holds no tensors by name but {type(saved).__name__}")
    return found


def fit_by_name(state: Mapping[str, Tensor], network: nn.Module, needed: Collection[str]) -> Fitted:
    """The tensors of a network among those of a file, whose names may have one prefix more.

    Args:
        state: of the file, by name.
        network: the whole one, with its classifier.
        needed: names of the network's tensors without which it is of no use. The others may be missing, or of
            another shape: a classifier of other classes.

    Raises:
        UnfitError: one of those is missing or of another shape; a tensor beside them is not of this network; or
            several prefixes would do.
    """
    own: Mapping[str, Any] = network.state_dict()
    unfit = {prefix: _unfit(state, own, needed, prefix) for prefix in _prefixes(state, needed)}
    good = [prefix for prefix, problems in unfit.items() if not problems]
    if len(good) > 1:
        raise UnfitError(
            f"its tensors fit below {' and below '.join(f'`{one}`' for one in good)}; one would do"
        )
    if not good:
        if not unfit:
            wanted = next(iter(needed))
            raise UnfitError(f"none of its {len(state)} tensors is called {wanted}; it has {some(state, 2)}")
        prefix = min(unfit, key=lambda one: len(unfit[one]))
        more = f", and {len(unfit[prefix]) - 1} more" if len(unfit[prefix]) > 1 else ""
        raise UnfitError(f"{f'below `{prefix}` ' * bool(prefix)}{unfit[prefix][0]}{more}")
    (prefix,) = good
    fits = {name for name in own if _has(state, own, f"{prefix}{name}", name)}
    return Fitted(
        {name: state[f"{prefix}{name}"] for name in own if name in fits},
        tuple(_notes(state, prefix, [name for name in own if name not in fits and name not in needed])),
    )


def fit_in_order(state: Mapping[str, Tensor], network: nn.Module) -> Fitted:
    """All tensors of a network by another network's names, one after the other.

    Raises:
        UnfitError: another number of tensors, or one of another shape.
    """
    own = network.state_dict()
    if len(own) != len(state):
        raise UnfitError(f"it has {len(state)} tensors, this network {len(own)}")
    for (name, mine), (key, value) in zip(own.items(), state.items(), strict=True):
        if mine.shape != value.shape:
            raise UnfitError(f"{key} is {tuple(value.shape)}, {name} of this network {tuple(mine.shape)}")
    return Fitted(dict(zip(own, state.values(), strict=True)))


def _prefixes(state: Mapping[str, Tensor], needed: Collection[str]) -> list[str]:
    """What stands before the names of a network's tensors in a file, for all or some of them."""
    first = next(iter(needed))
    return [key.removesuffix(first) for key in state if key == first or key.endswith(f".{first}")]


def _unfit(
    state: Mapping[str, Tensor], own: Mapping[str, Any], needed: Collection[str], prefix: str
) -> list[str]:
    """What is wrong with the tensors below a prefix."""
    problems = []
    for name in needed:
        key = f"{prefix}{name}"
        if key not in state:
            if not name.endswith("num_batches_tracked"):  # which older files have not, and nobody needs
                problems.append(f"{name} is missing")
        elif not _has(state, own, key, name):
            shapes = tuple(state[key].shape), tuple(own[name].shape)
            problems.append(f"{name} is {shapes[0]} there, {shapes[1]} in this network")
    known = {f"{prefix}{name}" for name in own}
    problems += [f"{key} is not of it" for key in state if key.startswith(prefix) and key not in known]
    return problems


def _has(state: Mapping[str, Tensor], own: Mapping[str, Any], key: str, name: str) -> bool:
    return key in state and state[key].shape == own[name].shape


def _notes(state: Mapping[str, Tensor], prefix: str, left: list[str]) -> list[str]:
    notes = []
    if prefix:
        outside = [key for key in state if not key.startswith(prefix)]
        beside = f"; left out, outside of it: {some(outside, 3)}" if outside else ""
        notes.append(f"the prefix `{prefix}` was taken off its tensors' names{beside}")
    if left:
        other = [name for name in left if f"{prefix}{name}" in state]
        how = f"of another shape: {some(other, 3)}" if other else f"not there: {some(left, 3)}"
        notes.append(f"no classifier is loaded, which a backbone does without ({how})")
    return notes
