"""`python -m litemkd` as a process of its own, that can be killed, and what it leaves in its folder."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mlflow.entities import Run

from tests.job import Home, copy_data, small
from tests.warm import Warm


@dataclass(frozen=True)
class Place:
    """A folder with prepared data and a store of its own, in which a command runs again and again."""

    home: Home

    @classmethod
    def beside(cls, home: Home, folder: Path) -> Place:
        """A folder with the data of the main job, and nothing that was made of them."""
        copy_data(home.folder / "data", folder / "data", "feature", "embeddings")
        return cls(Home(folder))

    def start(self, command: str, *words: str, out: str = "out", more: Mapping[str, str] | None = None) -> Warm:
        """Start a command in a process group of its own, with `more` variables; its output goes to `out`."""
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")},
            "MLFLOW_TRACKING_URI": self.home.store,
            "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING": "false",
            "OMP_NUM_THREADS": "1",
            **(more or {}),
        }
        printed = self.home.folder / out
        printed.write_bytes(b"")
        words = ("-m", "litemkd", command, *small(), *words)
        return Warm(words, self.home.folder, environment, printed, session=True)

    @property
    def printed(self) -> str:
        return (self.home.folder / "out").read_text()

    def states(self, stage: str = "*") -> list[Path]:
        """States of trainings, the newest first."""
        found = self.home.folder.glob(f"checkpoints/toy-{stage}-*/state-*.pt")
        return sorted(found, key=lambda path: path.name, reverse=True)

    def changes(self, count: int) -> Iterator[bool]:
        """Whether the store and the checkpoints have changed so often since the first look."""
        before = None
        while True:
            files = [*self.home.folder.glob("mlflow.db"), *self.home.folder.glob("checkpoints/*/*.pt")]
            with contextlib.suppress(FileNotFoundError):  # a state that is renamed or replaced just now
                seen = {path: path.stat().st_mtime_ns for path in files}
                count -= before is not None and seen != before
                before = seen
            yield count <= 0

    def run(self, stage: str) -> Run:
        (run,) = [run for run in self.home.runs() if run.data.tags.get("litemkd.stage") == stage]
        return run


def wait_for(condition: Callable[[], object], process: Warm, seconds: float = 240) -> bool:
    """Wait until something is so; False when the process ended before."""
    end = time.monotonic() + seconds
    while not condition():
        if process.poll() is not None:
            return False
        assert time.monotonic() < end, f"not so after {seconds} s"
        time.sleep(0.02)
    return True


def send(process: Warm, signum: int) -> int:
    """Send a signal to a command and all that it started; its exit code."""
    if process.poll() is None:
        os.killpg(process.pid, signum)
    return process.wait(240)


def kill(process: Warm) -> int:
    """SIGKILL."""
    return send(process, signal.SIGKILL)
