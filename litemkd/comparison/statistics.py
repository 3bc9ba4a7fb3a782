"""One figure of several runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import stdtrit

from litemkd.evaluation.intervals import Interval


@dataclass(frozen=True)
class Figure:
    """A mean with half the width of its 95 % interval.

    Attributes:
        mean: per cent, or points for a gain.
        half: of the width; NaN where it is unknown.
        runs: how many trainings it is the mean of.
        over: what the interval is about: `seeds` (Student's t over several trainings) or, for one training,
            `episodes` (1.96 s / sqrt(n) over its test episodes).
    """

    mean: float
    half: float
    runs: int
    over: Literal["seeds", "episodes"]

    @property
    def leaves_zero(self) -> bool:
        """Whether 0 lies outside the interval."""
        return math.isfinite(self.half) and abs(self.mean) > self.half

    def words(self, signed: bool = False) -> str:
        """In a table: `65.79 ± 2.55 (3)`; with `signed`, `+5.70 ± 3.87 * (3)` where it leaves 0."""
        mark = " *" if signed and self.leaves_zero else ""
        half = f" ± {self.half:.2f}" if math.isfinite(self.half) else ""
        return f"{self.mean:{'+' if signed else ''}.2f}{half}{mark} ({self.runs})"


def figure_of(values: Sequence[Interval]) -> Figure:
    """The mean over trainings with Student's t interval; of a single one, its own interval over episodes.

    Args:
        values: one for each training, with its interval over episodes; at least one.
    """
    if len(values) == 1:
        return Figure(values[0].mean, values[0].half, 1, "episodes")
    means = np.array([value.mean for value in values])
    half = stdtrit(len(means) - 1, 0.975) * means.std(ddof=1) / math.sqrt(len(means))
    return Figure(float(means.mean()), float(half), len(means), "seeds")
