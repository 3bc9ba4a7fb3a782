"""Studies as a search leaves them, in memory, of made-up objectives."""

from __future__ import annotations

import math
from typing import Any

import optuna

from litemkd.config.shipped import SPACES
from litemkd.search.space import Space, read_space
from litemkd.search.tables import DEFAULT, REASON

ONE = ["val accuracy, per cent"]
TWO = [*ONE, "GMACs per episode"]


def study_of(
    trials: int,
    *,
    objectives: int = 1,
    space: Space | None = None,
    failing: float = 0.15,
    pruning: float = 0.25,
    default: dict[str, Any] | None = None,
    seed: int = 0,
) -> optuna.Study:
    """A study of so many trials, shares of which fail and are pruned."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space = space or read_space(SPACES.find("architecture"))
    directions = ["maximize", "minimize"][:objectives]
    study = optuna.create_study(directions=directions, sampler=optuna.samplers.RandomSampler(seed))
    if default:
        study.enqueue_trial(default, user_attrs={DEFAULT: True})
    dice = optuna.samplers.RandomSampler(seed)._rng.rng
    for number in range(trials):
        trial = study.ask()
        values = space.suggest(trial)
        fate = dice.random()
        if number == 0 and default:
            fate = 1.0
        accuracy, cost = _outcome(values)
        if fate < failing:
            trial.set_user_attr(REASON, "ConfigError: loss.kd: too much")
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            continue
        pruned = fate < failing + pruning
        if objectives == 1:
            for step in range(1, 4 if pruned else 9):
                trial.report(accuracy - 25 * math.exp(-step / 3) + 2 * dice.random(), 60 * step)
        if pruned:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            study.tell(trial, [accuracy, cost][:objectives])
    return study


def _outcome(values: dict[str, Any]) -> tuple[float, float]:
    rate = math.log10(values.get("student.train.lr", 1e-3))
    width = values.get("student.width", 128)
    accuracy = (
        60 - 6 * (rate + 2.7) ** 2 + 4 * (values.get("student.head.name") == "trx") + 2 * math.log10(width)
    )
    accuracy -= 3 * abs(math.log(values.get("loss.temperature", 2.0) / 2))
    cost = {"conv4": 1.6, "mobilenet_v3_small": 3.4, "mobilenet_v3_large": 13, "resnet18": 54}
    return accuracy, cost.get(values.get("student.backbone.name", ""), 1.0) + width / 1000
