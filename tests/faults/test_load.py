"""Many processes that start at once on an empty store: everything arrives, and nobody is told of locks.

LITEMKD_LOAD is the number of processes on the server, 8 when not given.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from litemkd.tracking import store
from tests.faults.serving import Database, Server

LOAD = int(os.environ.get("LITEMKD_LOAD", "8"))
STEPS = 150
WAITING = "INFO:litemkd.tracking:waiting for the tracking store to take what is left of this run"
processes = multiprocessing.get_context("forkserver")


@pytest.fixture(scope="module", autouse=True)
def _imported_once() -> None:
    imported = ["litemkd.tracking", "mlflow.store.tracking.sqlalchemy_store", "alembic.command", "pytest"]
    processes.set_forkserver_preload([*imported, "mlflow.store.model_registry.sqlalchemy_store"])


def work(folder: str, uri: str, number: int) -> None:
    """What each process does: a run and another in it, metrics, a table."""
    os.chdir(folder)
    os.environ |= {"MLFLOW_TRACKING_URI": uri, "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING": "false"}
    with Path(f"{number}.out").open("w") as out:
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    from litemkd.tracking import stage_run, unsent

    params = {"number": number}
    with stage_run("distill", dataset="toy", name=f"outer-{number}", params=params) as outer:
        with stage_run("student", dataset="toy", name=f"inner-{number}", params=params) as run:
            for step in range(STEPS):
                run.log_metrics({f"m{key}": number + step + key / 10 for key in range(6)}, step)
            run.log_table([{"number": number}], "table.json")
        outer.log_metrics({"done": number}, 0)
    assert unsent() == []


def check(uri: str, folder: Path, count: int) -> None:
    started = [processes.Process(target=work, args=(str(folder), uri, number)) for number in range(count)]
    for process in started:
        process.start()
    for process in started:
        process.join(500)
    said = {number: (folder / f"{number}.out").read_text() for number in range(count)}
    assert [process.exitcode for process in started] == [0] * count, said
    assert all(set(lines.splitlines()) <= {WAITING} for lines in said.values()), said
    client = store._connect(uri)
    experiment = client.get_experiment_by_name("litemkd/toy")
    assert experiment is not None
    runs = {one.info.run_name: one for one in client.search_runs([experiment.experiment_id], max_results=1000)}
    assert set(runs) == {f"{kind}-{number}" for kind in ("outer", "inner") for number in range(count)}
    assert {one.info.status for one in runs.values()} == {"FINISHED"}
    for number in range(count):
        inner = runs[f"inner-{number}"]
        assert inner.data.params == {"number": str(number)}
        assert inner.data.tags["mlflow.parentRunId"] == runs[f"outer-{number}"].info.run_id
        for key in range(6):
            history = client.get_metric_history(inner.info.run_id, f"m{key}")
            assert [(one.step, one.value) for one in history] == [
                (step, number + step + key / 10) for step in range(STEPS)
            ]
        assert [one.path for one in client.list_artifacts(inner.info.run_id)] == ["table.json"]
        assert runs[f"outer-{number}"].data.metrics == {"done": float(number)}
    assert not (folder / "runs" / "unsent").exists()


def test_eight_on_a_sqlite_file(tmp_path: Path) -> None:
    check(f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path, 8)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    database = Database()
    (home := tmp_path / "server").mkdir()
    server = Server(home, database.uri)
    try:
        server.start()
        yield server
    finally:
        server.kill()
        database.remove()


def test_many_on_a_server_with_postgresql(server: Server, tmp_path: Path) -> None:
    check(server.uri, tmp_path, LOAD)
