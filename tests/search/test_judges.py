"""Trials that several trainings judge: divisions of val classes and seeds, and pruning across them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import optuna
import pytest

from litemkd.config import TrainConfig, load_config
from litemkd.evaluation.accuracy import Evaluation
from litemkd.search.job import Finalists, Job
from litemkd.search.trial import LEAST, READ, PruningReports
from tests.job import SMOKE
from tests.job import Job as MainJob
from tests.search.searching import Place

TRAIN = TrainConfig(episodes=40, accumulate=1, validations=4, milestones=())
VAL = 300


def evaluation(accuracy: float, seed: int) -> Evaluation:
    """Val episodes of about this accuracy, hard and easy ones alike for all of one seed."""
    hard = np.random.default_rng(seed).normal(0, 10, VAL)
    return Evaluation(5, accuracy + hard, np.zeros((2, 2)), ("a", "b"), 1.0)


def judged(study: optuna.Study, accuracies: list[float]) -> int:
    """Run a trial with trainings of these accuracies; how many training episodes it came to."""
    trial = study.ask()
    try:
        for place, accuracy in enumerate(accuracies):
            report = PruningReports(trial, TRAIN, VAL, "wilcoxon", place=place, of=len(accuracies))
            for end in report.ends:
                report(evaluation(accuracy, place), end)
    except optuna.TrialPruned:
        study.tell(trial, state=optuna.trial.TrialState.PRUNED)
    else:
        study.tell(trial, float(np.mean(accuracies)))
    return int(trial.user_attrs["episodes"])


@pytest.fixture
def study() -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with pytest.warns(optuna.exceptions.ExperimentalWarning):
        pruner = optuna.pruners.WilcoxonPruner(p_threshold=0.05)
    return optuna.create_study(direction="maximize", pruner=pruner)


def test_wilcoxons_test_works_across_trainings(study: optuna.Study) -> None:
    assert judged(study, [60.0, 70.0, 50.0]) == 120
    # Worse at once: stopped in the first training. Better in it and far worse in the second: stopped there.
    assert judged(study, [50.0, 60.0, 40.0]) < 40
    late = judged(study, [61.0, 40.0, 50.0])
    assert 40 < late < 120
    # As good in each, in the order of its own: not stopped, though the third is the worst of all trainings.
    assert judged(study, [60.5, 70.5, 50.5]) == 120
    best, _, pruned, _ = study.get_trials()
    steps = [*best.intermediate_values]
    assert len(steps) == 3 * max(READ // 3, LEAST)
    assert [sum(VAL * place <= step < VAL * (place + 1) for step in steps) for place in range(3)] == [
        80,
        80,
        80,
    ]
    assert max(pruned.intermediate_values) == 3 * VAL  # the estimate, after all others


def test_one_training_reports_as_it_did(study: optuna.Study) -> None:
    assert judged(study, [60.0]) == 40
    (trial,) = study.get_trials()
    assert len(trial.intermediate_values) == READ
    assert max(trial.intermediate_values) < VAL


def test_divisions_come_before_seeds(tmp_path: Path) -> None:
    job = Job(SMOKE, (), tmp_path, "", "s", divisions=2, seeds=2)
    config = load_config(SMOKE)
    assert [(one.data.division, one.seed) for one in job.judges(config)] == [(0, 0), (1, 0), (0, 1), (1, 1)]
    assert Job(SMOKE, (), tmp_path, "", "s").judges(config) == [config]
    # In the finals fresh seeds stand for themselves, each in all divisions.
    final = job.final(Finalists(("untuned",), ({},), (5, 6)), "f")
    assert [(one.data.division, one.seed) for one in final.judges(config)] == [(0, 0), (1, 0)]


@pytest.mark.slow
def test_a_search_is_judged_by_divisions(job: MainJob, tmp_path: Path) -> None:
    """One trial in two divisions, from its teachers to the mean that it is judged by, and its finals."""
    place = Place.copy(job.home, tmp_path)
    few = ["--trials", "1", "--finalists", "0", "--workers", "1", "--pruner", "none", "--divisions", "2"]
    rgb = ["--set", "teacher.modalities=[rgb]", "--set", "teacher.fusion.layers=0", "--set", "threads=1"]
    code, printed = place.search(*few, *rgb)
    assert code == 0, printed
    (trial,) = place.trials()
    judges = [run for run in place.home.runs() if run.data.tags["litemkd.stage"] == "judge"]
    assert [run.data.params.get("data.division", "0") for run in judges] == ["0", "1"]
    assert trial.values[0] == pytest.approx(np.mean([run.data.metrics["val/best_accuracy"] for run in judges]))
    (run,) = place.runs_of("s").values()
    assert run.data.metrics["val/accuracy"] == pytest.approx(trial.values[0])
    assert {one.data.tags["mlflow.parentRunId"] for one in judges} == {run.info.run_id}
    lists = tmp_path / "data" / "toy" / "splits"
    assert [one.name for one in lists.iterdir() if "division" in one.name] == ["toy_division1"]
    code, printed = place.search(*few, *rgb, "--teacher", "models:/litemkd-toy-teacher/1", "--study", "t")
    assert code == 1
    assert "--teacher: 'models:/litemkd-toy-teacher/1' given beside --divisions" in printed
