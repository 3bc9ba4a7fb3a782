"""The study and its queue of trials.

A study of N trials starts as N waiting trials; workers take them one by one, so exactly N are run however many
workers there are. A trial whose worker died, or was interrupted, ends as FAIL and waits again under a new
number, with the parameters it had and the checkpoint it left. What is done to the queue is done under a lock.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import optuna
from optuna.trial import FrozenTrial, TrialState

from litemkd.config import TrainConfig
from litemkd.errors import ConfigError
from litemkd.runtime.processes import is_gone
from litemkd.search.beyond_api import as_retry, earlier_tries
from litemkd.search.storage import open_storage
from litemkd.search.tables import REASON

SAMPLERS = ("tpe", "gp", "random", "nsga2")
PRUNERS = ("wilcoxon", "hyperband", "none")
WORKED_BY, FIRST, RETRY_OF = "owner", "first", "retry_of"  # what a trial notes of itself
INTERRUPTED = "interrupted"
QUEUE = "queue"  # the lock under which trials are taken and settled
BEST = "search/best_accuracy"  # of a study's run in MLflow, by number of the trial
TRIES = 3  # times a trial is tried again after its worker died
_AT_LEAST = 5  # trials drawn at random before a sampler trusts what it saw
P_VALUE = 0.05  # of a trial being worse than the best one, at which it is stopped

Parameters = dict[str, Any]


def open_study(
    storage: str,
    name: str,
    objectives: Sequence[str],
    *,
    sampler: str = "tpe",
    pruner: str = "none",
    train: TrainConfig | None = None,
    seed: int = 0,
    heartbeat: int,
) -> optuna.Study:
    """The study of this name, made if it is new.

    Args:
        storage: see `litemkd.search.storage`.
        name: of the study.
        objectives: names; `accuracy` is maximised, any other is a cost.
        sampler: one of `SAMPLERS`.
        pruner: one of `PRUNERS`.
        train: the training, which Hyperband cuts into rungs.
        seed: of the sampler.
        heartbeat: seconds, see `open_storage`.

    Raises:
        ConfigError: the study has other objectives.
        TrackingError: the storage cannot be opened.
    """
    directions: list[Literal["minimize", "maximize"]] = [
        "maximize" if objective == "accuracy" else "minimize" for objective in objectives
    ]
    with _quiet():
        study = optuna.create_study(
            storage=open_storage(storage, heartbeat),
            study_name=name,
            directions=directions,
            sampler=_sampler(sampler, seed),
            pruner=_pruner(pruner, train),
            load_if_exists=True,
        )
    if [direction.name.lower() for direction in study.directions] != directions:
        raise ConfigError(
            [f"--study: {name!r} exists with {len(study.directions)} objective(s); choose another name"]
        )
    return study


def _sampler(name: str, seed: int) -> optuna.samplers.BaseSampler:
    if name == "tpe":
        return optuna.samplers.TPESampler(
            multivariate=True, group=True, constant_liar=True, n_startup_trials=_AT_LEAST, seed=seed
        )
    if name == "gp":
        return optuna.samplers.GPSampler(seed=seed, n_startup_trials=_AT_LEAST)
    if name == "nsga2":
        return optuna.samplers.NSGAIISampler(seed=seed, population_size=2 * _AT_LEAST)
    return optuna.samplers.RandomSampler(seed=seed)


def _pruner(name: str, train: TrainConfig | None) -> optuna.pruners.BasePruner:
    if name == "wilcoxon":
        return optuna.pruners.WilcoxonPruner(p_threshold=P_VALUE)
    if name == "hyperband" and train is not None:
        first = max(1, train.episodes // train.validations)
        return optuna.pruners.HyperbandPruner(min_resource=first, max_resource=train.episodes)
    return optuna.pruners.NopPruner()


def enqueue_missing(
    study: optuna.Study, trials: int, first: Iterable[Parameters] = (), attrs: dict[str, Any] | None = None
) -> int:
    """Let a study have `trials` trials, those that were tried again counted once; returns how many it lacks.

    Args:
        study: whose lock the caller holds.
        trials: how many.
        first: parameters of the trials that a new study begins with.
        attrs: what these note of themselves.
    """
    there = [trial for trial in study.get_trials(deepcopy=False) if not earlier_tries(trial)]
    missing = max(0, trials - len(there))
    chosen = [*first][:missing] if not there else []
    for parameters in chosen:
        study.enqueue_trial(parameters, user_attrs=attrs)
    for _ in range(missing - len(chosen)):
        study.enqueue_trial({})
    return missing


def requeue_lost(study: optuna.Study) -> list[str]:
    """End trials whose worker is gone, and let those that were not finished wait again; says so, a line each.

    The caller holds the study's lock, so a running trial without an owner has none.
    """
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        owner = trial.user_attrs.get(WORKED_BY)
        if owner is None or is_gone(owner):
            study.tell(trial.number, state=TrialState.FAIL)
    with _quiet():
        optuna.storages.fail_stale_trials(study)  # by heartbeat, where the storage has one
    lines = []
    trials = study.get_trials(deepcopy=False)
    retried = {number for trial in trials for number in earlier_tries(trial)}
    for trial in trials:
        if trial.state is TrialState.FAIL and trial.number not in retried and is_unfinished(trial):
            tries = [*earlier_tries(trial), trial.number]
            why = trial.user_attrs.get(REASON, "its worker died")
            if len(tries) > TRIES:
                lines.append(f"trial {trial.number}: {why}; given up after {TRIES} more tries")
                continue
            study.add_trial(_again(trial, tries))
            lines.append(f"trial {trial.number}: {why}; it will be gone on with")
    return lines


def _again(trial: FrozenTrial, tries: list[int]) -> FrozenTrial:
    kept = {key: value for key, value in trial.user_attrs.items() if key not in (WORKED_BY, REASON)}
    return optuna.create_trial(
        state=TrialState.WAITING,
        params=trial.params,
        distributions=trial.distributions,
        user_attrs={**kept, FIRST: tries[0], RETRY_OF: trial.number},
        system_attrs={**trial.system_attrs, **as_retry(tries)},
        intermediate_values=trial.intermediate_values,
    )


def is_unfinished(trial: FrozenTrial) -> bool:
    """Whether a failed trial failed only because its process ended."""
    return trial.user_attrs.get(REASON, INTERRUPTED) == INTERRUPTED


def finished(study: optuna.Study) -> list[FrozenTrial]:
    """Trials that came to an end of their own: complete, pruned, or failed for a reason."""
    return [
        trial
        for trial in study.get_trials(deepcopy=False)
        if trial.state.is_finished() and not (trial.state is TrialState.FAIL and is_unfinished(trial))
    ]


def waiting(study: optuna.Study) -> int:
    """How many trials wait to be run."""
    return len(study.get_trials(deepcopy=False, states=(TrialState.WAITING,)))


def running(study: optuna.Study) -> int:
    """How many trials are being run, here or elsewhere."""
    return len(study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)))


def best_trials(study: optuna.Study, count: int | None = None) -> list[FrozenTrial]:
    """Complete trials, the most accurate first, at most `count`; with two objectives those of the front."""
    if len(study.directions) > 1:
        complete = study.best_trials
    else:
        complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return sorted(complete, key=lambda trial: (-trial.values[0], trial.number))[:count]


def _quiet() -> warnings.catch_warnings:
    """Hides that parts of Optuna are called experimental."""
    return warnings.catch_warnings(action="ignore", category=optuna.exceptions.ExperimentalWarning)
