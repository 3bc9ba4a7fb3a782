"""A search from its command line to the registered winner, and again, and with more trials."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from mlflow.entities import Run
from optuna.trial import TrialState

from litemkd.search import command, search
from litemkd.search.tables import DEFAULT
from litemkd.stages.build import load_model
from litemkd.storage.checkpoints import weights_digest
from litemkd.tracking.delivery.journal import promise
from tests.job import PICTURES, Job
from tests.search.searching import Place

WORDS = ("--workers", "2", "--finalists", "1", "--final-seeds", "2", "--keep", "1", *PICTURES)


@pytest.fixture(scope="module")
def searched(job: Job, tmp_path_factory: pytest.TempPathFactory) -> tuple[Place, str]:
    place = Place.copy(job.home, tmp_path_factory.mktemp("search"))
    code, printed = place.search("--trials", "3", *WORDS)
    assert code == 0, printed
    return place, printed


def tables(place: Place, run: Run, file: str) -> list[dict[str, object]]:
    found = json.loads(place.home.artifact(run, file).read_text())
    return [dict(zip(found["columns"], row, strict=True)) for row in found["data"]]


def test_trials_are_children_of_the_study_with_true_states(searched: tuple[Place, str]) -> None:
    place, _ = searched
    place.check_truth(3)
    parent = place.parent()
    assert parent.info.status == "FINISHED"
    for number, run in place.runs_of("s").items():
        trial = place.trials()[number]
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert run.data.tags["litemkd.state"] == trial.state.name
        for key, value in trial.params.items():
            assert run.data.params[key] == str(value)  # the configuration is the trial's
        assert run.data.metrics["val/accuracy"] == trial.value


def test_the_untuned_settings_are_the_first_trial(searched: tuple[Place, str]) -> None:
    place, _ = searched
    marked = [trial.number for trial in place.trials() if trial.user_attrs.get(DEFAULT)]
    assert marked == [0]


def test_trials_never_read_the_test_classes(searched: tuple[Place, str]) -> None:
    place, _ = searched
    for study in ("s", *finals(place)):
        for run in place.runs_of(study).values():
            assert not [name for name in run.data.metrics if name.startswith("test/")]


def finals(place: Place) -> list[str]:
    runs = place.home.runs("tags.`litemkd.stage` = 'trial'")
    return sorted({run.data.tags["litemkd.study"] for run in runs} - {"s"})


def test_the_best_so_far_is_a_metric_over_trials(searched: tuple[Place, str]) -> None:
    place, _ = searched
    history = place.home.client.get_metric_history(place.parent().info.run_id, "search/best_accuracy")
    complete = [trial for trial in place.trials() if trial.state is TrialState.COMPLETE]
    assert {point.step for point in history} == {trial.number for trial in complete}
    assert max(point.value for point in history) == max(trial.value or 0 for trial in complete)


def test_pictures_and_their_data_are_on_the_study(searched: tuple[Place, str]) -> None:
    place, _ = searched
    folder = place.home.artifact(place.parent(), "study")
    assert {"history.png", "slices.png", "trials.json"} <= {file.name for file in folder.iterdir()}
    rows = tables(place, place.parent(), "study/trials.json")
    assert [row["number"] for row in rows] == [0, 1, 2]


def test_only_the_best_trial_keeps_its_checkpoints(searched: tuple[Place, str]) -> None:
    place, _ = searched
    folders = sorted(path.name for path in (place.home.folder / "checkpoints/search/s").glob("trial-*"))
    best = max(place.trials(), key=lambda trial: (trial.value or 0.0, -trial.number))
    assert folders == [f"trial-{best.number}"]


def test_the_winner_on_val_is_tested_registered_and_champion(searched: tuple[Place, str]) -> None:
    place, printed = searched
    parent = place.parent()
    assert "test/accuracy_5shot" in parent.data.metrics
    name, _, version = parent.data.tags["litemkd.winner"].rpartition(" version ")
    registered = place.home.client.get_model_version(name, version)
    assert f"registered model: {name} version {version}" in printed
    student = [
        run
        for run in place.home.runs("tags.`litemkd.stage` = 'student'")
        if run.info.run_id == registered.run_id
    ]
    assert student[0].data.tags["mlflow.parentRunId"] == parent.info.run_id
    rows = tables(place, parent, "result.json")
    means = {
        str(row["settings"]): float(str(row["val, %"])) for row in rows if "above" not in str(row["settings"])
    }
    (winner,) = [row for row in means if row.endswith("(winner)")]
    assert means[winner] == max(means.values())
    with place.home.entered():
        from litemkd.tracking import download

        load_model(download(f"models:/{name}/{version}"))


def test_the_same_command_again_makes_nothing_new_and_more_trials_go_on(searched: tuple[Place, str]) -> None:
    place, before = searched
    runs = {run.info.run_id for run in place.home.runs()}
    code, printed = place.search("--trials", "3", *WORDS)
    assert code == 0, printed
    assert {run.info.run_id for run in place.home.runs()} == runs
    assert (
        before.split("settings")[-1].split("registered")[0]
        == printed.split("settings")[-1].split("registered")[0]
    )
    code, printed = place.search("--trials", "4", *WORDS)
    assert code == 0, printed
    place.check_truth(4)
    assert place.parent().info.status == "FINISHED"


def test_a_trial_is_registered_when_asked_for(searched: tuple[Place, str]) -> None:
    place, _ = searched
    complete = [trial for trial in place.trials() if trial.state is TrialState.COMPLETE]
    best = max(complete, key=lambda trial: (trial.value or 0.0, -trial.number))
    run = best.user_attrs["run"]
    versions = len(place.home.client.search_model_versions("name = 'litemkd-toy-student'"))
    shown = place.home.must("register", "--run", run, "--dry-run").stdout
    assert "would become the next version of litemkd-toy-student" in shown
    made = place.home.must("register", "--run", run)
    assert f"registered model: litemkd-toy-student version {versions + 1}" in made.stdout
    found = place.home.client.get_model_version("litemkd-toy-student", str(versions + 1))
    assert float(found.tags["litemkd.val_accuracy"]) == pytest.approx(best.value, abs=1e-4)
    assert (found.tags["litemkd.study"], found.tags["litemkd.trial"]) == ("s", str(best.number))
    assert not [key for key in found.tags if "test_accuracy" in key]
    assert "best of many trials on val" in found.description
    assert "| Accuracy on test | not read |" in found.description
    assert place.home.client.get_run(run).info.status == "FINISHED"
    with place.home.entered():
        from litemkd.tracking import download

        kept = load_model(next((place.home.folder / f"checkpoints/search/s/trial-{best.number}").glob("toy-*")))
        registered = load_model(download(f"models:/litemkd-toy-student/{versions + 1}"))
    assert weights_digest(registered) == weights_digest(kept)

    for words, told in (
        ((run,), f"is registered already: litemkd-toy-student version {versions + 1}"),
        (("nobody",), "does not have the run nobody"),
        ((place.parent().info.run_id,), "is of the stage search; a trial of a search, a student or a teacher"),
        (
            (next(one for one in complete if one != best).user_attrs["run"],),
            "and 0 folders checkpoints/search/s/",
        ),
    ):
        result = place.home.run("register", "--run", *words)
        assert (result.exit_code, told in result.stderr) == (1, True), result.output


def test_other_settings_are_refused_for_a_study_that_was_begun(searched: tuple[Place, str]) -> None:
    place, _ = searched
    code, printed = place.search("--trials", "9", "--set", "student.width=96", "--seed", "3")
    assert code == 1
    assert "'s' was begun with student.width '128', now '96'" in printed
    assert "'s' was begun with seed '0', now '3'" in printed
    assert "Traceback" not in printed


def test_diverging_trials_fail_with_the_reason_and_end_a_hopeless_search(job: Job, tmp_path: Path) -> None:
    place = Place.copy(job.home, tmp_path)
    space = tmp_path / "wild.yaml"
    space.write_text("student.train.lr: {float: [1.0e+30, 1.0e+31]}\n")
    words = ("--set", "student.train.clip_norm=null", "--set", "student.train.optimizer=sgd")
    code, printed = place.search("--trials", "6", "--workers", "1", "--space", str(space), *words)
    assert code == 1
    assert "trials failed, the last one with: " in printed
    assert "the loss became" in printed
    assert "Traceback" not in printed
    failed = [run for run in place.runs_of("s").values() if run.info.status == "FAILED"]
    assert len(failed) >= 3
    errors = [run.data.tags["litemkd.error"] for run in failed]
    assert all("the loss became" in error for error in errors), errors
    assert place.parent().info.status == "FAILED"


def test_a_teacher_that_waits_for_the_store_is_told_and_begins_no_trials(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers load the teacher from the registry, which cannot have it before the store is back."""
    ready = SimpleNamespace(name="litemkd-toy-teacher", version=promise())
    monkeypatch.setattr(search, "teacher_stage", lambda *given, **named: ready)
    place = Place.copy(job.home, tmp_path)
    with place.home.entered():
        result = CliRunner().invoke(command.main, place.words())
    assert result.exit_code == 1
    told = (
        "model kept on disk: litemkd-toy-teacher, registered when the tracking store answers (`litemkd sync`)"
    )
    assert f"{told}; workers need it there: start the search again" in result.stderr
    assert place.trials() == []
