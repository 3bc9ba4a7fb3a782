"""An interrupted run is found again, gone on with without a point twice, or refused with what differs."""

from __future__ import annotations

import logging
import math
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from mlflow import MlflowClient

from litemkd.errors import ResumeError
from litemkd.runtime.processes import this_process
from litemkd.tracking import Resume, Run, RunOptions, former_run, stage_run
from litemkd.tracking.delivery.outbox import outbox
from litemkd.tracking.tags import OWNER
from tests.tracking.helpers import all_runs, only_run

PARAMS = {"seed": 0, "train.lr": 0.1, "output": "here"}


def resume(identity: str = "a", *, seed: str = "0", allow_changes: bool = False, **more: str) -> Resume:
    command = {"seed": seed, "the data": "d1", **more}
    return Resume(identity, command, True, allow_changes, ignored={"seed", "output"})


def opened(identity: str = "a", *, params: dict[str, Any] = PARAMS, **more: Any) -> Any:
    return stage_run(
        "student", dataset="toy", name="x", params=params, options=RunOptions(resume=resume(identity, **more))
    )


def killed(work: Callable[[Run], object], block: Any = None) -> str:
    """A run that is interrupted after some work; its id."""
    numbers = []

    def interrupted() -> None:
        with block or opened() as run:
            numbers.append(run.run_id)
            work(run)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    return numbers[0]


def points(client: MlflowClient, run_id: str, *names: str) -> dict[str, list[tuple[int, float]]]:
    return {
        name: [(point.step, point.value) for point in client.get_metric_history(run_id, name)] for name in names
    }


def test_the_same_run_goes_on_and_its_end_is_forgotten(
    client: MlflowClient, caplog: pytest.LogCaptureFixture
) -> None:
    number = killed(lambda run: None)
    assert only_run(client).info.status == "KILLED"
    with caplog.at_level(logging.INFO), opened() as run:
        assert run.run_id == number
        run.flush()
        stored = client.get_run(number)
        assert stored.info.status == "RUNNING"
        assert "litemkd.stopped" not in stored.data.tags
        assert stored.data.tags["litemkd.resumed"] == "1"
    assert caplog.messages[0].startswith(f"going on with the run x ({number}), killed, begun ")
    assert only_run(client).info.status == "FINISHED"
    with caplog.at_level(logging.INFO), opened("b") as other:
        assert other.run_id != number
    assert caplog.messages[-1].startswith("--resume: no run of these settings and data was interrupted here")
    with stage_run("student", dataset="toy", name="x", params=PARAMS) as anew:  # not asked to go on
        assert anew.run_id not in (number, other.run_id)


def test_once_it_is_open_the_store_may_go_away(client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    number = killed(lambda run: run.log_metrics({"a": 1.0}, 1))

    def away(*_: Any, **__: Any) -> None:
        raise ConnectionError

    with opened() as run, monkeypatch.context() as patch:
        for name in ("get_metric_history", "log_batch", "search_runs", "get_run"):
            patch.setattr(MlflowClient, name, away)
        run.log_metrics({"a": 1.0, "b": 2.0}, 1)
        run.log_metrics({"a": 3.0}, 2)
        patch.undo()
    assert outbox().flush(anyway=True)  # where the thread happened to try meanwhile it would wait
    assert points(client, number, "a", "b") == {"a": [(1, 1.0), (2, 3.0)], "b": [(1, 2.0)]}


@pytest.mark.parametrize("seed", range(5))
def test_no_point_twice_and_none_missing(client: MlflowClient, seed: int) -> None:
    """The work tells all again in the same order; what was sent of it before is any first part."""
    dice = random.Random(seed)
    told = [({"train/loss": 1 / step, "train/lr": 0.1}, step) for step in range(1, 30)]
    told += [({"val/accuracy": 50.0}, 29), ({"val/accuracy": 60.0}, 29), ({"odd?": math.nan}, 3)]
    told += [({"val/accuracy": math.inf}, 30), ({"test/accuracy": 1.0}, 0)]
    number = ""
    for part in sorted(dice.sample(range(len(told)), 3)):
        number = killed(lambda run, part=part: [run.log_metrics(*one) for one in told[:part]])
    with opened() as run:
        assert run.run_id == number
        for one in told:
            run.log_metrics(*one)
    with stage_run("student", dataset="toy", name="whole") as whole:
        for one in told:
            whole.log_metrics(*one)
    names = ("train/loss", "train/lr", "val/accuracy", "test/accuracy")
    assert points(client, number, *names) == points(client, whole.run_id, *names)
    assert len(client.get_metric_history(number, "odd_")) == 1


def test_inner_runs_go_on_with_the_outer_one(client: MlflowClient) -> None:
    def work(run: Run) -> None:
        for name in ("done", "begun"):
            with stage_run("evaluate", dataset="toy", name=name) as inner:
                inner.log_metrics({"test/accuracy": 1.0}, 0)
                if name == "begun":
                    raise KeyboardInterrupt

    number = killed(work)
    before = {run.info.run_name: run.info.run_id for run in all_runs(client)}
    with opened():
        assert former_run("toy", "evaluate", "done", resume("b")) is None  # what is asked for is another one
        for name in ("done", "begun", "new"):
            with stage_run("evaluate", dataset="toy", name=name) as inner:
                assert inner.run_id == before.get(name, inner.run_id)
                inner.log_metrics({"test/accuracy": 1.0}, 0)
    runs = all_runs(client)
    assert {run.info.run_name for run in runs} == {"x", "done", "begun", "new"}
    assert {run.info.status for run in runs} == {"FINISHED"}
    for run in runs:
        if run.info.run_id != number:
            assert points(client, run.info.run_id, "test/accuracy") == {"test/accuracy": [(0, 1.0)]}
    with opened("b"), stage_run("evaluate", dataset="toy", name="done") as inner:  # of a new outer run
        assert inner.run_id not in {run.info.run_id for run in runs}


def test_other_settings_are_refused_with_what_differs(client: MlflowClient) -> None:
    number = killed(lambda run: None)
    changed = PARAMS | {"train.lr": 0.2, "output": "there"}
    with pytest.raises(ResumeError) as caught, opened("b", params=changed):
        pass
    first, line, last = str(caught.value).splitlines()
    assert first == f"the interrupted run x ({number}) had other settings:"
    assert line == "  - train.lr: 0.1, now 0.2"  # where it writes is no setting
    assert last.startswith("--allow-changes goes on with it")
    assert only_run(client).info.status == "KILLED"

    killed(lambda run: None, opened("b", params=changed, allow_changes=True))
    run = only_run(client)
    assert run.info.run_id == number
    assert run.data.tags["litemkd.changed"] == "train.lr: 0.1, now 0.2"
    assert run.data.params["train.lr"] == "0.1"
    with (
        pytest.raises(ResumeError, match=r"train\.lr: 0\.2, now 0\.1"),
        opened("a"),
    ):  # it is the changed one now
        pass
    with opened("b", params=changed) as again:
        assert again.run_id == number
    with opened("a") as anew:  # nothing is interrupted any more
        assert anew.run_id != number


def test_other_data_and_other_options_are_named_too(client: MlflowClient) -> None:
    killed(lambda run: None)
    with pytest.raises(ResumeError) as caught, opened("b", **{"the data": "d2", "--teacher": "new"}):
        pass
    assert "  - the data: d1, now d2" in str(caught.value)


def test_runs_of_other_seeds_do_not_stand_in_the_way(client: MlflowClient) -> None:
    killed(lambda run: None)
    with opened("b", seed="1", params=PARAMS | {"seed": 1}):
        pass
    assert len(all_runs(client)) == 2


@pytest.mark.parametrize("owner", ["here", "elsewhere", "gone"])
def test_a_run_that_may_be_alive(client: MlflowClient, owner: str, caplog: pytest.LogCaptureFixture) -> None:
    number = killed(lambda run: None)
    client.update_run(number, status="RUNNING")  # as after SIGKILL
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        begun = psutil.Process(process.pid).create_time()
        host = this_process().split()[0] if owner != "elsewhere" else "far/pid:[1]"
        if owner == "gone":
            begun -= 5
        client.set_tag(number, OWNER, f"{host} {process.pid} {begun:.2f}")
        if owner == "here":
            with pytest.raises(ResumeError, match=rf"is being worked on by process {process.pid}"), opened():
                pass
            with opened("b") as other:  # and it is no reason to refuse another
                assert other.run_id != number
        else:
            with caplog.at_level(logging.INFO), opened() as run:
                assert run.run_id == number
            assert ("it must not be running on far any more" in caplog.text) is (owner == "elsewhere")
        process.kill()


def test_the_metric_of_a_model_is_the_point_of_its_step(client: MlflowClient, checkpoint: Path) -> None:
    """Also where the run has gone on since: the best weights are seldom the last ones."""
    with stage_run("student", dataset="toy", name="x") as run:
        for step in (2, 4):
            run.log_metrics({"val/accuracy": 50.0 - step}, step)
        run.log_model(checkpoint, name="student", step=2, metrics={"val/accuracy": 48.0})
    assert points(client, run.run_id, "val/accuracy") == {"val/accuracy": [(2, 48.0), (4, 46.0)]}


def test_a_kept_model_is_there_once(client: MlflowClient, checkpoint: Path) -> None:
    """An expert's: told again by each run that goes on."""

    def keep(run: Run) -> None:
        run.log_metrics({"val/accuracy": 50.0}, 3)
        run.keep_model(checkpoint, name="expert-rgb", step=3, metrics={"val/accuracy": 50.0}, tags={"a": 1})

    number = killed(keep)
    for _ in range(2):
        with opened() as run:
            assert run.run_id == number
            keep(run)
    stored = client.get_run(number)
    (model,) = client.search_logged_models([stored.info.experiment_id])
    assert (model.name, str(model.status), len(stored.outputs.model_outputs)) == ("expert-rgb", "READY", 1)
    assert [(one.key, one.value) for one in model.metrics] == [("val/accuracy", 50.0)]
    assert points(client, number, "val/accuracy") == {"val/accuracy": [(3, 50.0)]}
    assert client.search_registered_models() == []


@pytest.mark.parametrize("reached", ["created", "uploaded", "ready", "linked", "whole"])
def test_a_model_that_was_begun_is_completed(
    client: MlflowClient, checkpoint: Path, monkeypatch: pytest.MonkeyPatch, reached: str
) -> None:
    def log(run: Run) -> str:
        run.log_metrics({"val/accuracy": 50.0}, 3)
        metrics = {"val/accuracy": 50.0, "test/accuracy": 40.0}
        return run.log_model(checkpoint, name="student", step=3, metrics=metrics)

    def stop(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    after = {"created": "log_model_artifacts", "uploaded": "finalize_logged_model", "ready": "log_outputs"}
    with monkeypatch.context() as patch:
        if reached in after:
            patch.setattr(MlflowClient, after[reached], stop)
        elif reached == "linked":
            patch.setattr("litemkd.tracking.registry.models._points", stop)
        number = killed(log)
    with opened() as run:
        assert run.run_id == number
        model_id = log(run)
    stored = client.get_run(number)
    (model,) = client.search_logged_models([stored.info.experiment_id])
    assert (model.model_id, str(model.status)) == (model_id, "READY")
    assert [one.model_id for one in stored.outputs.model_outputs] == [model_id]
    assert {metric.key: metric.value for metric in model.metrics} == {"val/accuracy": 50, "test/accuracy": 40}
    assert points(client, number, "val/accuracy", "test/accuracy") == {
        "val/accuracy": [(3, 50.0)],
        "test/accuracy": [(3, 40.0)],
    }
