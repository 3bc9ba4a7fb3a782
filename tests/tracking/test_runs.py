"""What a run takes, and that nothing is lost while the store is away."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path

import mlflow
import numpy as np
import pytest
from matplotlib.figure import Figure
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from litemkd.errors import TrackingError
from litemkd.tracking import send_unsent, stage_run
from litemkd.tracking.delivery.outbox import outbox
from tests.tracking.helpers import artifact, only_run


def test_metrics_arrive_in_order_and_all_of_them(client: MlflowClient) -> None:
    with stage_run("student", dataset="toy", name="x") as run:
        for step in range(1200):
            run.log_metrics({"train/loss": 1 / (step + 1), "train/accuracy": step}, step)
    history = client.get_metric_history(run.run_id, "train/accuracy")
    assert [(point.step, point.value) for point in history] == [(step, float(step)) for step in range(1200)]
    assert only_run(client).data.metrics["train/loss"] == 1 / 1200


def test_metrics_are_sent_while_the_stage_does_something_else(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("litemkd.tracking.delivery.outbox.INTERVAL", 0.2)
    with stage_run("student", dataset="toy", name="x") as run:
        run.log_metrics({"a": np.float32(2.5)}, 1)  # type: ignore[dict-item]
        for _ in range(100):
            if found := client.get_metric_history(run.run_id, "a"):
                break
            time.sleep(0.1)
        assert [(point.step, point.value) for point in found] == [(1, 2.5)]


def test_a_lost_store_costs_no_metric(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch, workdir: Path
) -> None:
    def away(*args: object, **kwargs: object) -> None:
        raise MlflowException("connection refused")

    with stage_run("student", dataset="toy", name="x") as run:
        run.log_metrics({"a": 1.0}, 1)
        run.flush()
        for name in ("log_batch", "log_artifact", "set_terminated"):
            monkeypatch.setattr(MlflowClient, name, away)
        run.log_metrics({"a": 2.0, "b": math.nan}, 2)
        run.set_tags({"note": "late"})
        run.log_text("text", "report/a.txt")
    own = outbox()  # its thread might be in the middle of another try
    own._rest.set()
    own._wake.set()
    while own._threads:
        own._threads.pop().join()
    monkeypatch.undo()
    monkeypatch.chdir(workdir)
    assert only_run(client).info.status == "RUNNING"
    (line,) = send_unsent()
    assert line == f"run {run.run_id}: 1 artifacts, 1 tags, 2 metrics, status"
    assert not (workdir / "runs" / "unsent").exists()
    stored = only_run(client)
    assert stored.info.status == "FINISHED"
    assert stored.data.metrics["a"] == 2.0
    assert math.isnan(stored.data.metrics["b"])
    assert stored.data.tags["litemkd.note"] == "late"
    assert artifact(stored, "report/a.txt").read_text() == "text"
    assert send_unsent() == []


def test_artifacts(client: MlflowClient, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.txt").write_text("a")
    figure = Figure()
    figure.add_subplot().plot([1, 2])
    with stage_run("student", dataset="toy", name="x") as run:
        run.log_text("héllo", "notes/a.md")
        run.log_dict({"b": {"c": 1}, "path": Path("x")}, "config.yaml")
        run.log_dict({"b": 1}, "config.json")
        run.log_figure(figure, "figures/curve.png")
        run.log_artifact(tmp_path / "folder", "copied")
        run.log_artifact(tmp_path / "folder" / "a.txt")
        run.log_environment()
    stored = only_run(client)
    assert artifact(stored, "notes/a.md").read_text() == "héllo"
    assert artifact(stored, "config.yaml").read_text() == "b:\n  c: 1\npath: x\n"
    assert json.loads(artifact(stored, "config.json").read_text()) == {"b": 1}
    assert artifact(stored, "figures/curve.png").read_bytes().startswith(b"\x89PNG")
    assert artifact(stored, "copied/a.txt").read_text() == artifact(stored, "a.txt").read_text() == "a"
    environment = artifact(stored, "environment.txt").read_text()
    assert f"\nmlflow=={mlflow.__version__}\n" in environment
    assert "memory: " in environment


def test_tables_are_those_of_mlflow(client: MlflowClient) -> None:
    with stage_run("compare", dataset="toy", name="x") as run:
        run.log_table(
            [{"model": "a", "val": 1.5}, {"model": "b", "cost": np.float32(2.0), "val": math.nan}], "t/a.json"
        )
        run.log_table([{"x": 1}], "b.json")
    table = client.load_table(run.experiment_id, "t/a.json", run_ids=[run.run_id])
    assert list(table.columns) == ["model", "val", "cost"]
    assert table["model"].tolist() == ["a", "b"]
    assert table["val"].isna().tolist() == [False, True]
    assert table["cost"].tolist()[1] == 2.0
    listed = json.loads(only_run(client).data.tags["mlflow.loggedArtifacts"])
    assert listed == [{"path": "t/a.json", "type": "table"}, {"path": "b.json", "type": "table"}]


def test_a_data_set_by_its_digest(client: MlflowClient) -> None:
    digest = "0123456789abcdef" * 4
    with stage_run("student", dataset="toy", name="x") as run:
        run.log_dataset("toy/val", digest, "/data/toy", "validation", {"classes": 5})
        run.log_dataset("toy/train", "short", "/data/toy", "training")
    inputs = {one.dataset.name: one for one in only_run(client).inputs.dataset_inputs}
    val = inputs["toy/val"].dataset
    assert val.digest == digest[:36]
    assert json.loads(val.profile) == {"classes": 5, "digest": digest}
    assert json.loads(val.source) == {"uri": "/data/toy"}
    assert inputs["toy/val"].tags[0].value == "validation"
    assert inputs["toy/train"].dataset.digest == "short"


def test_a_checkpoint_round_trip(client: MlflowClient, checkpoint: Path) -> None:
    with stage_run("student", dataset="toy", name="x", params={"head": "trx"}) as run:
        run.log_dataset("toy", digest="abc", source="/data/toy", context="training")
        run.log_metrics({"val/accuracy": 61.5}, step=40)
        ids = [
            run.log_model(
                checkpoint,
                name="student",
                step=step,
                metrics={"val/accuracy": value},
                tags={"head": "trx"},
            )
            for step, value in ((40, 61.5), (80, 60.0))
        ]
    best = mlflow.search_logged_models(
        experiment_ids=[run.experiment_id],
        order_by=[{"field_name": "metrics.val/accuracy", "ascending": False}],
        output_format="list",
    )
    assert [model.model_id for model in best] == ids
    ranked = mlflow.search_logged_models(  # by what they reached on these very data
        experiment_ids=[run.experiment_id],
        datasets=[{"dataset_name": "toy", "dataset_digest": "abc"}],
        order_by=[
            {
                "field_name": "metrics.val/accuracy",
                "dataset_name": "toy",
                "dataset_digest": "abc",
                "ascending": True,
            }
        ],
        output_format="list",
    )
    assert [model.model_id for model in ranked] == ids[::-1]
    assert best[0].metrics[0].value == 61.5
    assert best[0].tags["litemkd.head"] == "trx"
    assert best[0].params == {"head": "trx"}
    assert str(best[0].status) == "READY"
    outputs = {out.model_id: out.step for out in client.get_run(run.run_id).outputs.model_outputs}
    assert outputs == dict(zip(ids, (40, 80), strict=True))
    # The run's own curve has one point a step, not two.
    assert [point.step for point in client.get_metric_history(run.run_id, "val/accuracy")] == [40, 80]
    assert mlflow.pyfunc.load_model(f"models:/{ids[0]}").predict(np.ones(2)).tolist() == [3.0, 3.0]
    requirements = mlflow.pyfunc.get_model_dependencies(f"models:/{ids[0]}")
    assert "torch==" in Path(requirements).read_text()


def test_a_model_that_is_not_there(client: MlflowClient, tmp_path: Path) -> None:
    with stage_run("student", dataset="toy", name="x") as run, pytest.raises(TrackingError, match="no such"):
        run.log_model(tmp_path / "nowhere", name="student", step=1, metrics={})
