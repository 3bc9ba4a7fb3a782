"""MLflow's own pages on the store in use, by one light server process that ends with this one."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from litemkd.errors import TrackingError
from litemkd.runtime.stopping import signals_end_the_block
from litemkd.tracking import store
from litemkd.tracking.store import reaching
from litemkd.tracking.store.views import view_page

PORT = 5000  # where MLflow is looked for
TRIED = 100  # ports after it, until one is free
PATIENCE = 180.0  # seconds until a server that does not answer is given up
LOCAL = frozenset({"127.0.0.1", "localhost", "::1"})
PAGE = "/#/experiments?workflowType=machine_learning"  # MLflow opens at chat applications else


def first_page() -> str:
    """Where to begin, behind the server's address: at the runs of the one experiment, or at the list of them.

    Raises:
        TrackingError: the store cannot be opened.
    """
    found = store.experiments(store.connect()) if store.exists() else []
    return view_page(found[0].experiment_id) if len(found) == 1 else PAGE


def free_port(host: str, wanted: int | None = None) -> int:
    """The port to use: `wanted`, or with None the first free one from 5000 on.

    Raises:
        TrackingError: it is taken, or the host is none of this machine's.
    """
    for port in [wanted] if wanted is not None else range(PORT, PORT + TRIED):
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except PermissionError as error:
                raise TrackingError(f"port {port}: {error.strerror}; one from 1024 on would do") from error
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    continue
                raise TrackingError(
                    f"--host {host}: {error.strerror or error}; 127.0.0.1, or another address of this machine, "
                    "would do"
                ) from error
            return port
    if wanted is not None:
        raise TrackingError(f"port {wanted} is taken; without --port a free one is chosen")
    raise TrackingError(f"ports {PORT} to {PORT + TRIED - 1} are all taken; --port names another one")


@contextlib.contextmanager
def serving(host: str, port: int) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """MLflow's pages on the store in use, from when they answer until the end of the block.

    The server has a process group of its own, which is ended with the block however that ends, also by SIGTERM
    and SIGHUP. New experiments that are made through it keep their artifacts where the commands do.

    Yields:
        The address, and the server's process.

    Raises:
        TrackingError: the store is missing, or the server did not start; its last words are told.
    """
    uri = store.store_uri()
    if not store.exists():
        raise TrackingError(
            f"{uri}: no such store; start in the folder where mlflow.db lies, or set MLFLOW_TRACKING_URI"
        )
    store.connect()  # says in one line what is wrong with it
    file = store.sqlite_file(uri)
    artifacts = (file.parent if file else Path.cwd()) / "mlruns"
    words = ["server", "--workers", "1", "--host", host, "--port", str(port)]
    environment = {
        **os.environ,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_BACKEND_STORE_URI": uri,  # not among the words, which other users of the machine can read
        "MLFLOW_ARTIFACTS_DESTINATION": artifacts.as_uri(),
    }
    address = f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{port}"
    with tempfile.TemporaryFile() as log, signals_end_the_block():
        server = subprocess.Popen(
            [sys.executable, "-m", "mlflow", *words],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            _wait(server, address, log)
            yield address, server
        finally:
            _end(server)


def _wait(server: subprocess.Popen[bytes], address: str, log: IO[bytes]) -> None:
    end = time.monotonic() + PATIENCE
    while not reaching.answers(address):
        if server.poll() is not None or time.monotonic() > end:
            log.seek(0)
            last = log.read().decode(errors="replace").strip().splitlines()[-8:]
            what = "ended" if server.poll() is not None else f"does not answer after {PATIENCE:.0f} s"
            raise TrackingError(f"the server {what}; its last words:\n" + "\n".join(last))
        time.sleep(0.2)


def _end(server: subprocess.Popen[bytes]) -> None:
    """End the server and all that it started: asked first, killed after a while."""
    for signum in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signum)
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(10)
