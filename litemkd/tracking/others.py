"""Runs that another process opened: written on while it lives, closed when it died."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterator

from mlflow.entities import RunTag

from litemkd.errors import TrackingError
from litemkd.tracking import orphans, store
from litemkd.tracking.launcher import is_for_us
from litemkd.tracking.outbox import outbox
from litemkd.tracking.reasons import one_line
from litemkd.tracking.runs import Run
from litemkd.tracking.tags import ERROR


@contextlib.contextmanager
def launched() -> Iterator[None]:
    """The run that `mlflow run` made for this process, if it did, is this process's for the time of the block.

    It is opened only when there is something to record, hours later perhaps; should the process be killed
    before, others see that it is gone.
    """
    run_id = os.environ.get("MLFLOW_RUN_ID")
    if run_id is not None:
        client = store.connect()
        try:
            found = store.patiently(functools.partial(client.get_run, run_id))
        except Exception:  # of another store: told when the run is to be opened
            run_id = None
        else:
            run_id = run_id if is_for_us(found) else None
    if run_id is None:
        yield
        return
    box = outbox()
    box.put("tags", run=run_id, tags=orphans.signs())
    box.enter(run_id)
    try:
        yield
    finally:
        box.leave(run_id)


def attach(run_id: str, dataset: str) -> Run:
    """A run to write on; its status is left alone. `close(None)` sends what waits.

    Raises:
        TrackingError: the store has no such run.
    """
    client = store.connect()
    try:
        info = store.patiently(lambda: client.get_run(run_id)).info
    except Exception as error:
        raise TrackingError(f"the tracking store does not have the run {run_id}: {one_line(error)}") from error
    run = Run(client, run_id, info.experiment_id, info.run_name or "", dataset)
    run.keep_alive(shared=True)
    return run


def close_dead(run_id: str, reason: str) -> None:
    """End a run whose process is gone as FAILED, with the reason in the tag `litemkd.error`."""
    client = store.connect()
    store.patiently(lambda: client.log_batch(run_id, tags=[RunTag(ERROR, reason)]))
    store.patiently(lambda: client.set_terminated(run_id, "FAILED"))


def metric_points(run_id: str, name: str) -> dict[int, float]:
    """Values of a metric by step, the last one where a step was logged twice."""
    client = store.connect()
    history = store.patiently(lambda: client.get_metric_history(run_id, name))
    return {point.step: point.value for point in history}
