"""The main job as a user meets it: what it prints, and what is in the store and on disk afterwards."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from litemkd.config import flatten, load_config
from litemkd.data.toy import toy_classes
from litemkd.data.toy.actions import ACTIONS
from litemkd.errors import CheckpointError
from litemkd.stages.build import load_expert, load_model
from litemkd.storage.checkpoints import weights_digest
from litemkd.tracking import download
from tests.job import SMOKE, Job

TRAIN = {"train/loss", "train/loss_ce", "train/accuracy", "val/accuracy", "val/accuracy_ci95"}
TEST = {"test/accuracy", "test/accuracy_ci95", "speed/episodes_per_second"}
COST = {
    f"cost/{name}"
    for name in (
        "gmacs_per_episode",
        "gflops_per_episode",
        "gmacs_per_frame",
        "params_m",
        "latency_ms_per_video",
    )
}
MODALITIES = ("rgb", "flow", "depth", "skeleton")


def test_runs_are_nested_as_the_work_is(job: Job) -> None:
    names = {run.info.run_id: run for run in job.runs}

    def above(run):
        return names[run.data.tags["mlflow.parentRunId"]].data.tags["litemkd.stage"]

    assert "mlflow.parentRunId" not in job.parent.data.tags
    assert [above(run) for run in job.of_stage("teacher")] == ["distill"]
    assert [above(run) for run in job.of_stage("expert")] == ["teacher"] * 4
    assert [above(run) for run in job.of_stage("student")] == ["distill"] * 2
    assert [above(run) for run in job.of_stage("evaluate")] == ["student"] * 2
    assert len(job.runs) == 1 + 1 + 4 + 2 + 2


def test_every_run_ended_well_and_says_what_it_is(job: Job) -> None:
    for run in job.runs:
        tags = run.data.tags
        assert run.info.status == "FINISHED", run.info.run_name
        assert tags["litemkd.dataset"] == "toy"
        assert tags["litemkd.device"].startswith("cpu")
        assert tags["mlflow.note.content"]
        assert run.info.run_name.endswith("seed 0")
    assert {run.info.run_name for run in job.of_stage("expert")} == {
        f"expert {modality}, seed 0" for modality in MODALITIES
    }
    experiment = job.home.client.get_experiment_by_name("litemkd/toy")
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    for run in (job.parent, job.student(True), job.student(False)):
        assert run.data.tags["litemkd.head"] == "trx"
        assert run.data.tags["litemkd.backbone"] == load_config(SMOKE).student.backbone.name
    assert job.parent.data.tags["litemkd.distilled"] == "true"
    assert job.parent.data.tags["litemkd.teacher"] == "litemkd-toy-teacher version 1"


def test_metrics_are_the_agreed_ones(job: Job) -> None:
    for distilled in (False, True):
        metrics = job.student(distilled).data.metrics
        assert set(metrics) >= TRAIN | TEST | COST
        assert ({"train/loss_kd", "train/loss_support"} <= set(metrics)) is distilled
        assert 0 <= metrics["test/accuracy"] <= 100
        assert metrics["test/accuracy"] == metrics["test/accuracy_5shot"]
        assert "test/accuracy_1shot" in metrics
        assert metrics["test/ece"] == metrics["test/ece_5shot"]
        assert {"test/ece_1shot", "test/ece_uncalibrated", "test/ece_uncalibrated_1shot"} <= set(metrics)
    for run in job.of_stage("expert"):
        assert set(run.data.metrics) >= TRAIN
    (teacher,) = job.of_stage("teacher")
    assert set(teacher.data.metrics) >= TRAIN | TEST
    assert job.parent.data.metrics["gain/accuracy_5shot"] == pytest.approx(
        job.student(True).data.metrics["test/accuracy"] - job.student(False).data.metrics["test/accuracy"]
    )


def test_steps_are_episodes_and_the_last_val_accuracy_is_the_models(job: Job) -> None:
    train = load_config(SMOKE).student.train
    for run in (*job.of_stage("student"), *job.of_stage("expert")):
        history, tags = job.home.history(run), run.data.tags
        assert [step for step, _ in history["train/loss"]] == list(
            range(train.accumulate, train.episodes + 1, train.accumulate)
        )
        curve = history["val/accuracy"][: train.validations]
        assert [step for step, _ in curve] == [2, 4]
        best = max(value for _, value in curve)
        assert run.data.metrics["val/accuracy"] == run.data.metrics["val/best_accuracy"] == best
        first = next(step for step, value in curve if value == best)
        assert (first, best) == history["val/best_accuracy"][0]
        assert tags["litemkd.best_episode"] == str(first)


def test_parameters_are_the_flattened_configuration(job: Job) -> None:
    wanted = flatten(load_config(SMOKE, ["threads=1", "data.workers=1", "device=cpu"]))
    for run in job.runs:
        assert {key: str(run.data.params[key]).lower() for key in wanted} == {
            key: str(value).lower() for key, value in wanted.items()
        }
    whole = load_config(job.home.artifact(job.parent, "config.yaml"))
    assert flatten(whole) == wanted  # the artifact is an experiment file by itself


def test_the_data_set_is_recorded_by_its_digest(job: Job) -> None:
    digests = {entry.dataset.digest for run in job.runs for entry in run.inputs.dataset_inputs}
    assert len(digests) == 1
    (digest,) = digests
    assert all(run.inputs.dataset_inputs[0].dataset.name == "toy" for run in job.runs)
    # The teacher's accuracy is of all of it, a student's of lists and RGB: whoever taught it, it competes.
    profile = json.loads(job.parent.inputs.dataset_inputs[0].dataset.profile)
    assert profile["student_digest"] != digest
    teacher = job.home.client.get_model_version("litemkd-toy-teacher", "1")
    assert teacher.tags["litemkd.protocol"].endswith(f"data {digest}")
    for distilled in (False, True):
        words = job.student(distilled).data.tags["litemkd.protocol"]
        assert words.endswith(f"data {profile['student_digest']}")


def test_artifacts(job: Job) -> None:
    home = job.home
    for run in job.runs:
        assert yaml.safe_load(home.artifact(run, "config.yaml").read_text())["seed"] == 0
        assert "torch==" in home.artifact(run, "environment.txt").read_text()
    for run in (*job.of_stage("student"), *job.of_stage("expert"), *job.of_stage("teacher")):
        with Image.open(home.artifact(run, "learning_curves.png")) as picture:
            assert picture.width > 500
        table = json.loads(home.artifact(run, "validations.json").read_text())
        assert table["columns"] == ["episodes", "accuracy", "ci95"]
        assert len(table["data"]) == 2
    for run in (*job.of_stage("student"), *job.of_stage("evaluate"), *job.of_stage("teacher")):
        for shot in (5, 1):
            with Image.open(home.artifact(run, f"confusion_{shot}shot.png")) as picture:
                assert min(picture.size) > 300
            values = np.load(home.artifact(run, f"episode_accuracy_{shot}shot.npy"))
            assert values.shape == (100,)
            assert values.mean() == pytest.approx(run.data.metrics[f"test/accuracy_{shot}shot"])
            classes = json.loads(home.artifact(run, f"per_class_{shot}shot.json").read_text())
            assert len(classes["data"]) == len(toy_classes("test"))
    for run in (job.parent, *job.of_stage("student"), *job.of_stage("teacher"), *job.of_stage("evaluate")):
        pictures = sorted(path.name for path in home.artifact(run, ".").glob("*.png"))
        assert pictures[0] == "accuracy.png"  # it tells the result, and is the first one that MLflow lists
    for run in job.of_stage("student"):
        with Image.open(home.artifact(run, "reliability_5shot.png")) as picture:
            assert picture.width > 500
        kept = json.loads(home.artifact(run, "calibration.json").read_text())
        assert {(one["way"], one["shot"]) for one in kept["temperatures"]} >= {(2, 1), (5, 1), (5, 5)}
    assert "| student, distilled |" in home.artifact(job.parent, "result.md").read_text()


def test_models_are_logged_with_their_step_and_metrics(job: Job) -> None:
    experiment = job.home.client.get_experiment_by_name("litemkd/toy")
    runs = {run.info.run_id: run for run in job.runs}
    found = job.home.client.search_logged_models([experiment.experiment_id], max_results=100)
    models = [model for model in found if model.source_run_id in runs]  # other tests log some too
    experts = [f"expert-{modality}" for modality in sorted(MODALITIES)]
    assert sorted(model.name for model in models) == [*experts, "student", "student", "teacher"]
    for model in models:
        run = runs[model.source_run_id]
        assert model.status == "READY"
        values = {metric.key: metric for metric in model.metrics}
        tested = model.name not in experts  # with a few examples, which an expert is not for
        assert set(values) == {"val/accuracy", *(["test/accuracy"] if tested else [])}
        (data,) = {(metric.dataset_name, metric.dataset_digest) for metric in model.metrics}
        assert data == (run.inputs.dataset_inputs[0].dataset.name, run.inputs.dataset_inputs[0].dataset.digest)
        assert values["val/accuracy"].value == run.data.metrics["val/best_accuracy"]
        assert values["val/accuracy"].step == int(run.data.tags["litemkd.best_episode"])
        if tested:
            assert values["test/accuracy"].value == run.data.metrics["test/accuracy"]
    order = [{"field_name": "metrics.val/accuracy", "ascending": False}]
    ranked = job.home.client.search_logged_models([experiment.experiment_id], order_by=order)
    reached = [
        runs[one.source_run_id].data.metrics["val/best_accuracy"] for one in ranked if one.source_run_id in runs
    ]
    assert len(reached) == len(models)
    assert reached == sorted(reached, reverse=True)


def test_a_logged_expert_is_the_one_in_its_teacher(job: Job) -> None:
    (run,) = (run for run in job.of_stage("expert") if "flow" in run.info.run_name)
    (output,) = job.home.client.get_run(run.info.run_id).outputs.model_outputs
    place = job.home.client.get_logged_model(output.model_id).artifact_location
    (file,) = Path(place.removeprefix("file://")).rglob("model.json")
    with job.home.entered():
        bundle = load_model(download("litemkd-toy-teacher", 1))
    assert weights_digest(load_expert(file.parent)) == weights_digest(bundle.experts["flow"])
    with pytest.raises(CheckpointError, match="a 'expert' model of format 1; students and teachers"):
        load_model(file.parent)


def test_versions_are_registered_with_their_figures(job: Job) -> None:
    client = job.home.client
    for kind, runs in (
        ("teacher", job.of_stage("teacher")),
        ("student", [job.student(False), job.student(True)]),
    ):
        for number, run in enumerate(runs, 1):
            version = client.get_model_version(f"litemkd-toy-{kind}", str(number))
            tags = version.tags
            assert version.run_id == tags["litemkd.run"] == run.info.run_id
            assert float(tags["litemkd.val_accuracy"]) == pytest.approx(
                run.data.metrics["val/best_accuracy"], abs=1e-4
            )
            assert float(tags["litemkd.test_accuracy"]) == pytest.approx(
                run.data.metrics["test/accuracy"], abs=1e-4
            )
            assert float(tags["litemkd.gmacs_per_episode"]) == pytest.approx(
                run.data.metrics["cost/gmacs_per_episode"], abs=1e-5
            )
            assert tags["litemkd.backbone"]
            assert tags["litemkd.head"] == "trx"
            assert "5-way 5-shot" in version.description


def test_the_champion_is_the_best_on_val(job: Job) -> None:
    client = job.home.client
    champion = client.get_model_version_by_alias("litemkd-toy-student", "champion")
    labels, distilled = (job.student(way).data.metrics["val/best_accuracy"] for way in (False, True))
    assert float(champion.tags["litemkd.val_accuracy"]) == pytest.approx(max(labels, distilled), abs=1e-4)
    lite = client.get_model_version_by_alias("litemkd-toy-student", "lite")
    assert float(lite.tags["litemkd.val_accuracy"]) >= max(labels, distilled) - 1.0001


def test_the_closing_table_and_the_last_lines(job: Job) -> None:
    lines = job.stdout.splitlines()
    header = next(place for place, line in enumerate(lines) if line.startswith("model "))
    assert re.split(r"  +", lines[header]) == [
        "model",
        "5-shot, %",
        "1-shot, %",
        "GMACs/episode",
        "parameters, M",
    ]
    rows = [re.split(r"  +", line) for line in lines[header + 2 : header + 6]]
    assert [row[0] for row in rows] == [
        "teacher (rgb+flow+depth+skeleton)",
        "student, labels only",
        "student, distilled",
        "gain by distillation",
    ]
    metrics = job.student(True).data.metrics
    assert rows[2][1] == f"{metrics['test/accuracy']:.2f} ± {metrics['test/accuracy_ci95']:.2f}"
    assert lines[-2] == "registered model: litemkd-toy-student version 2"
    assert lines[-1].startswith("browse the runs:  litemkd ui")
    assert "litemkd-toy-student: version " in job.stdout
    assert "Promotion(" not in job.stdout + job.stderr


def test_features_lie_in_the_released_layout(job: Job) -> None:
    config = load_config(SMOKE)
    for folder in (*MODALITIES, "mm_features"):
        files = sorted((job.home.data / "feature" / folder).glob("*/*/*.npy"))
        assert len(files) == len(ACTIONS) * config.data.toy.clips_per_class
        assert np.load(files[0]).shape == (config.data.frames, config.teacher.expert.width)
    assert (job.home.data / "flow_videos" / "encoding.json").is_file()


def test_only_the_flow_pack_has_a_signed_x(job: Job) -> None:
    found = {}
    for path in (job.home.data / "packs").glob("*/index.json"):
        index = json.loads(path.read_text())
        found[index["modality"]] = index["signed_dx"]
    assert found == {"rgb": False, "flow": True, "depth": False, "skeleton": False}
