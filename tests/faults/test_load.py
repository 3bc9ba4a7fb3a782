"""Many processes that start at once on an empty store: everything arrives, and nobody is told of locks.

LITEMKD_LOAD is the number of processes on the server, 8 when not given. With LITEMKD_BIG=1 a store of 5,000
runs and 5 million metric points is made too, and stays usable; that takes some minutes and 2 GB of disk.
"""

from __future__ import annotations

import contextlib
import json
import logging
import multiprocessing
import os
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from litemkd.tracking import stage_run
from litemkd.tracking.store import opening
from tests.faults.crowd import STEPS as STEPS_OF_A_STUDENT
from tests.faults.crowd import make_job, multiply
from tests.faults.serving import Database, Server, run
from tests.job import SMOKE, Home

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
    client = opening._connect(uri)
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
    server = Server(home, database.uri, workers=1 if LOAD <= 8 else 4)  # four is `mlflow server`'s own number
    try:
        server.start()
        yield server
    finally:
        server.kill()
        database.remove()


@pytest.mark.slow
def test_many_on_a_server_with_postgresql(server: Server, tmp_path: Path) -> None:
    check(server.uri, tmp_path, LOAD)


@pytest.mark.skipif("LITEMKD_BIG" not in os.environ, reason="set LITEMKD_BIG=1")
def test_five_thousand_runs_and_five_million_points(tmp_path: Path) -> None:
    home = Home(tmp_path)

    @contextlib.contextmanager
    def timed(what: str, most: float = 120) -> Iterator[None]:
        begun, busy = time.monotonic(), processor_seconds()
        yield
        took, used = time.monotonic() - begun, processor_seconds() - busy
        print(f"{what}: {took:.2f} s, {used:.2f} of them a processor's")
        assert took < most, what

    with home.entered():
        make_job(tmp_path)
        with timed("made", 1200):
            runs, points = multiply(tmp_path / "mlflow.db", 1667)
        print(f"{runs} runs, {points} points, {(tmp_path / 'mlflow.db').stat().st_size / 1e9:.2f} GB")
    assert runs > 5000
    assert points > 5_000_000
    toy = ("--config", str(SMOKE))
    for words in (["compare", "--no-log", *toy], ["compare", *toy], ["register", "--dry-run", *toy], ["sync"]):
        with timed(f"litemkd {' '.join(words)}"):
            code, printed = run(tmp_path, home.store, "-m", "litemkd", *words)
        assert code == 0, printed
    new = stage_run("student", dataset="toy", name="new")
    with home.entered(), timed("a run opened, 1,000 steps logged, closed"), new as one:
        for step in range(1000):
            one.log_metrics({"train/loss": 1.0, "train/accuracy": 2.0}, step)
    experiment = home.client.get_experiment_by_name("litemkd/toy")
    assert experiment is not None
    server = Server(tmp_path, home.store)
    server.start()
    try:
        listed = {"experiment_ids": [experiment.experiment_id], "max_results": 100}
        for order in ("attributes.start_time DESC", "metrics.`val/accuracy` DESC"):
            with timed(f"the page of runs, by {order}"):
                found = asked(server, "runs/search", {**listed, "order_by": [order]})
            assert len(found["runs"]) == 100
        run_id = found["runs"][0]["info"]["run_id"]
        with timed("a page of a run: its facts"):
            asked(server, f"runs/get?run_id={run_id}")
        for count in (1, 100):
            chosen = [one["info"]["run_id"] for one in found["runs"][:count]]
            query = urlencode({"run_id": chosen, "metric_key": "train/m3", "max_results": 25000}, doseq=True)
            with timed(f"a chart: histories of {count} runs"):
                history = asked(server, f"metrics/get-history-bulk?{query}", kind="ajax-api")
            assert len(history["metrics"]) == STEPS_OF_A_STUDENT * count
    finally:
        server.kill()


def processor_seconds() -> float:
    """Of this process and those that it has waited for: others may use the machine too."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def asked(server: Server, what: str, body: Any = None, kind: str = "api") -> Any:
    """What a browser asks a server for."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{server.uri}/{kind}/2.0/mlflow/{what}", data, headers)
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.load(answer)
