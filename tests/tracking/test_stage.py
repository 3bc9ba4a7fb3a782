"""A run is opened once, in the right place, and is closed in every way a block can end."""

from __future__ import annotations

import math
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Param

from litemkd import tracking
from litemkd.errors import DataError, TrackingError
from litemkd.runtime.processes import is_gone
from litemkd.tracking import RunOptions, send_unsent, stage_run, store
from litemkd.tracking.tags import NOTE
from tests.tracking.helpers import all_runs, artifact, only_run, open_at_once, wait_to_be_ended

processes = multiprocessing.get_context("forkserver")


@pytest.fixture(scope="module", autouse=True)
def _imported_once() -> None:
    imported = ["litemkd.tracking", "mlflow.store.tracking.sqlalchemy_store", "alembic.command", "pytest"]
    processes.set_forkserver_preload([*imported, "mlflow.store.model_registry.sqlalchemy_store"])


def test_a_run_carries_its_tags_parameters_and_description(client: MlflowClient) -> None:
    tags = {"backbone": "resnet18", "head": None, "device": "cpu", "distilled": True, "team.name": "a"}
    given = {"tags": tags, "params": {"train.lr": 1e-4}, "description": "What *for*."}
    with stage_run("distill", dataset="toy", name="first", **given) as run:  # type: ignore[arg-type]
        assert client.get_run(run.run_id).info.status == "RUNNING"
    stored = only_run(client)
    assert float(stored.data.tags.pop("litemkd.heartbeat")) == pytest.approx(time.time(), abs=60)
    assert is_gone(stored.data.tags.pop("litemkd.owner")) is False
    ours = {key: value for key, value in stored.data.tags.items() if key.startswith(("litemkd.", "team."))}
    assert ours == {
        "litemkd.stage": "distill",
        "litemkd.dataset": "toy",
        "litemkd.backbone": "resnet18",
        "litemkd.distilled": "true",
        "litemkd.device": "cpu",
        "team.name": "a",
    }
    assert stored.info.run_name == "first"
    assert stored.info.status == "FINISHED"
    assert stored.data.tags[NOTE] == "What *for*."
    assert stored.data.params == {"train.lr": "0.0001"}
    experiment = client.get_experiment_by_name("litemkd/toy")
    assert "toy" in experiment.tags[NOTE]


def test_an_inner_run_is_a_child(client: MlflowClient) -> None:
    with (
        stage_run("distill", dataset="toy", name="outer") as outer,
        stage_run("teacher", dataset="toy", name="inner") as inner,
    ):
        pass
    assert client.get_run(inner.run_id).data.tags["mlflow.parentRunId"] == outer.run_id
    assert "mlflow.parentRunId" not in client.get_run(outer.run_id).data.tags
    with stage_run(
        "student", dataset="toy", name="elsewhere", options=RunOptions(parent_run_id=outer.run_id)
    ) as other:
        pass
    assert client.get_run(other.run_id).data.tags["mlflow.parentRunId"] == outer.run_id


def test_more_parameters_than_a_request_takes(client: MlflowClient) -> None:
    params = {f"key.{number}": number for number in range(230)} | {"long": "x" * 7000, "odd?key": [1, 2]}
    with stage_run("student", dataset="toy", name="many", params=params):
        pass
    stored = only_run(client).data.params
    assert len(stored) == 232
    assert len(stored["long"]) == 6000
    assert stored["long"].endswith("…")
    assert stored["odd_key"] == "[1, 2]"


def launch(client: MlflowClient, dataset: str, **params: str) -> str:
    """What `mlflow run` does before it starts the command."""
    experiment = store.experiment_id(client, dataset) if dataset else "0"
    run = client.create_run(experiment, tags={"mlflow.project.entryPoint": "student"})
    client.log_batch(run.info.run_id, params=[Param(key, value) for key, value in params.items()])
    return run.info.run_id


def test_joins_the_run_of_mlflow_run(client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    launched = launch(client, "toy", seed="'7 '", overrides="''", config="a.yaml")
    monkeypatch.setenv("MLFLOW_RUN_ID", launched)
    params = {"seed": 7, "config": "a.yaml", "train.lr": 0.1}
    with stage_run("student", dataset="toy", name="mine", params=params) as run:
        assert run.run_id == launched
        with stage_run("evaluate", dataset="toy", name="below") as inner:
            pass
    with stage_run("cost", dataset="toy", name="after") as after:
        pass
    stored = client.get_run(launched)
    assert stored.info.run_name == "mine"
    assert stored.info.status == "FINISHED"
    assert stored.data.params == {"seed": "'7 '", "overrides": "''", "config": "a.yaml", "train.lr": "0.1"}
    assert stored.data.tags["litemkd.stage"] == "student"
    assert client.get_run(inner.run_id).data.tags["mlflow.parentRunId"] == launched
    assert after.run_id != launched


def test_keeps_the_name_given_to_mlflow_run(client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    launched = launch(client, "toy")
    client.update_run(launched, name="My own")
    monkeypatch.setenv("MLFLOW_RUN_ID", launched)
    with stage_run("student", dataset="toy", name="mine"):
        pass
    assert client.get_run(launched).info.run_name == "My own"


def test_a_launcher_in_another_experiment_points_to_the_run(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    launched = launch(client, "", seed="0")
    monkeypatch.setenv("MLFLOW_RUN_ID", launched)
    with stage_run("student", dataset="toy", name="mine", params={"seed": 1}) as run:
        pass
    assert only_run(client).info.run_id == run.run_id != launched
    assert only_run(client).data.params == {"seed": "1"}
    tags = client.get_run(launched).data.tags
    assert tags["litemkd.run_id"] == run.run_id
    assert run.run_id in tags[NOTE]


def test_a_launcher_that_is_not_in_this_store(client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_RUN_ID", "0" * 32)
    with stage_run("student", dataset="toy", name="mine"):
        pass
    assert only_run(client).info.status == "FINISHED"


@pytest.mark.parametrize("place", ["litemkd/toy", "elsewhere"])
@pytest.mark.parametrize("maker", ["another program", "mlflow run of another project"])
def test_the_run_of_a_pipeline_is_left_alone(
    maker: str, place: str, client: MlflowClient, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another program made it, works on it, and started the command: with its id in the environment."""
    tags = {NOTE: "the pipeline's own words"}
    if maker != "another program":
        (workdir / "MLproject").write_text("name: pipeline\n")
        tags |= {"mlflow.project.entryPoint": "student", "mlflow.source.name": str(workdir)}
    found = client.get_experiment_by_name(place)
    experiment = found.experiment_id if found else client.create_experiment(place)
    pipeline = client.create_run(experiment, tags=tags, run_name="pipeline").info.run_id
    before = client.get_run(pipeline)
    monkeypatch.setenv("MLFLOW_RUN_ID", pipeline)
    with (
        tracking.launched(),
        stage_run("student", dataset="toy", name="mine", description="ours", params={"seed": 1}) as run,
    ):
        run.log_metrics({"a": 1.0}, 1)
    assert client.get_run(pipeline).to_dictionary() == before.to_dictionary()
    ours = client.get_run(run.run_id)
    assert (run.run_id != pipeline, ours.info.status, ours.info.run_name) == (True, "FINISHED", "mine")
    assert "mlflow.parentRunId" not in ours.data.tags
    client.set_terminated(pipeline)


def test_a_mistake_of_the_user_fails_the_run_and_its_parent(client: MlflowClient) -> None:
    def fail() -> None:
        outer = stage_run("student", dataset="toy", name="outer")
        with outer, stage_run("student", dataset="toy", name="inner") as run:
            run.log_metrics({"train/loss": 3.0}, step=2)
            raise DataError("videos/: no such folder")

    with pytest.raises(DataError):
        fail()
    for run in all_runs(client):
        assert run.info.status == "FAILED"
        assert run.data.tags["litemkd.error"] == "videos/: no such folder"
        assert "raise DataError" in artifact(run, "traceback.txt").read_text()
    assert {run.data.metrics.get("train/loss") for run in all_runs(client)} == {None, 3.0}


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ZeroDivisionError("by zero"), "FAILED"),
        (KeyboardInterrupt(), "KILLED"),
        (SystemExit(0), "FINISHED"),
        (SystemExit("a reason"), "FAILED"),
        (StopIteration(), "KILLED"),
    ],
)
def test_the_status_of_each_end(client: MlflowClient, error: BaseException, status: str) -> None:
    block = stage_run("student", dataset="toy", name="x", options=RunOptions(stopped_by=(StopIteration,)))
    with pytest.raises((type(error), RuntimeError)), block:
        raise error
    assert only_run(client).info.status == status


def test_a_second_interrupt_while_closing_leaves_nothing_open(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch, workdir: Path
) -> None:
    def again(self: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("litemkd.tracking.delivery.outbox.Outbox.flush", again)
    with pytest.raises(KeyboardInterrupt), stage_run("student", dataset="toy", name="x"):
        raise KeyboardInterrupt
    monkeypatch.undo()
    monkeypatch.chdir(workdir)
    send_unsent()
    assert only_run(client).info.status == "KILLED"


def test_sigterm_closes_all_runs(client: MlflowClient, workdir: Path) -> None:
    process = processes.Process(target=wait_to_be_ended, args=(str(workdir),))
    process.start()
    until = time.monotonic() + 60
    while not (workdir / "ready").exists() and time.monotonic() < until:
        time.sleep(0.05)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGTERM)
    process.join(30)
    assert process.exitcode == 128 + signal.SIGTERM
    runs = all_runs(client)
    assert [run.info.status for run in runs] == ["KILLED", "KILLED"]
    assert {run.data.tags["litemkd.stopped"] for run in runs} == {"SIGTERM"}
    assert sum(run.data.metrics.get("train/loss", 0.0) for run in runs) == 1.0


def test_six_processes_start_at_once_without_a_store(workdir: Path) -> None:
    started = [processes.Process(target=open_at_once, args=(str(workdir), number)) for number in range(6)]
    for process in started:
        process.start()
    for process in started:
        process.join(120)
    assert [process.exitcode for process in started] == [0] * 6
    runs = all_runs(store.connect())
    assert {run.info.run_name for run in runs} == {f"run-{number}" for number in range(6)}
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert sorted(run.data.metrics["train/loss"] for run in runs) == [0, 1, 2, 3, 4, 5]
    assert not list(workdir.glob("*.part"))


def test_system_metrics_of_a_short_run(client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING")
    before = set(threading.enumerate())
    with stage_run("student", dataset="toy", name="outer"), stage_run("student", dataset="toy", name="inner"):
        time.sleep(1.3)
        ended = time.monotonic()
    assert time.monotonic() - ended < 1
    assert set(threading.enumerate()) == before
    metrics = {run.info.run_name: run.data.metrics for run in all_runs(client)}
    assert metrics["inner"] == {}
    assert metrics["outer"]["system/system_memory_usage_megabytes"] > 0
    outer = next(run for run in all_runs(client) if run.info.run_name == "outer")
    assert len(client.get_metric_history(outer.info.run_id, "system/cpu_utilization_percentage")) >= 2


def test_values_that_are_not_finite(client: MlflowClient) -> None:
    with stage_run("student", dataset="toy", name="x") as run:
        run.log_metrics({"a": math.nan, "b": math.inf, "c": 1, "no?name": 2}, step=3)
    metrics = only_run(client).data.metrics
    assert math.isnan(metrics["a"])
    assert metrics["b"] > 1e300
    assert metrics["c"] == 1.0
    assert metrics["no_name"] == 2.0


def test_a_store_that_cannot_be_opened(workdir: Path) -> None:
    (workdir / "mlflow.db").write_text("this is no database")
    block = stage_run("student", dataset="toy", name="x")
    with (
        pytest.raises(
            TrackingError,
            match=r"mlflow\.db cannot be opened: file is not a database\. Check MLFLOW_TRACKING_URI",
        ),
        block,
    ):
        pass


def test_an_experiment_in_the_bin(client: MlflowClient) -> None:
    client.delete_experiment(store.experiment_id(client, "toy"))
    block = stage_run("student", dataset="toy", name="x")
    with pytest.raises(TrackingError, match="experiments restore") as told, block:
        pass
    restore, remove = re.findall(r"`(.*?)`", str(told.value))
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW")}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

    def typed(words: str) -> str:
        done = subprocess.run(
            ["sh", "-c", words], env=environment, cwd="/", capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "has been restored" in typed(restore)
    client.delete_experiment(store.experiment_id(client, "toy"))
    assert "permanently deleted" in typed(remove)
    with stage_run("student", dataset="toy", name="x"):
        pass


def test_the_signals_are_given_back(client: MlflowClient) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with stage_run("student", dataset="toy", name="x"):
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before
