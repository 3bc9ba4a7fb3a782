"""Runs whose process is gone, by host and process or by heartbeat: closed as FAILED with the reason."""

from __future__ import annotations

import time

from mlflow.exceptions import MlflowException

from litemkd.errors import TrackingError
from litemkd.runtime.processes import is_gone
from litemkd.tracking import store
from litemkd.tracking.delivery.heartbeat import close_as_lost, close_failed
from litemkd.tracking.runs.launcher import close_unlaunched
from litemkd.tracking.store.failures import one_line
from litemkd.tracking.tags import HEARTBEAT, OWNER

STALE = 600.0  # seconds without one after which a process of another host is taken for dead; clocks may differ


def close_orphans() -> list[str]:
    """Close all runs of this project that are RUNNING and that nobody works on.

    Returns:
        A line a run that was closed.

    Raises:
        TrackingError: the store is away.
    """
    try:
        return [*close_unlaunched(), *_close_lost()]
    except MlflowException as error:
        raise TrackingError(f"runs of lost processes cannot be looked for: {one_line(error)}") from error


def _close_lost() -> list[str]:
    if not store.exists():
        return []
    client, lines = store.connect(), []
    if not (numbers := [one.experiment_id for one in store.experiments(client)]):
        return []
    running = "attributes.status = 'RUNNING'"
    for run in store.pages(client.search_runs, experiment_ids=numbers, filter_string=running):
        if reason := why_lost(run.data.tags):
            close_as_lost(client, run.info.run_id, reason)
            lines.append(f"run {run.info.run_id} ({run.info.run_name}): {reason}: closed as FAILED")
    return lines


def why_lost(tags: dict[str, str]) -> str | None:
    """Why the process of a run is taken for gone, None when it may live."""
    owner, beat = tags.get(OWNER), tags.get(HEARTBEAT)
    if owner is not None:
        host, pid, _ = owner.rsplit(" ", 2)
        gone = is_gone(owner)
        if gone is not None:
            return f"its process {pid} on {host.partition('/')[0]} is gone" if gone else None
    if beat is None:  # of `mlflow run` on another machine, where the command has not begun
        return None
    silent = time.time() - float(beat)
    return f"nothing was heard of its process for {silent / 60:.0f} minutes" if silent > STALE else None


def close_dead(run_id: str, reason: str) -> None:
    """End a run whose process is gone as FAILED, with the reason in the tag `litemkd.error`."""
    close_failed(store.connect(), run_id, reason)
