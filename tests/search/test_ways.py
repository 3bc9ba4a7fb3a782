"""Other ways to search than the default one, from the command line to what the store says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from optuna.trial import TrialState

from litemkd.search.study import best_trials
from litemkd.stages.build import load_model
from tests.job import PICTURES, Job
from tests.search.searching import Place


@pytest.fixture
def place(job: Job, tmp_path: Path) -> Place:
    return Place.copy(job.home, tmp_path)


@pytest.mark.slow
def test_two_objectives_give_a_front_whose_best_are_trained_again(place: Place, tmp_path: Path) -> None:
    space = tmp_path / "widths.yaml"
    space.write_text(
        "student.head.width: {categorical: [32, 128]}\nstudent.train.lr: {float: [1.0e-4, 1.0e-2], log: true}\n"
    )
    words = (
        "--objective",
        "accuracy,gmacs",
        "--sampler",
        "nsga2",
        "--space",
        str(space),
        "--workers",
        "1",
        *PICTURES,
    )
    code, printed = place.search("--trials", "2", *words, "--finalists", "1", "--final-seeds", "1")
    assert code == 0, printed
    place.check_truth(2)
    runs = place.runs_of("s")
    for trial in place.trials():
        metrics = runs[trial.number].data.metrics
        assert trial.values == [metrics["val/accuracy"], metrics["cost/gmacs_per_episode"]]
    study = place.study()
    assert study is not None
    front = [trial.number for trial in best_trials(study)]
    assert f"best on val: trial {front[0]}" in printed
    folder = place.home.artifact(place.parent(), "study")
    assert {"pareto.png", "pareto.json"} <= {file.name for file in folder.iterdir()}
    found = json.loads((folder / "pareto.json").read_text())
    on_front = {row[found["columns"].index("number")] for row in found["data"]}
    assert on_front == set(front)
    name, _, version = place.parent().data.tags["litemkd.winner"].rpartition(" version ")
    with place.home.entered():
        from litemkd.tracking import download

        load_model(download(f"models:/{name}/{version}"))


@pytest.mark.slow
def test_hyperband_stops_trials_at_its_rungs(place: Place) -> None:
    long = ("--set", "student.train.episodes=24", "--set", "student.train.validations=6")
    words = ("--pruner", "hyperband", "--sampler", "random", "--workers", "1", "--finalists", "0")
    code, printed = place.search("--trials", "6", *words, *long)
    assert code == 0, printed
    place.check_truth(6)
    assert place.parent().data.tags["litemkd.pruner"] == "hyperband"
    states = [trial.state for trial in place.trials()]
    assert {*states} == {TrialState.PRUNED, TrialState.COMPLETE}, states
    for trial in place.trials():
        assert set(trial.intermediate_values) <= {4, 8, 12, 16, 20, 24}
        if trial.state is TrialState.PRUNED:
            assert (
                f"trial {trial.number}: pruned by hyperband after {max(trial.intermediate_values)}" in printed
            )
            assert max(trial.intermediate_values) < 24
