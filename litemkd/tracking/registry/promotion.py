"""The choice of the champion and the lite version, a pure function of what was measured on the val classes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

MARGIN = 1.0  # points of accuracy that `lite` may be below the champion
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Candidate:
    """What the choice of a champion looks at.

    Attributes:
        val_accuracy: per cent, None when it was never measured.
        cost: GMACs per episode, None when it was never measured.
        protocol: versions are compared with those of the same protocol only.
    """

    number: int
    val_accuracy: float | None
    cost: float | None
    protocol: str | None


def choose(
    candidates: Iterable[Candidate],
    *,
    champion: int | None = None,
    lite: int | None = None,
    pinned: int | None = None,
) -> tuple[int | None, int | None]:
    """The champion and the lite version among candidates, given who they are now.

    Only those of the protocol of the newest candidate with a val accuracy compete. The champion has the highest
    val accuracy; among equals it is the one that is champion now, else the earliest. The lite one has the
    lowest cost of those at most `MARGIN` points below the champion; among equals the more accurate one, then
    the one that is lite now, then the earliest.

    Where `pinned` is a candidate with a val accuracy, it is champion, and those of its protocol compete.
    """
    measured = [c for c in candidates if c.val_accuracy is not None and math.isfinite(c.val_accuracy)]
    if not measured:
        return None, None
    fixed = next((c for c in measured if c.number == pinned), None)
    protocol = (fixed or max(measured, key=lambda c: c.number)).protocol
    rivals = [(c.val_accuracy or 0.0, c) for c in measured if c.protocol == protocol]
    best, first = min(
        rivals,
        key=lambda pair: (pair[1] is not fixed, -pair[0], pair[1].number != champion, pair[1].number),
    )
    near = [
        (c.cost, -accuracy, c.number != lite, c.number)
        for accuracy, c in rivals
        if accuracy >= best - MARGIN - _ROUNDING and c.cost is not None and math.isfinite(c.cost)
    ]
    return first.number, min(near)[3] if near else None
