"""The section `loss`: its keys are what the terms declare, its values are checked as they say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import AfterValidator, create_model, model_validator

from litemkd.config.names import Section, named, one_of, said
from litemkd.config.own import free_name, keys_of, mistake, own
from litemkd.extending.declared import settings_of
from litemkd.losses import D2M, TERMS
from litemkd.losses.focal import Focal
from litemkd.losses.presets import preset, preset_names
from litemkd.losses.term import NEEDS, find_term

PresetName = Annotated[str, AfterValidator(one_of("loss", preset_names())), named(*preset_names())]


def _check(term: type[Any], settings: Mapping[str, Any]) -> None:
    """What only a term that is made tells: what its settings let it need."""
    try:
        needs = term(**settings).needs
    except Exception as error:
        raise mistake(f"{type(error).__name__}: {error}") from error
    if strange := [need for need in needs if need not in NEEDS]:
        raise ValueError(f"it needs {strange[0]!r}; {', '.join(NEEDS)} would do")


OwnName = Annotated[str, free_name("term", {term.name for term in TERMS}, "a metric")]


class _Loss(Section):
    """D2M: weights and forms of its terms, and terms from outside. What they compute: docs/losses.md."""

    later: ClassVar[frozenset[str]] = frozenset({"terms"})

    preset: PresetName | None = said(
        None, "a loss by name; it replaces what files below say of the loss, and other keys override it"
    )
    terms: dict[OwnName, Annotated[Any, own(find_term, "term", _check)]] = said(
        {},
        "terms of your own by name: what to `use`, `weight`, and what the term declares; see "
        "docs/losses.md#a-term-of-your-own",
    )

    @model_validator(mode="before")
    @classmethod
    def _from_preset(cls, values: Any) -> Any:
        """Put the preset's values beneath those given."""
        name = values.get("preset") if isinstance(values, Mapping) else None
        return {**preset(name).values, **values} if name in preset_names() else values

    @property
    def d2m(self) -> D2M:
        """The loss of distillation."""
        return D2M.of(**self.model_dump(exclude={"preset"}))


def _keys() -> dict[str, Any]:
    """The weights by the names of their terms, then the other settings."""
    declared = {term.name: settings_of(term) for term in TERMS}
    weights = {name: own["weight"] for name, own in declared.items()}
    others = [{**own} for own in (*declared.values(), settings_of(Focal))]
    for one in others:
        one.pop("weight", None)
    return keys_of("terms of the loss", [weights, *others])


if TYPE_CHECKING:
    LossConfig = _Loss  # the other keys are not known before the terms are read
else:
    LossConfig = create_model(
        "LossConfig", __base__=_Loss, __module__=__name__, __doc__=_Loss.__doc__, **_keys()
    )
