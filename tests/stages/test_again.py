"""The second time: a teacher that is used again, figures that come out again, a run that goes on."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import mlflow
import numpy as np
import pytest
import torch
from click.testing import Result
from mlflow.exceptions import MlflowException

from litemkd.data.packs.pack import FramePack
from litemkd.errors import CheckpointError, EpisodeError
from litemkd.stages.results import Recorder
from litemkd.storage.states import CheckpointFolder
from litemkd.tracking import download, get_version
from litemkd.tracking.delivery.journal import Journal
from litemkd.tracking.delivery.outbox import FOLDER
from tests.job import Home, Job


@pytest.fixture(scope="module")
def home(job: Job, tmp_path_factory: pytest.TempPathFactory) -> Home:
    return job.home.copy(tmp_path_factory.mktemp("home"))


def stages(runs) -> list[str]:
    return sorted(run.data.tags["litemkd.stage"] for run in runs)


def weights(home: Home, version: int) -> bytes:
    with home.entered():
        return (download("litemkd-toy-student", version) / "weights.safetensors").read_bytes()


def newest(home: Home, kind: str = "student") -> int:
    found = home.client.search_model_versions(f"name = 'litemkd-toy-{kind}'")
    return max(int(one.version) for one in found)


def test_the_teacher_is_used_again(job: Job, home: Home) -> None:
    made = home.made_by(lambda: home.must("distill", "--no-baseline"))
    assert stages(made) == ["distill", "evaluate", "student"]
    for run in made:
        if run.data.tags["litemkd.stage"] != "evaluate":
            assert run.data.tags["litemkd.teacher"] == "litemkd-toy-teacher version 1"
            assert run.data.tags["litemkd.teacher_reused"] == "true"
    assert newest(home, "teacher") == 1
    # The same teacher, seed and data: the same student to the last digit.
    (student,) = [run for run in made if run.data.tags["litemkd.stage"] == "student"]
    assert home.history(student) == home.history(job.student(True))
    assert weights(home, newest(home)) == weights(home, 2)


def test_another_teacher_is_trained_when_asked_for(home: Home) -> None:
    words = ("teacher", "--set", "teacher.modalities=[depth]")
    first = home.made_by(lambda: home.must(*words))
    assert stages(first) == ["expert", "teacher"]
    before = newest(home, "teacher")
    assert not home.made_by(lambda: home.must(*words))
    again = home.made_by(lambda: home.must(*words, "--teacher", "new"))
    assert stages(again) == ["expert", "teacher"]
    assert newest(home, "teacher") == before + 1
    for one, other in zip(first, again, strict=True):
        assert home.history(one) == home.history(other)


def test_the_same_seed_gives_the_same_figures(job: Job, home: Home) -> None:
    made = home.made_by(lambda: home.must("student"))
    assert stages(made) == ["evaluate", "student"]
    assert home.history(made[0]) == home.history(job.student(False))
    assert weights(home, newest(home)) == weights(home, 1)


def test_an_interrupted_training_goes_on_where_it_was(
    job: Job, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("student", "--set", f"output={tmp_path}")

    def log(self: Recorder, metrics, step):
        if step == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        record(self, metrics, step)

    record = Recorder.log_metrics
    monkeypatch.setattr(Recorder, "log_metrics", log)
    before = newest(home)
    results: list[Result] = []
    (killed,) = home.made_by(lambda: results.append(home.run(*words)))
    assert results[0].exit_code == 143
    assert killed.info.status == "KILLED"
    assert killed.data.tags["litemkd.stopped"] == "SIGTERM"
    assert newest(home) == before
    monkeypatch.undo()

    # The third step was ended and told of, and its state is there.
    assert [step for step, _ in home.history(killed)["train/loss"]] == [1, 2, 3]
    (folder,) = tmp_path.glob("toy-student-*")
    assert CheckpointFolder(folder, {}).states

    (evaluation,) = home.made_by(lambda: home.must(*words, "--resume"))
    assert evaluation.data.tags["litemkd.stage"] == "evaluate"
    run = home.client.get_run(killed.info.run_id)
    assert run.info.status == "FINISHED"
    assert home.history(run) == home.history(job.student(False))
    assert weights(home, newest(home)) == weights(home, 1)
    assert newest(home) == before + 1
    assert not home.made_by(lambda: home.must(*words, "--resume"))
    assert newest(home) == before + 1


def test_evaluation_gives_the_accuracy_of_the_training(job: Job, home: Home) -> None:
    (run,) = home.made_by(lambda: home.must("evaluate"))
    with home.entered():
        champion = get_version("litemkd-toy-student", "champion")
    trained = home.client.get_run(champion.run_id)
    for name in ("test/accuracy", "test/accuracy_ci95", "test/accuracy_1shot"):
        assert run.data.metrics[name] == trained.data.metrics[name]
    # What an earlier run could not send is sent by the next command.
    with home.entered():
        journal = Journal.make(FOLDER.absolute(), {})
        journal.append({"do": "tags", "run": run.info.run_id, "tags": {"litemkd.late": "yes"}})
        journal.close()
    results: list[Result] = []
    words = ("evaluate", "--model", "models:/litemkd-toy-student/2")
    (other,) = home.made_by(lambda: results.append(home.must(*words)))
    assert f"sent what was kept for later: run {run.info.run_id}: 1 tags" in results[0].stderr
    assert home.client.get_run(run.info.run_id).data.tags["litemkd.late"] == "yes"
    assert not (home.folder / "runs" / "unsent").exists()
    assert other.data.metrics["test/accuracy"] == job.student(True).data.metrics["test/accuracy"]
    assert other.data.tags["litemkd.model"] == "models:/litemkd-toy-student/2"


def test_checkpoints_of_a_training_can_be_evaluated(job: Job, home: Home) -> None:
    """By the folder that a training keeps them in; `model.json` lies there from its start."""
    with home.entered():
        folders = sorted(Path("checkpoints").glob("toy-student-*"))
    folders = [folder for folder in folders if (home.folder / folder / "best.pt").exists()]
    found = []
    for folder in folders:
        (run,) = home.made_by(lambda folder=folder: home.must("evaluate", "--model", str(folder)))
        assert run.data.tags["litemkd.model"] == str(folder)
        found.append(run.data.metrics["test/accuracy"])
    for distilled in (True, False):
        assert job.student(distilled).data.metrics["test/accuracy"] in found


def test_features_of_test_clips_are_kept_and_no_others(home: Home) -> None:
    kept = list((home.data / "embeddings").glob("*"))
    assert kept
    assert all(file.name.startswith("test-") and file.suffix == ".npy" for file in kept if file.name != ".lock")
    assert len(kept) <= 9


def test_mlflow_loads_a_student_that_names_queries(home: Home) -> None:
    with home.entered():
        loaded = mlflow.pyfunc.load_model("models:/litemkd-toy-student/1")
        with pytest.raises((CheckpointError, MlflowException), match="a teacher, which needs features"):
            mlflow.pyfunc.load_model("models:/litemkd-toy-teacher/1")
    (folder,) = (home.data / "packs").glob("rgb_*")
    pack = FramePack(folder)
    clips = np.stack([pack.clip(row)[:, 2:38, 2:38] for row in range(7)])  # crops of 36 out of 40
    labels = np.array([1, 0, -1, 2, 0, -1, 1])
    found = loaded.predict({"frames": clips, "labels": labels})
    assert found.shape == (2, 3)
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-5)
    as_numbers = loaded.predict({"frames": clips / 255, "labels": labels.tolist()})
    np.testing.assert_allclose(as_numbers, found, rtol=1e-4, atol=1e-6)
    as_json = loaded.predict({"frames": clips.tolist(), "labels": labels.tolist()})
    np.testing.assert_array_equal(as_json, found)

    student = loaded._model_impl.student
    with torch.inference_mode():
        x = torch.from_numpy(clips).permute(0, 1, 4, 2, 3).float() / 255
        features = student.branch_features(student.frame_features(x))
        codes = {name: student.head.encode(value) for name, value in features.items()}
        rows, query = [0, 1, 3, 4, 6], [2, 5]
        logits = sum(
            student.head.match(code[None, rows], torch.tensor([[1, 0, 2, 0, 1]]), code[None, query], 3)
            for code in codes.values()
        )
    calibration = loaded._model_impl.recogniser.calibration
    warmth = calibration.nearest(3, 2).temperature  # five supports of three classes
    np.testing.assert_allclose(found, (logits[0] / warmth).softmax(-1).numpy(), rtol=1e-4, atol=1e-6)

    for wrong, told in (
        ({"frames": clips}, r"inputs: \['frames'\] given; a mapping with `frames` and `labels`"),
        (clips, "inputs: ndarray given"),
        (
            {"frames": clips[:, 0], "labels": labels},
            r"frames: shape \(7, 36, 36, 3\) of uint8 .* \(V, 8, 36, 36, 3\)",
        ),
        (
            {"frames": clips.astype(float), "labels": labels},
            "frames: float64 from .* to .* given; whole numbers",
        ),
        ({"videos": clips, "labels": labels}, r"videos: shape \(7, 8, 36, 36, 3\) of uint8 given"),
        ({"frames": clips, "labels": labels[:3]}, r"labels: shape \(3,\) of int64 given; \(7,\) whole numbers"),
        ({"frames": clips, "labels": labels.astype(float)}, "labels: shape .* of float64 given"),
        ({"frames": clips, "labels": abs(labels)}, "at least one support and one query"),
        ({"frames": clips, "labels": labels * 2 + (labels < 0)}, "class 1 of episode 0 .* has no support"),
    ):
        with pytest.raises(EpisodeError, match=told):
            loaded.predict(wrong)


def test_no_run_is_left_open(home: Home) -> None:
    assert not home.runs("attributes.status = 'RUNNING'")
