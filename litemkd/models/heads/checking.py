"""Whether what a head is given has the form that it works on: told before torch stumbles over a mistake."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from litemkd.errors import EpisodeError


def check_features(
    features: Tensor, places: int, wants: tuple[int, int] | None, leading: Sequence[str] | None = None
) -> None:
    """Features of frames: (…, T, D), or (…, T, places, D).

    Args:
        features: what is given.
        places: of a frame's map; 1 for none.
        wants: T and D where only these will do.
        leading: names of the axes before these; any when not given.

    Raises:
        EpisodeError: another form.
    """
    axes = ["T", "D"] if places == 1 else ["T", str(places), "D"]
    if wants is not None:
        axes[0], axes[-1] = map(str, wants)
    expected = f"({', '.join([*(leading or ['…']), *axes])})"
    shape = _shape(features, "features", expected)
    if not features.is_floating_point():
        raise EpisodeError(f"features: {_type(features)} given; floating-point numbers would do")
    given = [str(size) for size in shape[-len(axes) :]]
    fits = all(not axis.isdigit() or axis == size for axis, size in zip(axes, given, strict=False))
    deep = len(shape) == len(axes) + len(leading) if leading else len(shape) >= len(axes)
    if not (deep and fits):
        one = leading is not None and len(shape) == len(axes) + len(leading) - 1
        hint = "; features[None] for one episode" * one
        raise EpisodeError(f"features: shape {shape} given; {expected} would do{hint}")


def checked_labels(support: Tensor, labels: Tensor, query: Tensor, way: int) -> Tensor:
    """Labels of supports as int64, when the episodes that they belong to have the right form.

    Args:
        support: (B, S, …).
        labels: (B, S) whole numbers of any type.
        query: (B, Q, …), with the same axes behind.
        way: W.

    Raises:
        EpisodeError: another form; whether every class has a support is not looked at.
    """
    if isinstance(way, bool) or not isinstance(way, int) or way < 1:
        raise EpisodeError(f"way: {way!r} given; the number of classes, 1 or more, would do")
    labels = whole_numbers(labels, "support labels", ("B", "S"))
    for name, codes, axes in (("supports", support, "(B, S, …)"), ("queries", query, "(B, Q, …)")):
        shape = _shape(codes, name, axes)
        if len(shape) < 3 or shape[0] != labels.shape[0]:
            raise EpisodeError(
                f"{name}: shape {shape} given, support labels {tuple(labels.shape)}; {axes} would do, with as "
                "many episodes B as labels have"
            )
    if support.shape[1] != labels.shape[1]:
        raise EpisodeError(
            f"support labels: shape {tuple(labels.shape)} given for supports {tuple(support.shape)}; one a "
            f"support, {tuple(support.shape[:2])}, would do"
        )
    if support.shape[2:] != query.shape[2:]:
        raise EpisodeError(
            f"queries: shape {tuple(query.shape)} given, supports {tuple(support.shape)}; the same axes behind "
            "the second would do"
        )
    return labels


def whole_numbers(numbers: Tensor, name: str, axes: Sequence[str]) -> Tensor:
    """Whole numbers of any type as int64; EpisodeError: others, or with other axes."""
    expected = f"({', '.join(axes)})"
    shape = _shape(numbers, name, expected)
    if numbers.dtype == torch.bool or numbers.is_floating_point() or numbers.is_complex():
        raise EpisodeError(f"{name}: {_type(numbers)} given; whole numbers would do, for instance torch.int64")
    if len(shape) != len(axes):
        hint = f"; {name.split()[-1]}[None] for one episode" * (len(shape) == len(axes) - 1)
        raise EpisodeError(f"{name}: shape {shape} given; {expected} would do{hint}")
    return numbers.long()


def _shape(given: object, name: str, expected: str) -> tuple[int, ...]:
    if not isinstance(given, Tensor):
        raise EpisodeError(f"{name}: {type(given).__name__} given; a tensor {expected} would do")
    return tuple(given.shape)


def _type(tensor: Tensor) -> str:
    return str(tensor.dtype)
