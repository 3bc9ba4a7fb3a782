"""Runs, models and the registry taken from one store to another."""

from __future__ import annotations

import json
import math
import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from mlflow import MlflowClient
from mlflow.entities import Metric, Run

from litemkd import tracking
from litemkd.cli import main
from litemkd.errors import TrackingError
from litemkd.tracking import store
from litemkd.tracking.moving import export_runs, import_runs
from litemkd.tracking.moving.entities import IMPORTING, ORIGIN_RUN, Files, number
from litemkd.tracking.moving.names import Names
from tests.helpers import usual_first

TEACHER, STUDENT = "litemkd-toy-teacher", "litemkd-toy-student"


@pytest.fixture
def laptop(client: MlflowClient, checkpoint: Path) -> MlflowClient:
    """A store with a parent, a teacher, a student that learned from it, and a run that failed."""
    with tracking.stage_run("distill", dataset="toy", name="parent", description="What.") as parent:
        parent.log_dataset("toy", "abc" * 20, "/data/toy", "distill", {"train": 3})
        with tracking.stage_run("teacher", dataset="toy", name="teacher", params={"lr": 0.1}) as run:
            for step in range(1200):  # more than one request
                run.log_metrics({"train/loss": 1 / (step + 1)}, step)
            run.log_metrics({"odd": math.nan, "val/accuracy": 61.5}, 4)
            run.log_metrics({"odd": math.inf}, 5)
            run.log_dataset("toy", "abc" * 20, "/data/toy", "teacher")
            model = run.log_model(
                checkpoint,
                name="teacher",
                step=4,
                metrics={"val/accuracy": 61.5},
                tags={"kind": "teacher"},
            )
            measured = {"model_id": model, "dataset_name": "toy", "dataset_digest": "abc"}
            client.log_batch(run.run_id, [Metric("val/loss", 0.5, 1, 4, **measured)])
            card = f"Run {run.run_id}, load it as models:/{TEACHER}/1 or models:/{TEACHER}@champion."
            assert tracking.register(model, TEACHER, {"fingerprint": "f"}, card) == 1
        tags = {"teacher": f"{TEACHER} version 1"}
        with tracking.stage_run("student", dataset="toy", name=f"from models:/{TEACHER}/1", tags=tags) as run:
            run.use_model(TEACHER, 1)
            run.log_text("deep", "deep/er/note.txt")
            run.log_table([{"a": 1}], "table.json")
            model = run.log_model(checkpoint, name="student", step=2, metrics={})
            tracking.register(model, STUDENT, {"val_accuracy": "50"})
    with pytest.raises(ValueError, match="broken"), tracking.stage_run("evaluate", dataset="toy", name="bad"):
        raise ValueError("broken")
    client.set_registered_model_alias(TEACHER, "champion", "1")
    return client


@pytest.fixture
def team(empty_store: Path, workdir: Path) -> Path:
    """Another store's folder."""
    folder = workdir / "team"
    folder.mkdir()
    shutil.copy2(empty_store, folder / "mlflow.db")
    return folder


def use(folder: Path) -> MlflowClient:
    """Work in a folder, on the store there."""
    os.chdir(folder)
    tracking.use_store(f"sqlite:///{folder}/mlflow.db")
    return store.connect()


def runs_of(client: MlflowClient) -> dict[str, Run]:
    """Runs by name; each is asked for, as a search does not tell the models that it used."""
    experiment = client.get_experiment_by_name("litemkd/toy")
    found = client.search_runs([experiment.experiment_id]) if experiment else []
    return {run.info.run_name: client.get_run(run.info.run_id) for run in found}


def counts(client: MlflowClient) -> tuple[int, int, int]:
    numbers = [one.experiment_id for one in client.search_experiments()]
    models = client.search_logged_models(numbers)
    return len(client.search_runs(numbers)), len(models), len(client.search_model_versions(""))


def history(client: MlflowClient, run: Run, key: str) -> list[tuple[int, int, str]]:
    return sorted((p.step, p.timestamp, str(p.value)) for p in client.get_metric_history(run.info.run_id, key))


@pytest.mark.parametrize("file", ["export", "export.zip"])
def test_everything_arrives_and_a_second_time_nothing(
    laptop: MlflowClient, team: Path, checkpoint: Path, workdir: Path, file: str
) -> None:
    made = export_runs(workdir / file)
    assert (made.runs, made.models, made.versions, made.messages) == (4, 2, 2, ())
    before = runs_of(laptop)
    there = use(team)
    with tracking.stage_run("teacher", dataset="toy", name="mine") as run:  # so that numbers move
        model = run.log_model(checkpoint, name="teacher", step=1, metrics={})
        tracking.register(model, TEACHER, {})
    there.set_registered_model_alias(TEACHER, "lite", "1")

    done = import_runs(workdir / file)
    assert (done.runs, done.models, done.versions, done.messages) == (4, 2, 2, [])
    assert (done.digest, done.points, done.files) == (made.digest, made.points, made.files)
    after = runs_of(there)
    assert counts(there) == (5, 3, 3)
    for name, old in before.items():
        new = after[name.replace("teacher/1", "teacher/2")]
        assert new.data.tags[ORIGIN_RUN] == old.info.run_id != new.info.run_id
        assert IMPORTING not in new.data.tags
        for key in ("status", "start_time", "end_time"):
            assert getattr(new.info, key) == getattr(old.info, key)
        assert new.data.params == old.data.params
        assert new.data.metrics == old.data.metrics
        for key in old.data.metrics:
            assert history(there, new, key) == history(laptop, old, key)
        assert [str(one.dataset) for one in new.inputs.dataset_inputs] == [
            str(one.dataset) for one in old.inputs.dataset_inputs
        ]
    parent, teacher, student = (after[name] for name in ("parent", "teacher", f"from models:/{TEACHER}/2"))
    assert {run.data.tags["mlflow.parentRunId"] for run in (teacher, student)} == {parent.info.run_id}
    assert student.data.tags["litemkd.teacher"] == f"{TEACHER} version 2"
    assert after["bad"].info.status == "FAILED"
    (note,) = Path(student.info.artifact_uri.removeprefix("file://")).rglob("note.txt")
    assert (note.read_text(), note.parent.name) == ("deep", "er")
    assert (
        "broken" in (Path(after["bad"].info.artifact_uri.removeprefix("file://")) / "traceback.txt").read_text()
    )

    version = tracking.get_version(TEACHER, "champion")
    assert (version.version, version.run_id) == (2, teacher.info.run_id)
    assert f"Run {teacher.info.run_id}, load it as models:/{TEACHER}/2 or" in version.description
    assert tracking.find_version(TEACHER, {"fingerprint": "f"}).version == 2
    weights = tracking.download(TEACHER, "champion") / "weights.safetensors"
    assert team in weights.parents
    assert weights.read_bytes() == (checkpoint / "weights.safetensors").read_bytes()
    model = there.get_logged_model(version.model_id)
    assert model.source_run_id == teacher.info.run_id
    measured = {one.key: (one.value, one.step, one.dataset_name) for one in model.metrics}
    assert measured == {"val/accuracy": (61.5, 4, "toy"), "val/loss": (0.5, 4, "toy")}
    assert [one.model_id for one in teacher.outputs.model_outputs] == [version.model_id]
    assert [one.model_id for one in student.inputs.model_inputs] == [version.model_id]
    described = (Path(model.artifact_location.removeprefix("file://")) / "MLmodel").read_text()
    assert version.model_id in described
    assert (
        str(laptop.search_model_versions(f"name = '{TEACHER}'")[0].source.removeprefix("models:/"))
        not in described
    )
    assert there.get_registered_model(TEACHER).aliases == {"lite": 1, "champion": 2}

    again = import_runs(workdir / file)
    assert (again.runs, again.runs_there, again.models, again.versions, again.versions_there) == (0, 4, 0, 0, 2)
    assert counts(there) == (5, 3, 3)


def test_new_runs_are_added_and_the_way_back_adds_nothing(
    laptop: MlflowClient, team: Path, workdir: Path
) -> None:
    export_runs(workdir / "first")
    with tracking.stage_run("prepare", dataset="toy", name="later"):
        pass
    export_runs(workdir / "second", dataset="toy")
    there = use(team)
    import_runs(workdir / "first")
    there.delete_registered_model_alias(TEACHER, "champion")
    tracking.register(tracking.list_versions(TEACHER)[0].model_id, TEACHER, {})
    there.set_registered_model_alias(TEACHER, "champion", "2")
    done = import_runs(workdir / "second")
    assert (done.runs, done.runs_there, done.versions) == (1, 4, 0)
    assert done.messages == [f"{TEACHER}: alias champion stays at version 2; the export has it at 1"]
    export_runs(workdir / "back")
    here = use(workdir)
    before = counts(here)
    done = import_runs(workdir / "back")
    assert (done.runs, done.models, done.versions) == (0, 0, 1)  # the one that was registered there
    assert counts(here) == (before[0], before[1], before[2] + 1)


@pytest.mark.parametrize(
    ("call", "time"),
    usual_first(
        [("create_run", 3), ("log_batch", 4), ("create_logged_model", 2), ("create_model_version", 2)],
        [
            ("log_batch", 1),
            ("log_inputs", 2),
            ("log_outputs", 1),
            ("finalize_logged_model", 1),
            ("update_model_version", 1),
            ("set_terminated", 2),
            ("delete_logged_model_tag", 1),
        ],
    ),
)
def test_an_interrupted_import_goes_on(
    laptop: MlflowClient, team: Path, workdir: Path, monkeypatch: pytest.MonkeyPatch, call: str, time: int
) -> None:
    made = export_runs(workdir / "export")
    there = use(team)
    real, calls = getattr(MlflowClient, call), []

    def failing(*words: Any, **named: Any) -> Any:
        calls.append(call)
        if len(calls) == time:
            raise ConnectionError("the network is gone")
        return real(*words, **named)

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, call, failing)
        with pytest.raises(TrackingError, match=r"network is gone.*same command goes on"):
            import_runs(workdir / "export")
    import_runs(workdir / "export")
    assert counts(there) == (4, 2, 2)
    assert export_runs(workdir / "again").digest == made.digest
    for run in runs_of(there).values():
        assert IMPORTING not in run.data.tags
        assert len(run.outputs.model_outputs) == (run.data.tags["litemkd.stage"] in ("teacher", "student"))
    assert not any(IMPORTING in one.tags for one in tracking.list_versions(TEACHER))
    assert {run.info.status for run in runs_of(there).values()} == {"FINISHED", "FAILED"}


def damage(folder: Path, how: str) -> None:
    (artifact,) = folder.rglob("note.txt")
    index = folder / "export.json"
    if how == "changed":
        artifact.write_text("Deep")
    elif how == "missing":
        artifact.unlink()
    elif how == "not listed":
        (folder / "artifacts" / "more.txt").write_text("more")
    elif how == "a link":
        artifact.unlink()
        artifact.symlink_to("/etc/hostname")
    elif how == "out of the folder":
        with (folder / "sha256sums").open("a") as sums:
            sums.write(f"{'0' * 64}  artifacts/../../secret\n")
    elif how == "format":
        index.write_text(json.dumps({**json.loads(index.read_text()), "format": 9}))
        from litemkd.tracking.moving.archive import Archive

        (folder / "sha256sums").unlink()
        Archive(folder).seal()


@pytest.mark.parametrize("how", ["changed", "missing", "not listed", "a link", "out of the folder", "format"])
def test_a_damaged_export_is_refused_before_anything_is_written(
    laptop: MlflowClient, team: Path, workdir: Path, how: str
) -> None:
    export_runs(workdir / "export")
    damage(workdir / "export", how)
    there = use(team)
    with pytest.raises(TrackingError, match=how):
        import_runs(workdir / "export")
    assert counts(there) == (0, 0, 0)
    assert there.get_experiment_by_name("litemkd/toy") is None


def test_a_zip_file_cannot_write_elsewhere(laptop: MlflowClient, team: Path, workdir: Path) -> None:
    export_runs(workdir / "export.zip")
    evil = workdir / "evil.zip"
    with zipfile.ZipFile(workdir / "export.zip") as good, zipfile.ZipFile(evil, "w") as bad:
        for name in good.namelist():
            content = good.read(name)
            if name == "sha256sums":
                content += f"{'0' * 64}  ../../escaped\n".encode()
            bad.writestr(name, content)
        bad.writestr("../../escaped", "out")
    use(team)
    with pytest.raises(TrackingError, match="goes out of the folder"):
        import_runs(evil)
    assert not list(workdir.parent.glob("escaped"))
    (workdir / "half.zip").write_bytes((workdir / "export.zip").read_bytes()[:-400])
    for file, words in (
        ("half.zip", "cannot be read"),
        ("team", "holds no sha256sums"),
        ("no", "no such file"),
    ):
        with pytest.raises(TrackingError, match=words):
            import_runs(workdir / file)


def test_what_cannot_be_exported(client: MlflowClient, workdir: Path) -> None:
    with pytest.raises(TrackingError, match="has no runs in litemkd/"):
        export_runs(workdir / "export")
    assert not (workdir / "export").exists()
    with tracking.stage_run("prepare", dataset="toy", name="one") as run:
        run.log_text("x", "x.txt")
    with pytest.raises(TrackingError, match="no runs in litemkd/other"):
        export_runs(workdir / "export", dataset="other")
    (workdir / "export").mkdir()
    with pytest.raises(TrackingError, match="is there already"):
        export_runs(workdir / "export")
    tracking.use_store(f"sqlite:///{workdir}/none.db")
    with pytest.raises(TrackingError, match="no such store"):
        export_runs(workdir / "other")
    assert not (workdir / "none.db").exists()


def test_a_run_that_was_still_running_ends(client: MlflowClient, team: Path, workdir: Path) -> None:
    with tracking.stage_run("student", dataset="toy", name="busy"):
        made = export_runs(workdir / "export")
    assert made.messages == ("still running, exported as it is now: busy",)
    there = use(team)
    assert "now KILLED: busy" in import_runs(workdir / "export").messages[0]
    run = runs_of(there)["busy"]
    assert (run.info.status, "still running" in run.data.tags["litemkd.stopped"]) == ("KILLED", True)


def test_the_commands_say_what_they_did(laptop: MlflowClient, team: Path, workdir: Path) -> None:
    out = CliRunner().invoke(main, ["export-runs", "laptop.zip"])
    assert out.exit_code == 0, out.output
    assert "exported to laptop.zip: 4 runs, 2 models, 2 registered versions" in out.stdout
    made = CliRunner().invoke(main, ["import-runs", "laptop.zip", "--to", f"sqlite:///{team}/mlflow.db"])
    assert made.exit_code == 0, made.output
    assert out.stdout.split()[-1] == made.stdout.split()[-1]  # the digests
    again = CliRunner().invoke(main, ["import-runs", "laptop.zip", "--to", f"sqlite:///{team}/mlflow.db"])
    assert "0 runs, 0 models, 0 registered versions; 4 runs and 2 versions were there" in again.stdout
    both = CliRunner().invoke(main, ["export-runs", "x", "--dataset", "toy", "--experiment", "litemkd/toy"])
    assert (both.exit_code, (workdir / "x").exists()) == (2, False)


def test_files_of_a_run_without_any(client: MlflowClient, workdir: Path) -> None:
    with tracking.stage_run("prepare", dataset="toy", name="bare") as run:
        pass
    files = Files(client.get_run(run.run_id).info.artifact_uri)
    assert files.sizes() == {}
    assert files.fetch(workdir / "none") == 0


def test_names_in_texts() -> None:
    names = Names()
    names.runs, names.models = {"a" * 32: "b" * 32}, {f"m-{'a' * 32}": f"m-{'c' * 32}"}
    names.versions = {("t", 1): 11, ("t", 11): 3, ("t-x", 1): 5}
    for text, wanted in {
        f"run {'a' * 32}.": f"run {'b' * 32}.",
        f"models:/m-{'a' * 32}": f"models:/m-{'c' * 32}",
        "a" * 40: "a" * 40,  # a commit
        "models:/t/1, models:/t/11": "models:/t/11, models:/t/3",
        "models:/t@champion": "models:/t@champion",
        "t version 1 and t-x version 1": "t version 11 and t-x version 5",
        "not version 1, models:/t/7": "not version 1, models:/t/7",
    }.items():
        assert names.translate(text) == wanted


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_values_survive_json(value: float) -> None:
    back = float(json.loads(json.dumps(number(value), allow_nan=False)))
    assert back == value or (math.isnan(back) and math.isnan(value))
