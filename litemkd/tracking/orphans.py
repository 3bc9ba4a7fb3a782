"""Runs whose process is gone: found by host and process, or by heartbeat, and closed as FAILED with the reason.

A run carries who writes it (`litemkd.owner`: host, process, start of the process) and when it was last heard of
(`litemkd.heartbeat`, seconds since 1970). A run that several processes write on has no owner, only heartbeats;
one that `mlflow run` has just made has an owner alone.
"""

from __future__ import annotations

import time

from mlflow import MlflowClient
from mlflow.entities import RunTag
from mlflow.exceptions import MlflowException

from litemkd.errors import TrackingError
from litemkd.owners import is_gone, this_process
from litemkd.tracking import store
from litemkd.tracking.launcher import close_unlaunched
from litemkd.tracking.reasons import one_line
from litemkd.tracking.tags import CLOSED, ERROR, HEARTBEAT, OWNER

EVERY = 30.0  # seconds between heartbeats
STALE = 600.0  # seconds without one after which a process of another host is taken for dead; clocks may differ


def signs(shared: bool = False) -> dict[str, str]:
    """The tags that say that a run is alive, and whose it is unless it is `shared`."""
    return {HEARTBEAT: f"{time.time():.0f}"} | ({} if shared else {OWNER: this_process()})


def close_orphans() -> list[str]:
    """Close all runs of this project that are RUNNING and that nobody works on.

    Returns:
        A line a run that was closed.

    Raises:
        TrackingError: the store is away.
    """
    try:
        return [*close_unlaunched(), *close_lost()]
    except MlflowException as error:
        raise TrackingError(f"runs of lost processes cannot be looked for: {one_line(error)}") from error


def close_lost() -> list[str]:
    """Close runs of litemkd that are RUNNING although their process is gone.

    Returns:
        A line a run that was closed.
    """
    if not store.exists():
        return []
    client = store.connect()
    names = {
        one.experiment_id: one.name
        for one in client.search_experiments(filter_string="name LIKE 'litemkd/%'", max_results=1000)
    }
    lines: list[str] = []
    token: str | None = None
    while names:
        page = client.search_runs(
            list(names), "attributes.status = 'RUNNING'", max_results=1000, page_token=token
        )
        for run in page:
            if reason := why_lost(run.data.tags):
                close(client, run.info.run_id, reason)
                lines.append(f"run {run.info.run_id} ({run.info.run_name}): {reason}: closed as FAILED")
        token = page.token
        if not token:
            break
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


def close(client: MlflowClient, run_id: str, reason: str) -> None:
    """End a run as FAILED; should its process come back after all, it will take the reason back."""
    tags = [RunTag(ERROR, reason), RunTag(CLOSED, reason)]
    store.patiently(lambda: client.log_batch(run_id, tags=tags))
    store.patiently(lambda: client.set_terminated(run_id, "FAILED"))


def reopen(client: MlflowClient, run_id: str) -> None:
    """Take back what `close` did, if it did."""
    found = store.patiently(lambda: client.get_run(run_id))
    reason = found.data.tags.get(CLOSED)
    if reason is None:
        return
    store.patiently(lambda: client.update_run(run_id, status="RUNNING"))
    store.patiently(lambda: client.delete_tag(run_id, CLOSED))
    if found.data.tags.get(ERROR) == reason:
        store.patiently(lambda: client.delete_tag(run_id, ERROR))
