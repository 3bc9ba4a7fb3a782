"""The run of a command that was interrupted: found again, refused where it is another one's, gone on with."""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import operator
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run as StoredRun
from mlflow.exceptions import MlflowException

from litemkd.errors import ResumeError
from litemkd.runtime.processes import is_gone
from litemkd.tracking import store
from litemkd.tracking.runs.known_points import KnownPoints
from litemkd.tracking.runs.run import Run
from litemkd.tracking.tags import ERROR, OWNER, PARENT, STOPPED, allowed_name, run_tags, stored_value

_log = logging.getLogger("litemkd.tracking")
IDENTITY, COMMAND = "litemkd.identity", "litemkd.command"
_PAGE = 200


@dataclass(frozen=True)
class Resume:
    """What a command says of itself, so that it can be gone on with.

    Attributes:
        identity: a digest of all that it depends on.
        command: what it depends on beside its parameters, its `seed` among it.
        wanted: whether to go on with an interrupted run.
        allow_changes: also where its settings differ.
        ignored: parameters that it does not depend on.
    """

    identity: str
    command: Mapping[str, str]
    wanted: bool = False
    allow_changes: bool = False
    ignored: Collection[str] = ()

    def known(self, params: Mapping[str, Any]) -> dict[str, str]:
        """Those of the parameters that it depends on, as stored."""
        return {
            allowed_name(key): stored_value(value) for key, value in params.items() if key not in self.ignored
        }


def find_child(
    client: MlflowClient, experiment: str, parent: str, stage: str, name: str, identity: str | None
) -> StoredRun | None:
    """The newest run of a stage and name below a run, and of an identity if one is given."""
    condition = f"tags.`{PARENT}` = '{parent}' and tags.`litemkd.stage` = '{stage}'"
    condition += f" and tags.`{IDENTITY}` = '{identity}'" if identity else ""
    return next((run for run in _newest(client, experiment, condition) if run.info.run_name == name), None)


def find_same(client: MlflowClient, experiment: str, identity: str) -> StoredRun | None:
    """The newest outermost run of this identity, finished or not."""
    found = _newest(client, experiment, f"tags.`{IDENTITY}` = '{identity}'")
    return next((run for run in found if PARENT not in run.data.tags), None)


def find_other(
    client: MlflowClient, experiment: str, stage: str, command: Mapping[str, str]
) -> StoredRun | None:
    """The newest run of a stage, whatever its settings, if it was interrupted; of this seed and fold.

    One of which it is not known whether its process lives is left alone.
    """
    for run in _newest(client, experiment, f"tags.`litemkd.stage` = '{stage}'"):
        tags = run.data.tags
        if PARENT in tags or COMMAND not in tags or is_alive(run):
            continue
        before = json.loads(tags[COMMAND])
        if all(before.get(key) == command.get(key) for key in ("seed", "fold")):
            return None if run.info.status == "FINISHED" or is_elsewhere(run) else run
    return None


def is_alive(run: StoredRun) -> bool:
    """Whether a process of this machine is at work on a run."""
    return run.info.status == "RUNNING" and is_gone(run.data.tags.get(OWNER, "")) is False


def is_elsewhere(run: StoredRun) -> bool:
    """Whether a process of another machine may be at work on a run."""
    return run.info.status == "RUNNING" and is_gone(run.data.tags.get(OWNER, "")) is None


def _newest(client: MlflowClient, experiment: str, condition: str) -> Iterator[StoredRun]:
    find = functools.partial(client.search_runs, [experiment], condition, order_by=["start_time DESC"])
    return store.pages(find, size=_PAGE, again=operator.call)  # who asks repeats it all


def differences(run: StoredRun, params: Mapping[str, Any], resume: Resume) -> dict[str, str]:
    """What is different from a former run, by key: `0.001, now 0.002`."""
    before = run.data.params | json.loads(run.data.tags[COMMAND])
    return {
        key: f"{before[key] or 'nothing'}, now {value or 'nothing'}"
        for key, value in (resume.known(params) | dict(resume.command)).items()
        if before.get(key, value) != value
    }


def settled(run: StoredRun | None, params: Mapping[str, Any], resume: Resume) -> dict[str, str]:
    """The command, and the parameters that are not what the run's are: those cannot be written anew."""
    kept = {} if run is None else run.data.params
    changed = {key: value for key, value in resume.known(params).items() if kept.get(key, value) != value}
    return changed | dict(resume.command)


def choose_former(
    client: MlflowClient, experiment: str, stage: str, params: Mapping[str, Any], resume: Resume
) -> tuple[StoredRun | None, dict[str, str]]:
    """The run that a command is to go on with, None if there is none, and what has changed since.

    Raises:
        ResumeError: it is being worked on, or it has other settings.
    """
    run, changes = find_same(client, experiment, resume.identity), {}
    if run is None and (run := find_other(client, experiment, stage, resume.command)) is not None:
        changes = differences(run, params, resume)
        if not resume.allow_changes:
            lines = "".join(f"\n  - {key}: {words}" for key, words in changes.items())
            raise ResumeError(
                f"the interrupted run {_named(run)} had other settings:{lines}\n--allow-changes goes on with "
                "it and the new ones; without --resume a new run is begun"
            )
    if run is None:
        _log.info("--resume: no run of these settings and data was interrupted here, a new one is begun")
        return None, {}
    if is_alive(run):
        pid = run.data.tags[OWNER].rsplit(" ", 2)[1]
        raise ResumeError(
            f"the run {_named(run)} is being worked on by process {pid}; wait for it, or end that first"
        )
    host = run.data.tags.get(OWNER, "").partition("/")[0] or "another machine"
    note = f"; it must not be running on {host} any more" if is_elsewhere(run) else ""
    _log.info("going on with the run %s, %s%s", _named(run), _ended(run), note)
    for key, words in changes.items():
        _log.info("  changed: %s: %s", key, words)
    return run, changes


def _named(run: StoredRun) -> str:
    return f"{run.info.run_name} ({run.info.run_id})"


def _ended(run: StoredRun) -> str:
    begun = datetime.fromtimestamp(run.info.start_time / 1000).strftime("%d %B, %H:%M")
    return {"RUNNING": "killed", "FINISHED": "which had finished"}.get(
        run.info.status, run.info.status.lower()
    ) + f", begun {begun}"


def reopen(client: MlflowClient, run: Run, former: StoredRun, changes: Mapping[str, str]) -> None:
    """Make a run of `former` one that goes on: its end is forgotten, its points are known."""
    run.former = dict(former.data.tags)
    run.known = KnownPoints(client, run.run_id, former.data.metrics)
    for tag in (STOPPED, ERROR):
        if tag in former.data.tags:
            with contextlib.suppress(MlflowException):
                client.delete_tag(run.run_id, tag)
    times = int(former.data.tags.get("litemkd.resumed", "0")) + 1
    changed = {"litemkd.changed": "; ".join(f"{key}: {words}" for key, words in changes.items())}
    run.set_tags(run_tags({"resumed": times}) | (changed if changes else {}))
