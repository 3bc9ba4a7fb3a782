"""Thousands of runs at once from a store that is a database.

MLflow makes an object of every parameter of every run that it finds: half a minute for 5,000 runs. Here it
finds the runs, with its own words for filters and its own paging; what belongs to them is read as plain rows.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import Engine, create_engine, event, false, select
from sqlalchemy.orm import ORMExecuteState, Session, with_loader_criteria
from sqlalchemy.pool import NullPool

from litemkd.tracking import store
from litemkd.tracking.mlflow_private import DATABASE_ENGINES, SqlLatestMetric, SqlParam, SqlTag

_AT_ONCE = 1000  # runs in one statement
_KINDS = (SqlParam, SqlTag, SqlLatestMetric)

# Of a run: parameters, tags, last values of metrics.
Content = tuple[dict[str, str], dict[str, str], dict[str, float]]


def is_database() -> bool:
    """Whether the store in use is a database that this process reads itself, not a server."""
    return urlsplit(store.store_uri()).scheme.partition("+")[0] in DATABASE_ENGINES


@contextlib.contextmanager
def bare_runs() -> Iterator[None]:
    """Searches of this thread in this block find runs without their parameters, tags and metrics.

    Filters and orders see these still.
    """
    owner = threading.get_ident()

    def leave_out(state: ORMExecuteState) -> None:
        if state.is_relationship_load and threading.get_ident() == owner:
            nothing = [with_loader_criteria(kind, lambda _: false()) for kind in _KINDS]
            state.statement = state.statement.options(*nothing)

    event.listen(Session, "do_orm_execute", leave_out)
    try:
        yield
    finally:
        event.remove(Session, "do_orm_execute", leave_out)


def contents(run_ids: Sequence[str]) -> dict[str, Content]:
    """What belongs to each run of the database in use, as MLflow would tell it."""
    found: dict[str, Content] = {run_id: ({}, {}, {}) for run_id in run_ids}
    metric = SqlLatestMetric
    columns: tuple[tuple[Any, ...], ...] = (
        (SqlParam.run_uuid, SqlParam.key, SqlParam.value),
        (SqlTag.run_uuid, SqlTag.key, SqlTag.value),
        (metric.run_uuid, metric.key, metric.value, metric.is_nan),
    )
    with _engine(store.store_uri()).connect() as connection:
        for start in range(0, len(run_ids), _AT_ONCE):
            some = run_ids[start : start + _AT_ONCE]
            for place, wanted in enumerate(columns):
                rows = connection.execute(select(*wanted).where(wanted[0].in_(some)))
                if place < 2:
                    for run_id, key, value in rows:
                        found[run_id][place][key] = value
                else:
                    for run_id, key, value, is_nan in rows:
                        found[run_id][2][key] = float("nan") if is_nan else value
    return found


@functools.lru_cache(maxsize=8)
def _engine(uri: str) -> Engine:
    return create_engine(uri, poolclass=NullPool)  # a connection must not outlive a fork
