"""`python WORDS` as a process of its own that starts at once: forked from one that has loaded the libraries.

It is a real process, with a folder, an environment, output and signals of its own; what it saves is the time in
which Python loads torch and MLflow. Commands that are started as a user starts them are tested elsewhere.
"""

from __future__ import annotations

import atexit
import importlib
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import types
from collections.abc import Mapping
from pathlib import Path

import tests.unsynced  # noqa: F401  # here too, before the command begins
from litemkd.tracking import mlflow_settings

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["litemkd.search.command", "litemkd.search.worker", "litemkd.cli", "mlflow.cli"])


class Warm:
    """As `subprocess.Popen`: pid, poll, wait and returncode."""

    def __init__(
        self, words: tuple[str, ...], folder: Path, environment: Mapping[str, str], out: Path, *, session: bool
    ) -> None:
        self._process = _SERVER.Process(target=_become, args=(words, folder, dict(environment), out, session))
        self._process.start()
        assert self._process.pid is not None
        self.words, self.pid = words, self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit code, minus the signal that ended it, None while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(self.words, timeout or 0)
        return self.returncode

    def send_signal(self, signum: int) -> None:
        os.kill(self.pid, signum)

    def kill(self) -> None:
        self._process.kill()


def _become(
    words: tuple[str, ...], folder: Path, environment: Mapping[str, str], out: Path, session: bool
) -> None:
    if session:
        os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    importlib.reload(mlflow_settings)  # it sets what is not set, where it is loaded first
    with out.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        if words[0] == "-c":
            sys.argv = ["-c", *words[2:]]
            module = types.ModuleType("__main__")
            sys.modules["__main__"] = module
            exec(compile(words[1], "<string>", "exec"), module.__dict__)
        elif words[0] == "-m":
            sys.argv = [words[1], *words[2:]]
            runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        else:
            sys.argv = [*words]
            runpy.run_path(words[0], run_name="__main__")
    finally:
        atexit._run_exitfuncs()  # the process ends by os._exit
        sys.stdout.flush()
        sys.stderr.flush()
