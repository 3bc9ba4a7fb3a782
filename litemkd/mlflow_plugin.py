"""What `mlflow run` of this project asks before it makes a run: which experiment, and can it start at all.

MLflow loads this module in every process that imports MLflow, so it imports next to nothing at its top and does
nothing unless the process is `mlflow run <folder>` with an MLproject named litemkd. There it

* puts the run in the experiment `litemkd/<dataset>` of the configuration, unless the user named one;
* stops, before a run is made, when the environment manager the run needs is not installed;
* settles the run it saw being made when the launcher ends: MLflow would leave one whose environment cannot be
  built RUNNING for ever;
* hands SIGTERM on to the command, and ends with 143, or 130 after Ctrl-C, where the command was told to stop.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING

from litemkd.project import is_ours, missing_conda, project_folder, read_project

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import Any

_FLAGS = {"--build-image", "--help"}  # the options of `mlflow run` that take no value
PATIENCE = 60.0  # seconds that a command which was told to stop has for it
EXIT_CODES = {"Ctrl-C": 130, "SIGTERM": 143, "SIGHUP": 129}
_SHORT = {
    "-e": "--entry-point",
    "-v": "--version",
    "-P": "--param-list",
    "-A": "--docker-args",
    "-b": "--backend",
}
_SHORT |= {"-c": "--backend-config"}


class ProjectExperiment:
    """MLflow's default experiment provider for runs of this project."""

    def __init__(self) -> None:
        # Made by MLflow while it is imported, when no run exists yet.
        self._launch = Launch.of_this_process()
        if self._launch is not None:
            self._launch.check_environment_manager()
            self._launch.watch_run()

    def in_context(self) -> bool:
        """Whether this process is `mlflow run` of this project; asked when no experiment was named."""
        return self._launch is not None

    def get_experiment_id(self) -> str:
        """The id of the experiment of the configuration's data set, made if missing."""
        from litemkd.tracking import store

        if self._launch is None:
            raise RuntimeError("not a launch of this project")
        if "MLFLOW_TRACKING_URI" in os.environ:
            # The command starts in the project's folder: a relative file would be another one there.
            store.use_store(os.environ["MLFLOW_TRACKING_URI"])
        return store.experiment_id(store.connect(), self._launch.dataset())


class Launch:
    """The command line of one `mlflow run` of this project.

    Args:
        folder: of the MLproject.
        options: the long names of the options given, each with its values.
    """

    def __init__(self, folder: Path, options: dict[str, list[str]]) -> None:
        self.folder = folder
        self.options = options
        pairs = (value.partition("=") for value in options.get("--param-list", []))
        self.params = {key: value for key, _, value in pairs}

    @classmethod
    def of_this_process(cls) -> Launch | None:
        """The launch this process is, None when it is anything else."""
        arguments = run_arguments(sys.orig_argv, sys.argv)
        if arguments is None:
            return None
        uri, options = parse(arguments)
        folder = project_folder(uri) if uri else None
        return cls(folder, options) if folder is not None and is_ours(folder) else None

    def project(self) -> dict[str, Any]:
        """The MLproject's content."""
        return read_project(self.folder)

    def dataset(self) -> str:
        """The data set the configuration names, as the command will read it; `toy` when it cannot be read.

        A mistake in the configuration is the command's to tell, in full, and it will.
        """
        import json
        import shlex

        from litemkd.config import load_config
        from litemkd.config.shipped import EXPERIMENTS

        entry = (
            self.project().get("entry_points", {}).get((self.options.get("--entry-point") or ["main"])[-1])
            or {}
        )
        defaults = {
            key: value.get("default") if isinstance(value, dict) else None
            for key, value in (entry.get("parameters") or {}).items()
        }
        given = {**defaults, **self.params}
        named = [f"data.dataset={json.dumps(given['dataset'])}"] if given.get("dataset") else []
        try:
            config = given.get("config")
            file = EXPERIMENTS.find(config, self.folder) if config else None
            return load_config(file, [*shlex.split(given.get("overrides") or ""), *named]).data.dataset
        except Exception:
            return "toy"

    def manager(self) -> str | None:
        """The environment manager the run will use: the one given, else the one MLproject means."""
        if given := self.options.get("--env-manager"):
            return given[-1]
        return "conda" if "conda_env" in self.project() else None

    def check_environment_manager(self) -> None:
        """Exit with 1 and one line when the environment manager is not installed."""
        import shutil

        backend = (self.options.get("--backend") or ["local"])[-1]
        manager = self.manager()
        if backend != "local":
            return
        if manager == "conda":
            missing = missing_conda()
        elif manager in {"uv", "virtualenv"}:
            program = {"uv": "uv", "virtualenv": "pyenv"}[manager]
            missing = None if shutil.which(program) else program
        else:
            missing = None
        if missing is not None:
            reason = f"this project's environment is made by {manager}, and {missing} was not found"
            print(
                f"litemkd: {reason}. Add `--env-manager local` to use the packages installed here, or install "
                f"{manager if manager != 'virtualenv' else 'pyenv'}. No run was made.",
                file=sys.stderr,
            )
            raise SystemExit(1)

    def watch_run(self) -> None:
        """Note the run that `mlflow run` makes, and close it at exit if it never started."""
        import atexit
        import signal
        import threading

        from mlflow.tracking.client import MlflowClient

        from litemkd.runtime.processes import this_process

        made: list[str] = []
        create_run = MlflowClient.create_run

        # MLflow tells nobody which run it made, and on the way out of a failed set-up the number is gone. This
        # is the one place where it can be seen, in this process only.
        def create_and_note(client: MlflowClient, *args: Any, **kwargs: Any) -> Any:
            run = create_run(client, *args, **kwargs)
            made.append(run.info.run_id)
            with contextlib.suppress(Exception):  # should all be killed, others see whose it was
                from litemkd.tracking.tags import OWNER

                client.set_tag(run.info.run_id, OWNER, this_process())
            return run

        MlflowClient.create_run = create_and_note  # type: ignore[method-assign, assignment]
        atexit.register(exit_as_the_command, made)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, forward_signal)


def forward_signal(signum: int, frame: object) -> None:
    """Tell the command to stop and wait for it, then go the way of Ctrl-C."""
    import psutil

    children = psutil.Process().children(recursive=True)
    for child in children:
        with contextlib.suppress(psutil.Error):
            child.send_signal(signum)
    psutil.wait_procs(children, timeout=PATIENCE)
    raise KeyboardInterrupt


def exit_as_the_command(made: list[str]) -> None:
    """Settle the launcher's run, and end with the exit code of a command that was told to stop."""
    code = settle_status(made)
    if code:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # this is called at exit, where no other way is left


def settle_status(made: list[str]) -> int:
    """Give the launcher's run its right status when the launcher ends.

    A run that nothing started or ended is closed. One that the stage closed as KILLED after Ctrl-C is so again:
    the launcher gets the Ctrl-C too, and may have written FAILED over it.

    Returns:
        The exit code of the command if it was told to stop, else 0.
    """
    if not made:
        return 0
    from litemkd.tracking import store
    from litemkd.tracking.runs.launcher import close_unstarted, is_begun
    from litemkd.tracking.store.failures import one_line
    from litemkd.tracking.tags import STOPPED

    try:
        client = store.connect()
        run = client.get_run(made[0])
        if run.info.status == "RUNNING" and not is_begun(run.data.tags):
            close_unstarted(
                client, made[0], "its environment could not be made, or the launcher was interrupted"
            )
        worked = run.data.tags.get("litemkd.run_id")  # a run that was gone on with, or in another experiment
        word = (client.get_run(worked) if worked else run).data.tags.get(STOPPED)
        if run.info.status in ("FAILED", "KILLED") and word is not None:
            client.set_terminated(made[0], "KILLED")
            return EXIT_CODES.get(word, 0)
    except Exception as error:
        print(f"litemkd: the run {made[0]} could not be closed: {one_line(error)}", file=sys.stderr)
    return 0


def run_arguments(original: Sequence[str], current: Sequence[str]) -> list[str] | None:
    """What follows `run` on the command line `mlflow run …` or `python -m mlflow run …`; None for any other.

    Args:
        original: `sys.orig_argv`; while a package is imported for `python -m`, `sys.argv` does not name it yet.
        current: `sys.argv`.
    """
    from pathlib import Path

    words = list(current)
    if not words:
        return None
    if words[0] == "-m":
        start = list(original).index("-m") if "-m" in original else -1
        if start < 0 or list(original)[start + 1 : start + 2] not in (["mlflow"], ["mlflow.cli"]):
            return None
        words = list(original)[start + 1 :]
    elif Path(words[0]).stem != "mlflow" and Path(words[0]).parent.name != "mlflow":
        return None
    rest = words[1:]
    while rest and rest[0].startswith("--env-file"):  # the one option before the command's name
        rest = rest[1 if "=" in rest[0] else 2 :]
    return rest[1:] if rest[:1] == ["run"] else None


def parse(arguments: Sequence[str]) -> tuple[str | None, dict[str, list[str]]]:
    """The project's address and the options, long names with their values, of the words after `mlflow run`."""
    uri: str | None = None
    options: dict[str, list[str]] = {}
    words = iter(arguments)
    for word in words:
        if word == "--":
            uri = next(words, uri)
        elif word.startswith("--"):
            name, equals, value = word.partition("=")
            if name not in _FLAGS:
                options.setdefault(name, []).append(value if equals else next(words, ""))
        elif word.startswith("-") and len(word) > 1:
            name, value = _SHORT.get(word[:2], word[:2]), word[2:]
            options.setdefault(name, []).append(value.removeprefix("=") if value else next(words, ""))
        elif uri is None:
            uri = word
    return uri, options
