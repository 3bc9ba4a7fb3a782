"""Signs of life on runs: who writes one, and when it was last heard of; the way back of one taken for dead.

A run carries who writes it (`litemkd.owner`: host, process, start of the process) and when it was last heard of
(`litemkd.heartbeat`, seconds since 1970). A run that several processes write on has no owner, only heartbeats;
one that `mlflow run` has just made has an owner alone.
"""

from __future__ import annotations

import time

from mlflow import MlflowClient
from mlflow.entities import RunTag

from litemkd.runtime.processes import this_process
from litemkd.tracking import store
from litemkd.tracking.tags import CLOSED, ERROR, HEARTBEAT, OWNER

EVERY = 30.0  # seconds between heartbeats


def signs_of_life(shared: bool = False) -> dict[str, str]:
    """The tags that say that a run is alive, and whose it is unless it is `shared`."""
    return {HEARTBEAT: f"{time.time():.0f}"} | ({} if shared else {OWNER: this_process()})


def close_failed(client: MlflowClient, run_id: str, reason: str, **more: str) -> None:
    """End a run as FAILED with the reason, and `more` tags."""
    tags = [RunTag(key, value) for key, value in {ERROR: reason, **more}.items()]
    store.retry(lambda: client.log_batch(run_id, tags=tags))
    store.retry(lambda: client.set_terminated(run_id, "FAILED"))


def close_as_lost(client: MlflowClient, run_id: str, reason: str) -> None:
    """End a run as FAILED; should its process come back after all, it will take the reason back."""
    close_failed(client, run_id, reason, **{CLOSED: reason})


def reopen(client: MlflowClient, run_id: str) -> None:
    """Take back what `close_as_lost` did, if it did."""
    found = store.retry(lambda: client.get_run(run_id))
    reason = found.data.tags.get(CLOSED)
    if reason is None:
        return
    store.retry(lambda: client.update_run(run_id, status="RUNNING"))
    store.retry(lambda: client.delete_tag(run_id, CLOSED))
    if found.data.tags.get(ERROR) == reason:
        store.retry(lambda: client.delete_tag(run_id, ERROR))
