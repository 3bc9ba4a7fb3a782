"""The main job through the command line, with the smallest experiment file; see the fixture `job`."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from mlflow import MlflowClient
from mlflow.entities import Run

from litemkd.cli import main
from litemkd.storage.files import locked
from litemkd.tracking.store import use_store
from tests.tracking.helpers import VARIABLES

ROOT = Path(__file__).parents[1]
SMOKE = ROOT / "experiments" / "toy" / "smoke.yaml"
PICTURES = ("--set", "evaluation.pictures=true")
REPORT = ("--set", "evaluation.report=true", *PICTURES)


def small(config: Path = SMOKE) -> tuple[str, ...]:
    """Words of a small command. It draws nothing, which would be half of its time."""
    settings = ("threads=1", "data.workers=1", "evaluation.report=false", "evaluation.pictures=false")
    return ("--config", str(config), "--device", "cpu", *(word for one in settings for word in ("--set", one)))


def copy_data(source: Path, target: Path, *without: str) -> None:
    """A folder of data once more, but for what is named `without`. Its thousands of files get further names, no
    copies: what they hold is never changed in place, only replaced. A lock is each folder's own.
    """

    def again(path: str, other: str) -> None:
        (shutil.copy2 if path.endswith("lock") else os.link)(path, other)

    shutil.copytree(source, target, ignore=shutil.ignore_patterns(*without), copy_function=again)


@dataclass(frozen=True)
class Home:
    """A working directory with a store of its own, the data and the checkpoints."""

    folder: Path

    @property
    def store(self) -> str:
        return f"sqlite:///{self.folder / 'mlflow.db'}"

    @property
    def data(self) -> Path:
        return self.folder / "data" / "toy"

    def copy(self, folder: Path) -> Home:
        """Data, checkpoints and store once more, for tests that make runs; artifacts stay where they are."""
        copy_data(self.folder / "data", folder / "data")
        shutil.copytree(self.folder / "checkpoints", folder / "checkpoints")
        shutil.copy2(self.folder / "mlflow.db", folder / "mlflow.db")
        return Home(folder)

    def moved(self, folder: Path) -> Home:
        """All of it once more, artifacts too, as if the runs had been made there."""
        home = self.copy(folder)
        for part in ("mlruns", "runs"):
            shutil.copytree(self.folder / part, folder / part)
        with contextlib.closing(sqlite3.connect(folder / "mlflow.db")) as store, store:
            for (table,) in store.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
                for _, column, *_ in store.execute(f"PRAGMA table_info({table})").fetchall():
                    store.execute(
                        f"UPDATE {table} SET {column} = replace({column}, ?, ?) WHERE instr({column}, ?)",
                        (str(self.folder), str(folder), str(self.folder)),
                    )
        return home

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Work in this folder, as a user in a shell does."""
        handlers = {one: signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGHUP)}
        with pytest.MonkeyPatch.context() as patch:
            for name in VARIABLES:
                patch.delenv(name, raising=False)
            patch.setattr("mlflow.tracking._tracking_service.utils._tracking_uri", None)
            patch.setenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "false")
            patch.chdir(self.folder)
            try:
                use_store(self.store)
                yield
            finally:
                os.environ.pop("MLFLOW_TRACKING_URI", None)
                for one, handler in handlers.items():
                    signal.signal(one, handler)

    def run(self, command: str, *words: str, config: Path = SMOKE) -> Result:
        """`litemkd COMMAND …` with the smoke experiment, in this process."""
        with self.entered():
            return CliRunner().invoke(main, [command, *small(config), *words])

    def must(self, command: str, *words: str) -> Result:
        """The same, and it has to work."""
        result = self.run(command, *words)
        if result.exit_code or result.exception:
            raise AssertionError(f"{command}: {result.exit_code}\n{result.output}") from result.exception
        return result

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(self.store)

    def runs(self, filter_string: str = "", dataset: str = "toy") -> list[Run]:
        """Runs of the experiment, oldest first."""
        experiment = self.client.get_experiment_by_name(f"litemkd/{dataset}")
        if experiment is None:
            return []
        found = self.client.search_runs([experiment.experiment_id], filter_string, max_results=1000)
        return sorted(found, key=lambda run: run.info.start_time)

    def made_by(self, call: Callable[[], object]) -> list[Run]:
        """The runs that a call makes."""
        before = {run.info.run_id for run in self.runs()}
        call()
        return [run for run in self.runs() if run.info.run_id not in before]

    def history(self, run: Run) -> dict[str, list[tuple[int, float]]]:
        """Every metric of a run but those that are times: (step, value) in the order they were logged."""
        found = {}
        for name in run.data.metrics:
            if not name.startswith(("speed/", "system/")) and not re.search("latency|joules", name):
                points = self.client.get_metric_history(run.info.run_id, name)
                # A model's metrics are points of the run too, and come with the model's id.
                found[name] = [(point.step, point.value) for point in points if not point.model_id]
        return found

    def artifact(self, run: Run, file: str) -> Path:
        return Path(run.info.artifact_uri.removeprefix("file://")) / file


@dataclass(frozen=True)
class Job:
    """The main job of the session: what it printed, and its runs."""

    home: Home
    stdout: str
    stderr: str
    runs: list[Run]

    def of_stage(self, stage: str) -> list[Run]:
        return [run for run in self.runs if run.data.tags.get("litemkd.stage") == stage]

    @property
    def parent(self) -> Run:
        (run,) = self.of_stage("distill")
        return run

    def student(self, distilled: bool) -> Run:
        wanted = str(distilled).lower()
        (run,) = [run for run in self.of_stage("student") if run.data.tags["litemkd.distilled"] == wanted]
        return run


def run_job(session: Path, folder: Path) -> Job:
    """`litemkd distill`, as if it had run in the empty `folder`. It runs once in the folder of a test session,
    for the worker that wants it first; the others wait for it, and each has a copy.
    """
    made = Home(session / "job")
    printed = session / "job.json"  # is there when the job is done
    with locked(session / "job.lock"):
        if not printed.exists():
            shutil.rmtree(made.folder, ignore_errors=True)
            made.folder.mkdir()
            result = made.must("distill", *REPORT)
            printed.write_text(json.dumps([result.stdout, result.stderr]), encoding="utf-8")
    home = made.moved(folder)
    stdout, stderr = json.loads(printed.read_text(encoding="utf-8"))
    return Job(home, stdout, stderr, home.runs())
