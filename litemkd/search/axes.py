"""How a setting is laid along an axis."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial

from litemkd.config.strict_yaml import as_yaml
from litemkd.search.tables import varying


@dataclass(frozen=True)
class Scale:
    """A setting's axis.

    Attributes:
        low, high: of the values that were tried.
        log: the axis is logarithmic.
        whole: only whole numbers.
        choices: of a setting that is none of numbers, in order; empty for numbers.
        absent: some trials do without the setting.
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False
    choices: tuple[str, ...] = ()
    absent: bool = False

    ABSENT: ClassVar[object] = object()
    BELOW: ClassVar[float] = -0.14  # where lines of trials without the setting pass

    def places(self, values: Iterable[Any]) -> list[float]:
        """Values along the axis: themselves, or the numbers of choices."""
        if not self.choices:
            return list(values)
        return [float(self.choices.index(_word(value))) for value in values]

    def height(self, value: Any) -> float:
        """The place between 0, the low end, and 1; below 0 for absent ones."""
        if value is self.ABSENT:
            return self.BELOW
        (place,) = self.places([value])
        low, high = (0.0, len(self.choices) - 1.0) if self.choices else (self.low, self.high)
        if self.log:
            place, low, high = math.log(place), math.log(low), math.log(high)
        return 0.5 if high == low else (place - low) / (high - low)

    def labels(self) -> list[tuple[float, str]]:
        """What to write at which height."""
        below = [(self.BELOW, "not used")] if self.absent else []
        if self.choices:
            return below + [(self.height(choice), choice) for choice in self.choices]
        middle = math.sqrt(self.low * self.high) if self.log else (self.low + self.high) / 2
        marked = dict.fromkeys([self.low, *([] if self.whole else [middle]), self.high])
        return below + [
            (self.height(end), f"{end:.0f}" if abs(end) >= 1000 else f"{end:.3g}") for end in marked
        ]


def _word(value: Any) -> str:
    return value if isinstance(value, str) else as_yaml(value)


def scales(trials: Sequence[FrozenTrial]) -> dict[str, Scale]:
    """The axes of the settings that vary among trials, in the order of the study."""
    return {key: _scale(key, trials) for key in varying(trials)}


def _scale(key: str, trials: Sequence[FrozenTrial]) -> Scale:
    having = [trial for trial in trials if key in trial.params]
    values = [trial.params[key] for trial in having]
    absent = len(having) < len(trials)
    distribution = having[0].distributions[key]
    if isinstance(distribution, CategoricalDistribution):
        tried = {_word(value) for value in values}
        choices = tuple(_word(one) for one in distribution.choices if _word(one) in tried)
        return Scale(0.0, 1.0, choices=choices, absent=absent)
    whole = isinstance(distribution, IntDistribution)
    log = isinstance(distribution, FloatDistribution | IntDistribution) and distribution.log
    return Scale(min(values), max(values), log, whole, absent=absent)
