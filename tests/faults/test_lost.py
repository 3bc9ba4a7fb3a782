"""Commands that begin while the server is away; processes that are frozen, or killed before there is a run."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click import Command
from click.testing import CliRunner

from litemkd.cli import main
from litemkd.runtime import processes
from litemkd.search.command import main as search
from litemkd.tracking import close_orphans, use_store
from litemkd.tracking.runs import orphans
from litemkd.tracking.store import create_sqlite_store, reaching
from litemkd.tracking.tags import CLOSED, HEARTBEAT, OWNER
from tests.faults.serving import CANARY, files_with, plain_environment, start
from tests.faults.silence import silent_port
from tests.job import SMOKE, Home

AWAY = {
    "closed": "Connection refused",
    "unknown": "Name or service not known",
    "silent": "no answer within 0.3 s",
}
COMMANDS: dict[str, tuple[Command, list[str]]] = {
    "distill": (main, ["distill", "--config", str(SMOKE)]),
    "compare": (main, ["compare", "--config", str(SMOKE)]),
    "register": (main, ["register", "--config", str(SMOKE)]),
    "sync": (main, ["sync"]),
    "search": (search, ["--config", str(SMOKE)]),
}
WORK = """
import time
from pathlib import Path
from litemkd.tracking import stage_run
from litemkd.tracking.delivery import heartbeat

heartbeat.EVERY = 0.2
with stage_run("student", dataset="toy", name="x") as run:
    Path("begun").touch()
    while not Path("end").exists():
        time.sleep(0.02)
"""
PROJECT = """
name: litemkd
entry_points:
  main: {command: "python work.py"}
"""
LAUNCHED = """
import time
from pathlib import Path
from litemkd.tracking import launched

Path("begun").touch()
while not Path("go").exists():
    time.sleep(0.02)
with launched():
    time.sleep(600)
"""


@pytest.fixture(params=AWAY)
def away(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """The address of a server that does not answer, and the reason."""
    why = request.param
    with silent_port() as silent, socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # and listens to nobody
        host = {"closed": f"127.0.0.1:{free.getsockname()[1]}", "unknown": "nobody.invalid:5000"}
        yield f"http://me:{CANARY}@{host.get(why, f'127.0.0.1:{silent}')}", AWAY[why]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_that_begins_while_the_server_is_away(
    name: str, away: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends within seconds, before any work, says what would do, and shows no password."""
    command, words = COMMANDS[name]
    address, reason = away
    monkeypatch.setattr(reaching, "AT_FIRST", 0.3)
    begun = time.monotonic()
    with Home(tmp_path).entered():
        use_store(address)
        result = CliRunner().invoke(command, words)
    assert time.monotonic() - begun < 15
    assert result.exit_code == 1, result.output
    (line,) = result.output.splitlines()
    shown = address.replace(CANARY, "***")
    assert line.startswith(
        f"{'litemkd ' * (command is main)}{name}: the tracking store {shown} does not answer: {reason}"
    )
    assert "import-runs runs.zip --to URI" in line
    assert [path.name for path in tmp_path.rglob("*")] == []
    assert files_with(CANARY, tmp_path) == []


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not so after {seconds} s"
        time.sleep(0.05)


def test_a_frozen_process_takes_its_run_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Taken for dead by another host meanwhile; its heartbeat alone opens the run again."""
    create_sqlite_store(tmp_path / "mlflow.db")
    home = Home(tmp_path)
    process = start(tmp_path, home.store, "-c", WORK, out="out")
    try:
        until(lambda: (tmp_path / "begun").exists())
        process.send_signal(signal.SIGSTOP)
        monkeypatch.setattr(orphans, "STALE", 1.0)
        monkeypatch.setattr(processes, "this_host", lambda: "another")

        def closed() -> list[str]:
            with home.entered():
                return close_orphans()

        until(lambda: any("nothing was heard of its process" in line for line in closed()))
        (lost,) = home.runs()
        assert lost.info.status == "FAILED"
        assert "nothing was heard" in lost.data.tags["litemkd.error"]

        process.send_signal(signal.SIGCONT)
        until(lambda: home.runs()[0].info.status == "RUNNING")
        until(lambda: not {"litemkd.error", CLOSED} & home.runs()[0].data.tags.keys())
        (tmp_path / "end").touch()
        assert process.wait(60) == 0, (tmp_path / "out").read_text()
        assert home.runs()[0].info.status == "FINISHED"
    finally:
        process.kill()
        process.wait()


def test_mlflow_run_killed_before_the_work_begins(tmp_path: Path) -> None:
    """The run that MLflow has made is the launcher's, then the command's, and is closed when both are gone."""
    create_sqlite_store(tmp_path / "mlflow.db")
    home = Home(tmp_path)
    (tmp_path / "MLproject").write_text(PROJECT)
    (tmp_path / "work.py").write_text(LAUNCHED)
    words = [sys.executable, "-m", "mlflow", "run", ".", "--env-manager", "local"]
    environment = plain_environment(MLFLOW_TRACKING_URI=home.store)
    with (tmp_path / "out").open("wb") as out:
        process = subprocess.Popen(
            words, cwd=tmp_path, env=environment, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )

    def owner() -> str:
        return home.runs()[0].data.tags.get(OWNER, "")

    try:
        until(lambda: (tmp_path / "begun").exists())
        assert f" {process.pid} " in owner()
        (tmp_path / "go").touch()
        until(lambda: owner() != "" and f" {process.pid} " not in owner())
        assert HEARTBEAT in home.runs()[0].data.tags
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    with home.entered():
        assert "is gone: closed as FAILED" in "".join(close_orphans())
    assert home.runs()[0].info.status == "FAILED"
