"""Works of tracking: what logging takes from a training loop, on a SQLite file and on a local MLflow server.

The loop's steps are pauses, so that only tracking computes. What it takes is the time for which its calls hold
the loop up, and the processor time of its threads, which a loop that computes would miss.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.published.tracking import log_step
from benchmarks.sizes import Sizes
from benchmarks.work import Part, Setting, Side, Work

NAMES = ("train/loss", "train/loss_ce", "train/loss_kd", "train/loss_support", "train/accuracy", "train/lr")
SETTLE = 6.0  # seconds after which the last batch is sent
PATIENCE = 120  # seconds for a server to come up


def _metrics(step: int) -> dict[str, float]:
    return {name: step + place / 10 for place, name in enumerate(NAMES)}


class Store:
    """A store of its own for a side, and the working directory in it."""

    def __init__(self, setting: Setting, side: str, server: bool) -> None:
        self.folder = Path(setting.folder) / f"{side}-{'server' if server else 'sqlite'}"
        self.folder.mkdir()
        os.chdir(self.folder)
        os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
        from litemkd.tracking import store

        for noisy in ("mlflow", "alembic"):
            logging.getLogger(noisy).setLevel(logging.WARNING)
        uri = f"sqlite:///{self.folder / 'mlflow.db'}"
        store.create_sqlite_store(self.folder / "mlflow.db")
        self.server: subprocess.Popen[bytes] | None = None
        if server:
            uri = self._serve(uri)
        store.use_store(uri)

    def _serve(self, uri: str) -> str:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        words = ["server", "--backend-store-uri", uri, "--port", str(port), "--workers", "1"]
        self.server = subprocess.Popen(
            [sys.executable, "-m", "mlflow", *words],
            env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            stdout=(self.folder / "server.log").open("wb"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        address = f"http://127.0.0.1:{port}"
        for _ in range(PATIENCE * 5):
            try:
                urllib.request.urlopen(f"{address}/health", timeout=5).close()
                return address
            except OSError:
                time.sleep(0.2)
        raise TimeoutError(f"the MLflow server did not answer; see {self.folder / 'server.log'}")

    def history(self, run_id: str) -> dict[str, Any]:
        """What the store has of a run: values by metric, in the order of the steps."""
        from litemkd.tracking.store import connect

        found = {name: connect().get_metric_history(run_id, name) for name in NAMES}
        return {
            name: np.array([m.value for m in sorted(points, key=lambda m: m.step)])
            for name, points in found.items()
        }

    def close(self) -> None:
        if self.server is not None:
            os.killpg(self.server.pid, signal.SIGTERM)
            self.server.wait()


def _share(log: Callable[[int], None], steps: int, step: float, settle: float) -> float:
    """What `log` takes, in per cent of the steps' time."""
    total, own, held = time.process_time(), time.thread_time(), 0.0
    for number in range(steps):
        time.sleep(step)
        begun = time.perf_counter()
        log(number)
        held += time.perf_counter() - begun
    time.sleep(settle)
    background = (time.process_time() - total) - (time.thread_time() - own)
    return 100 * (held + background) / (steps * step)


def ours(setting: Setting, server: bool) -> Side:
    store = Store(setting, "ours", server)
    from litemkd.tracking import RunOptions, stage_run

    sizes = setting.sizes

    def answer() -> dict[str, Any]:
        unwatched = RunOptions(system_metrics=False)
        with stage_run("student", dataset="benchmark", name="answer", options=unwatched) as run:
            for number in range(3):
                run.log_metrics(_metrics(number), number)
        return store.history(run.run_id)

    def train(repetition: int) -> float:
        with stage_run("student", dataset="benchmark", name=f"run {repetition}") as run:
            settle = SETTLE if sizes.step >= 0.1 else 0.0
            return _share(lambda n: run.log_metrics(_metrics(n), n), sizes.steps, sizes.step, settle)

    return Side(answer, (Part(train),), store.close)


def published(setting: Setting, server: bool) -> Side:
    store = Store(setting, "published", server)
    import mlflow

    sizes = setting.sizes

    def answer() -> dict[str, Any]:
        with mlflow.start_run() as run:
            for number in range(3):
                log_step(_metrics(number), number)
        return store.history(run.info.run_id)

    def train(repetition: int) -> float:
        with mlflow.start_run():
            return _share(lambda n: log_step(_metrics(n), n), sizes.slow_steps, sizes.step, 0.0)

    return Side(answer, (Part(train),), store.close)


def works(sizes: Sizes) -> list[Work]:
    """The works of this file."""
    return [
        Work(
            f"tracking-{'server' if server else 'sqlite'}",
            f"tracking's share of steps of {1000 * sizes.step:.0f} ms, "
            f"{'a local MLflow server' if server else 'SQLite'}",
            partial(ours, server=server),
            partial(published, server=server),
            f"{len(NAMES)} metrics a step, litemkd with system metrics; the server's own work not counted",
            at_most=1.0,
            unit="%",
            repetitions=3,
            warm_up=0,
        )
        for server in (False, True)
    ]
