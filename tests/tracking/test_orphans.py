"""Runs whose process is gone are closed, others never; a process that was taken for dead takes it back."""

from __future__ import annotations

import subprocess
import sys
import time

from mlflow import MlflowClient

from litemkd.runtime.processes import this_host, this_process
from litemkd.tracking import close_orphans, stage_run, store
from litemkd.tracking.delivery import heartbeat
from litemkd.tracking.runs import orphans


def running(client: MlflowClient, dataset: str, **tags: str) -> str:
    named = {f"litemkd.{key}": value for key, value in tags.items()}
    number = store.experiment_id(client, dataset)
    return client.create_run(number, tags=named, run_name="other").info.run_id


def test_which_runs_are_closed(client: MlflowClient) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    now, old = f"{time.time():.0f}", f"{time.time() - 2 * orphans.STALE:.0f}"
    gone = f"{this_host()} {ended.pid} {time.time():.2f}"
    lost = {
        running(client, "toy", owner=gone, heartbeat=now): f"its process {ended.pid} on ",
        running(
            client, "other", owner="far 1 1.00", heartbeat=old
        ): "nothing was heard of its process for 20 min",
        running(client, "toy", heartbeat=old): "nothing was heard of its process for 20 min",
    }
    alive = [
        running(client, "toy", owner=this_process(), heartbeat=old),
        running(client, "toy", owner="far 1 1.00", heartbeat=now),
        running(client, "toy", heartbeat=now),
        running(client, "toy", stage="student"),
        client.create_run("0", tags={"litemkd.owner": gone, "litemkd.heartbeat": old}).info.run_id,
    ]
    lines = close_orphans()
    assert sorted(line.split()[1] for line in lines) == sorted(lost)
    for number, reason in lost.items():
        stored = client.get_run(number)
        assert stored.info.status == "FAILED"
        assert reason in stored.data.tags["litemkd.error"]
    assert {client.get_run(number).info.status for number in alive} == {"RUNNING"}
    assert close_orphans() == []


def test_a_run_that_was_taken_for_dead_ends_as_it_truly_does(client: MlflowClient) -> None:
    with stage_run("student", dataset="toy", name="x") as run:
        heartbeat.close_as_lost(client, run.run_id, "nothing was heard of it")
        assert client.get_run(run.run_id).info.status == "FAILED"
    stored = client.get_run(run.run_id)
    assert stored.info.status == "FINISHED"
    assert not {"litemkd.error", "litemkd.closed_by_another"} & stored.data.tags.keys()


def test_it_runs_again_at_the_next_heartbeat(client: MlflowClient) -> None:
    with stage_run("student", dataset="toy", name="x") as run:
        heartbeat.close_as_lost(client, run.run_id, "nothing was heard of it")
        heartbeat.reopen(client, run.run_id)
        stored = client.get_run(run.run_id)
        assert stored.info.status == "RUNNING"
        assert "litemkd.error" not in stored.data.tags
        run.set_tags({"error": "its own"})
        run.flush()
        heartbeat.reopen(client, run.run_id)
        assert client.get_run(run.run_id).data.tags["litemkd.error"] == "its own"
