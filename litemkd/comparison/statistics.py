"""One figure of several runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from litemkd.evaluation.intervals import Interval
from litemkd.evaluation.studies import Over, Training, estimate, holm, needed

LEVEL = 0.05  # of a finding, after correction


@dataclass(frozen=True)
class Figure:
    """A mean with half the width of its 95 % interval.

    Attributes:
        mean: per cent, or points for a gain.
        half: of the width; NaN where it is unknown.
        runs: how many trainings it is the mean of.
        over: what the interval counts, see `litemkd.evaluation.studies`.
        folds: divisions of the classes.
        episodes: half the width of the interval over test episodes alone.
        p: that it is 0; `corrected` the same after Holm's correction, None where it was not asked for.
        needed: what more would tell a point apart.
    """

    mean: float
    half: float
    runs: int
    over: Over
    folds: int = 1
    episodes: float = math.nan
    p: float = math.nan
    corrected: float | None = None
    needed: str = ""

    @property
    def leaves_zero(self) -> bool:
        """Whether 0 lies outside the interval."""
        return math.isfinite(self.half) and abs(self.mean) > self.half

    @property
    def is_found(self) -> bool:
        """Whether it differs from 0, after correction where there was one."""
        return self.leaves_zero if self.corrected is None else self.corrected < LEVEL

    def words(self, signed: bool = False) -> str:
        """In a table: `65.79 ± 2.55 (3)`, of folds `(4 x 3)`; signed, `+5.70 ± 3.87 * (3)` if it is found."""
        mark = " *" if signed and self.is_found else ""
        half = f" ± {self.half:.2f}" if math.isfinite(self.half) else ""
        return f"{self.mean:{'+' if signed else ''}.2f}{half}{mark} ({self._count})"

    @property
    def _count(self) -> str:
        if self.folds == 1:
            return str(self.runs)
        each, more = divmod(self.runs, self.folds)
        return f"{self.runs} of {self.folds} folds" if more else f"{self.folds} x {each}"

    @property
    def episodes_words(self) -> str:
        """The interval over test episodes alone."""
        return f"± {self.episodes:.2f}" if math.isfinite(self.episodes) else ""


def figure_of(trainings: Sequence[Training | Interval]) -> Figure:
    """The mean over trainings, with intervals; at least one.

    Args:
        trainings: of which an `Interval` alone is one of whose classes nothing is known.
    """
    known = [Training(one) if isinstance(one, Interval) else one for one in trainings]
    found = estimate(known)
    more = needed(known)
    return Figure(
        found.mean, found.half, found.runs, found.over, found.folds, found.episodes, found.p, needed=more
    )


def corrected(figures: Sequence[Figure]) -> list[Figure]:
    """Figures that are tested together, their p values corrected."""
    values = holm([figure.p for figure in figures])
    return [replace(figure, corrected=p) for figure, p in zip(figures, values, strict=True)]
