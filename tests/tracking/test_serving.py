"""`litemkd ui`: the store in MLflow's own pages."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner
from mlflow import MlflowClient

from litemkd import tracking
from litemkd.cli import main
from litemkd.errors import TrackingError
from litemkd.tracking import serving
from tests.helpers import free_port


def test_the_pages_of_the_store_until_sigterm_and_no_process_is_left(
    client: MlflowClient, workdir: Path
) -> None:
    with tracking.stage_run("prepare", dataset="toy", name="one"):
        pass
    words = [sys.executable, "-m", "litemkd", "ui", "--port", str(free_port())]
    root = str(Path(__file__).parents[2])
    server = subprocess.Popen(
        words, env={**os.environ, "PYTHONPATH": root}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    assert server.stderr is not None
    line = server.stdout.readline()
    started = psutil.Process(server.pid).children(recursive=True)
    try:
        assert line, server.stderr.read()
        address = line.split()[-1].partition("/#")[0]
        with urllib.request.urlopen(f"{address}/health", timeout=30):
            pass
        there = MlflowClient(address).get_experiment_by_name("litemkd/toy")
        assert there is not None
        assert there.name == "litemkd/toy"
        assert sum("uvicorn" in " ".join(one.cmdline()) for one in started) == 1  # one worker
        assert not any("huey" in " ".join(one.cmdline()) for one in started)
    finally:
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=60)
    assert server.returncode == 128 + signal.SIGTERM
    assert started
    assert not any(one.is_running() for one in started)


def test_a_port_that_is_taken() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        with pytest.raises(TrackingError, match=f"port {taken} is taken"):
            serving.free_port("127.0.0.1", taken)
    assert serving.free_port("127.0.0.1", taken) == taken
    assert serving.PORT <= serving.free_port("127.0.0.1") < serving.PORT + serving.TRIED
    with pytest.raises(TrackingError, match="another address of this machine"):
        serving.free_port("192.0.2.1")


def test_no_store_and_a_store_that_is_a_server(workdir: Path) -> None:
    shown = CliRunner().invoke(main, ["ui"])
    assert shown.exit_code == 1
    assert "no such store" in shown.output
    assert not (workdir / "mlflow.db").exists()
    shown = CliRunner().invoke(main, ["ui", "--store", "http://me:secret@team:5000/"])
    assert (shown.exit_code, shown.output) == (0, f"browse the runs:  http://team:5000{serving.PAGE}\n")


def test_opening_it_to_others_is_told(workdir: Path) -> None:
    shown = CliRunner().invoke(main, ["ui", "--host", "0.0.0.0"])
    assert "no password is asked" in shown.stderr
    assert "no password is asked" not in CliRunner().invoke(main, ["ui"]).stderr
