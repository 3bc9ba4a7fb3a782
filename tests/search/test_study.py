"""A study with each sampler and pruner, on made-up objectives: every trial is run and lands in its state."""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from litemkd.config import TrainConfig
from litemkd.config.shipped import SPACES
from litemkd.errors import ConfigError
from litemkd.search.record import run_of_study
from litemkd.search.space import Space, read_space
from litemkd.search.study import SAMPLERS, best_trials, enqueue_missing, finished, open_study
from litemkd.tracking import stage_run
from tests.helpers import usual_first
from tests.job import Home

TRAIN = TrainConfig(episodes=80, validations=8)
SPACE = read_space(SPACES.find("architecture"))


def study_in(folder: Path, objectives=("accuracy",), **options) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    place = str(folder / "journal")
    return open_study(place, "s", objectives, train=TRAIN, heartbeat=60, **options)


def run(study: optuna.Study, trials: int, space: Space = SPACE) -> None:
    """The queue, worked off; a better rate learns faster, a wider head costs more."""

    def objective(trial: optuna.Trial):
        values = space.suggest(trial)
        good = 60 - 8 * abs(math.log10(values["student.train.lr"]) + 3)
        cost = values["student.width"] / 100
        if len(study.directions) > 1:
            return good, cost
        for step in range(10, 90, 10):
            trial.report(good - 30 * math.exp(-step / 30), step)
            if trial.should_prune():
                raise optuna.TrialPruned
        return good

    enqueue_missing(study, trials)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.optimize(objective, n_trials=trials)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_each_sampler_works_off_the_queue(tmp_path: Path, sampler: str) -> None:
    study = study_in(tmp_path, sampler=sampler)
    run(study, 12)
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 12
    assert len({str(sorted(trial.params.items())) for trial in study.trials}) == 12
    (best,) = best_trials(study, 1)
    assert best.values[0] == max(trial.values[0] for trial in study.trials)


def test_killed_before_it_noted_its_run_a_study_has_one(tmp_path: Path) -> None:
    with Home(tmp_path).entered():
        key, none = run_of_study(study_in(tmp_path), "toy")
        assert none is None
        with stage_run("search", dataset="toy", name="search", tags={"study_key": key}) as opened:
            pass
        for noted in (False, True):
            if noted:
                study_in(tmp_path).set_user_attr("run", opened.run_id)
            assert run_of_study(study_in(tmp_path), "toy") == (key, opened.run_id)


@pytest.mark.parametrize("sampler", usual_first([one for one in SAMPLERS if one != "gp"], SAMPLERS))
def test_each_sampler_seeks_two_objectives(tmp_path: Path, sampler: str) -> None:
    study = study_in(tmp_path, ("accuracy", "gmacs"), sampler=sampler)
    run(study, 12)
    assert len(finished(study)) == 12
    front = best_trials(study)
    accuracies, costs = zip(*(trial.values for trial in front), strict=True)
    assert list(accuracies) == sorted(accuracies, reverse=True)
    assert list(costs) == sorted(costs, reverse=True), "a trial of the front is beaten in both"


@pytest.mark.parametrize("sampler", usual_first(["tpe"], ["gp"]))
def test_samplers_that_learn_come_nearer_to_the_best_rate(tmp_path: Path, sampler: str) -> None:
    space = tmp_path / "space.yaml"
    space.write_text(
        "student.train.lr: {float: [1e-5, 1e-1], log: true}\nstudent.width: {int: [64, 2048], log: true}\n"
    )
    study = study_in(tmp_path, sampler=sampler)
    run(study, 24, read_space(space))
    values = [trial.values[0] for trial in study.trials]
    assert sum(values[12:]) > sum(values[:12])


def test_hyperband_stops_poor_trials_and_keeps_the_best(tmp_path: Path) -> None:
    study = study_in(tmp_path, sampler="random", pruner="hyperband")
    run(study, 40)
    states = [trial.state for trial in study.trials]
    assert states.count(TrialState.PRUNED) >= 5
    assert states.count(TrialState.COMPLETE) + states.count(TrialState.PRUNED) == 40
    for trial in study.trials:
        reached = max(trial.intermediate_values)
        assert (reached == 80) == (trial.state is TrialState.COMPLETE)


def test_other_objectives_are_refused(tmp_path: Path) -> None:
    study_in(tmp_path)
    with pytest.raises(ConfigError, match="'s' exists with 1 objective"):
        study_in(tmp_path, ("accuracy", "gmacs"))
