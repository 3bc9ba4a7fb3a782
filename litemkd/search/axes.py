"""How a setting is laid along an axis."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

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
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False
    choices: tuple[str, ...] = ()

    def places(self, values: Iterable[Any]) -> list[float]:
        """Values along the axis: themselves, or the numbers of choices."""
        if not self.choices:
            return list(values)
        return [float(self.choices.index(_word(value))) for value in values]


def _word(value: Any) -> str:
    return value if isinstance(value, str) else as_yaml(value)


def scales(trials: Sequence[FrozenTrial]) -> dict[str, Scale]:
    """The axes of the settings that vary among trials, in the order of the study."""
    return {key: _scale(key, trials) for key in varying(trials)}


def _scale(key: str, trials: Sequence[FrozenTrial]) -> Scale:
    having = [trial for trial in trials if key in trial.params]
    values = [trial.params[key] for trial in having]
    distribution = having[0].distributions[key]
    if isinstance(distribution, CategoricalDistribution):
        tried = {_word(value) for value in values}
        choices = tuple(_word(one) for one in distribution.choices if _word(one) in tried)
        return Scale(0.0, 1.0, choices=choices)
    whole = isinstance(distribution, IntDistribution)
    log = isinstance(distribution, FloatDistribution | IntDistribution) and distribution.log
    return Scale(min(values), max(values), log, whole)
