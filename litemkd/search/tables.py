"""A study as plain data: its trials, how much each setting mattered, and the trials no other one beats."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

# User attributes of trials that tables and pictures look at.
DEFAULT = "default"  # true for the trial of the settings that nobody tuned
REASON = "reason"  # why a trial failed, in one line

STATES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}
ENOUGH = 4  # complete trials, to say which setting mattered
SEEN = 10  # complete trials with a setting that not all have, to say how much it mattered
GOOD = 0.25  # the share of trials that count as good there


def study_tables(study: optuna.Study, names: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Rows of a study's tables, one dictionary a row.

    Args:
        study: with one or two objectives.
        names: of the objectives, with their units; columns of the tables.

    Returns:
        `trials`: every trial with number, state, objectives, settings, seconds, and why it failed; what a trial
        does not have is None. `importances`: settings that varied, the first one mattered most; shares of 1 by
        objective. `pareto`: with several objectives, the trials that no other one beats in all, best first
        objective first. The last two are empty where there is nothing to say.
    """
    trials = study.get_trials(deepcopy=False)
    keys = list(dict.fromkeys(key for trial in trials for key in trial.params))
    return {
        "trials": [_row(trial, names, keys) for trial in trials],
        "importances": importances(study, names),
        "pareto": [_row(trial, names, keys) for trial in front(study)],
    }


def _row(trial: FrozenTrial, names: Sequence[str], keys: Iterable[str]) -> dict[str, Any]:
    values = trial.values or [None] * len(names)
    return {
        "number": trial.number,
        "state": STATES[trial.state],
        "default": is_default(trial),
        **dict(zip(names, values, strict=True)),
        **{key: trial.params.get(key) for key in keys},
        "seconds": None if trial.duration is None else round(trial.duration.total_seconds(), 1),
        REASON: trial.user_attrs.get(REASON),
    }


def is_default(trial: FrozenTrial) -> bool:
    """Whether this is the trial of the settings that nobody tuned."""
    return bool(trial.user_attrs.get(DEFAULT))


def complete(study: optuna.Study) -> list[FrozenTrial]:
    """The complete trials whose objectives are all finite."""
    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return [trial for trial in done if all(map(math.isfinite, trial.values))]


def front(study: optuna.Study) -> list[FrozenTrial]:
    """With several objectives: the trials that no other one beats in all, best first objective first."""
    if len(study.directions) < 2 or not complete(study):
        return []
    sign = signs(study)[0]
    return sorted(study.best_trials, key=lambda trial: (sign * trial.values[0], trial.number))


def signs(study: optuna.Study) -> list[int]:
    """For each objective what makes lower the better: 1, or -1 where it is maximised."""
    return [-1 if direction == StudyDirection.MAXIMIZE else 1 for direction in study.directions]


def varying(trials: Iterable[FrozenTrial]) -> list[str]:
    """Settings that have more than one value among trials; not to be there is a value too."""
    trials = list(trials)
    keys = dict.fromkeys(key for trial in trials for key in trial.params)
    return [key for key in keys if len({str(trial.params.get(key, "")) for trial in trials}) > 1]


def importances(study: optuna.Study, names: Sequence[str]) -> list[dict[str, Any]]:
    """Rows of settings and how much each mattered for each objective, by conditional PED-ANOVA (KDD 2026).

    Settings that few trials have are left out: of them nothing can be said yet.
    """
    # It brings scikit-learn along, which no worker needs.
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    done = complete(study)
    seen = Counter(key for trial in done for key in trial.params)
    keys = [key for key in varying(done) if seen[key] == len(done) or seen[key] >= SEEN]
    if len(done) < ENOUGH or not keys:
        return []
    shares = []
    judge = PedAnovaImportanceEvaluator(target_quantile=GOOD)
    for place, sign in enumerate(signs(study)):

        def target(trial: FrozenTrial, place: int = place, sign: int = sign) -> float:
            return sign * trial.values[place]

        with warnings.catch_warnings():  # which say that lower is better, and that few trials tell little
            warnings.simplefilter("ignore", UserWarning)
            shares.append(get_param_importances(study, evaluator=judge, target=target))
    whole = [sum(share.get(key, 0.0) for key in keys) or 1.0 for share in shares]
    rows: list[dict[str, Any]] = []
    for key in keys:
        parts = [share.get(key, 0.0) / all_ for share, all_ in zip(shares, whole, strict=True)]
        rows.append({"parameter": key, **dict(zip(names, parts, strict=True))})
    return sorted(rows, key=lambda row: -max(row[name] for name in names))


def short_names(keys: Iterable[str]) -> dict[str, str]:
    """For each dotted key its shortest end that no other one has."""
    ends = {key: [key.split(".", cut)[-1] for cut in range(key.count("."), -1, -1)] for key in keys}
    seen = Counter(end for mine in ends.values() for end in mine)
    return {key: next((end for end in mine if seen[end] == 1), key) for key, mine in ends.items()}
