"""Runs made by `mlflow run` before the stage starts: joined, linked, or closed when they never started.

`mlflow run` makes a run, writes the entry point's parameters on it (as text, quoted for the shell), and starts
the command with the run's id in the environment.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run as StoredRun

from litemkd.project import is_ours, missing_conda, project_folder, read_project
from litemkd.tracking.delivery.heartbeat import close_failed, signs_of_life
from litemkd.tracking.delivery.outbox import outbox
from litemkd.tracking.store import connect, exists, retry, sqlite_file, store_uri, wait_for
from litemkd.tracking.tags import HEARTBEAT, NOTE, OWNER

_log = logging.getLogger("litemkd.tracking")
ENTRY_POINT = "mlflow.project.entryPoint"
ENTRY_POINTS = frozenset({"prepare", "teacher", "features", "student", "distill", "main", "evaluate", "cost"})
ENTRY_POINTS |= {"import-weights", "export-weights", "search", "predict", "register", "compare", "sync"}
ENTRY_POINTS |= {"init", "show", "report", "doctor", "export", "watch"}
_GIVEN_NAME = re.compile(r"[a-z]+-[a-z]+-\d+")  # the form of the names MLflow makes up
_SIGNS = {OWNER, HEARTBEAT}
SETTLED = 60.0  # seconds after which a run that waits for conda has long failed


def launching_run(client: MlflowClient) -> StoredRun | None:
    """The run `mlflow run` made for this process, once: a second call gives None.

    A run that other software made, and works on, is left alone, see `is_for_us`.
    """
    run_id = os.environ.pop("MLFLOW_RUN_ID", None)
    if not run_id:
        return None
    try:
        run = wait_for(lambda: client.get_run(run_id))
    except Exception as error:
        _log.warning(
            "MLFLOW_RUN_ID names the run %s, which this store does not have (%s): a new run", run_id, error
        )
        return None
    if not is_for_us(run):
        _log.info("MLFLOW_RUN_ID names the run %s of other software, which is left alone: a new run", run_id)
        return None
    return run if run.info.lifecycle_stage == "active" else None


def is_for_us(run: StoredRun) -> bool:
    """Whether `mlflow run` made a run for a command of this project.

    Any other run whose id is in the environment is of the program that started the command (a pipeline, a
    notebook, `mlflow run` of another project), which goes on with it.
    """
    tags = run.data.tags
    if ENTRY_POINT not in tags:
        return False
    source = project_folder(tags.get("mlflow.source.name", ""))  # None of a project from elsewhere, cloned here
    folder = Path.cwd() if source is None else source
    return not read_project(folder) or is_ours(folder)


def is_generated_name(name: str | None) -> bool:
    """Whether a run's name is one that MLflow made up, not one the user gave with `--run-name`."""
    return not name or _GIVEN_NAME.fullmatch(name) is not None


def pointer_tags(run_id: str, experiment: str) -> dict[str, str]:
    """Tags that say on a launcher's run, which is in another experiment, where the work is recorded."""
    note = f"Started the run `{run_id}` in the experiment `{experiment}`, where its results are."
    return {"litemkd.run_id": run_id, NOTE: note}


def close_unlaunched() -> list[str]:
    """Close, as FAILED and with the reason, runs of this project that cannot have started.

    The rule, all of it: the run is RUNNING for more than a minute; `mlflow run` made it for an entry point of
    this project, in a `litemkd/…` experiment or from a folder whose MLproject is this project's; nothing of
    litemkd was ever written on it; it waits for conda (`mlflow.project.env` is conda, written right before
    conda is called); this machine has no conda, so the call failed at once; and the store is a SQLite file,
    which other machines do not write to. Any other run is left alone: it may be waiting for its environment.

    Returns:
        A line a run that was closed.
    """
    if sqlite_file(store_uri()) is None or not exists() or missing_conda() is None:
        return []
    client = connect()
    names = {found.experiment_id: found.name for found in client.search_experiments()}
    filter_string = "attributes.status = 'RUNNING' and tags.`mlflow.project.env` = 'conda'"
    lines = []
    for run in client.search_runs(list(names), filter_string, max_results=1000):
        tags = run.data.tags
        ours = names[run.info.experiment_id].startswith("litemkd/") or is_our_project(
            tags.get("mlflow.source.name", "")
        )
        untouched = not run.data.metrics and not is_begun(tags)
        settled = time.time() - run.info.start_time / 1000 > SETTLED
        if ours and untouched and settled and tags.get(ENTRY_POINT) in ENTRY_POINTS:
            close_unstarted(client, run.info.run_id, "conda is not installed: add --env-manager local")
            lines.append(f"run {run.info.run_id} ({tags[ENTRY_POINT]}) never started: closed as FAILED")
    return lines


def is_begun(tags: Mapping[str, str]) -> bool:
    """Whether litemkd has written more on a launcher's run than whose it is."""
    return any(key.startswith("litemkd.") and key not in _SIGNS for key in tags)


def close_unstarted(client: MlflowClient, run_id: str, reason: str) -> None:
    """Close a launcher's run as FAILED and say why."""
    message = f"never started: {reason}"
    close_failed(client, run_id, message, **{NOTE: f"This run {message}."})


def is_our_project(source: str) -> bool:
    """Whether a run's source is a folder of this project."""
    folder = project_folder(source)
    return folder is not None and is_ours(folder)


@contextlib.contextmanager
def launched() -> Iterator[None]:
    """The run that `mlflow run` made for this process, if it did, is this process's for the time of the block.

    It is opened only when there is something to record, hours later perhaps; should the process be killed
    before, others see that it is gone.
    """
    run_id = os.environ.get("MLFLOW_RUN_ID")
    if run_id is not None:
        client = connect()
        try:
            found = retry(functools.partial(client.get_run, run_id))
        except Exception:  # of another store: told when the run is to be opened
            run_id = None
        else:
            run_id = run_id if is_for_us(found) else None
    if run_id is None:
        yield
        return
    box = outbox()
    box.put("tags", run=run_id, tags=signs_of_life())
    box.open_run(run_id)
    try:
        yield
    finally:
        box.close_run(run_id)
