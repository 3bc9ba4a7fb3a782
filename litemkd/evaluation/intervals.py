"""A mean and how well it is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Z95 = 1.96


@dataclass(frozen=True)
class Interval:
    """A mean with half the width of its 95 % interval, 1.96 s / sqrt(n)."""

    mean: float
    half: float

    @classmethod
    def of(cls, values: np.ndarray) -> Interval:
        """Of (n,) values; the half width of a single value is unknown (NaN)."""
        spread = values.std(ddof=1) if len(values) > 1 else float("nan")
        return cls(float(values.mean()), float(Z95 * spread / np.sqrt(len(values))))

    def __str__(self) -> str:
        return f"{self.mean:.2f} ± {self.half:.2f}"
