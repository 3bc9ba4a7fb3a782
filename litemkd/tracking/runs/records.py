"""Runs read back as plain records, with their curves and files, for tables and figures."""

from __future__ import annotations

import contextlib
import functools
import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import numpy as np
from mlflow.entities import Run as StoredRun

from litemkd.errors import TrackingError
from litemkd.tracking import store
from litemkd.tracking.runs import bulk
from litemkd.tracking.store import artifact_roots
from litemkd.tracking.store.failures import one_line
from litemkd.tracking.tags import PARENT, run_tags

T = TypeVar("T")
_PAGE = 1000


@dataclass(frozen=True)
class RunRecord:
    """A run as it is in the store.

    Attributes:
        status: RUNNING, FINISHED, FAILED or KILLED.
        start_time: seconds since 1970; `end_time` likewise, None while it runs.
        parent_run_id: of the run it is a child of.
        tags: all tags, with MLflow's own.
        metrics: the last value of each.
        artifact_uri: where its files are.
    """

    run_id: str
    name: str
    experiment: str
    status: str
    start_time: float
    end_time: float | None
    parent_run_id: str | None
    tags: Mapping[str, str] = field(repr=False)
    params: Mapping[str, str] = field(repr=False)
    metrics: Mapping[str, float] = field(repr=False)
    artifact_uri: str = field(repr=False, default="")

    @property
    def stage(self) -> str | None:
        """The stage the run is of, None for a run that litemkd did not open."""
        return self.tags.get("litemkd.stage")


def read_runs(
    dataset: str | None = None,
    *,
    stage: str | None = None,
    tags: Mapping[str, str] | None = None,
    filter_string: str = "",
    limit: int | None = None,
) -> list[RunRecord]:
    """The runs of a data set's experiment, newest first; none where there is no such store or experiment.

    Args:
        dataset: whose experiment to read; with None all experiments `litemkd/…`.
        stage: only runs of this stage.
        tags: only runs with all these tags; a plain key `head` means `litemkd.head`.
        filter_string: a further condition in MLflow's own words, such as `metrics.`val/accuracy` > 60`.
        limit: read at most so many.

    Raises:
        TrackingError: the store cannot be read, or `filter_string` is not understood.
    """
    if not store.exists():
        return []
    client = store.connect()
    name = store.experiment_name(dataset) if dataset else None
    names = {one.experiment_id: one.name for one in store.experiments(client, name)}
    wanted = run_tags({**({"stage": stage} if stage else {}), **(tags or {})})
    conditions = [f"tags.`{key}` = '{value}'" for key, value in wanted.items()]
    conditions += [filter_string] if filter_string else []
    database = bulk.is_database()
    find = functools.partial(
        client.search_runs, list(names), " and ".join(conditions), order_by=["start_time DESC"]
    )
    try:
        with bulk.bare_runs() if database else contextlib.nullcontext():
            found = list(islice(store.pages(find, size=_PAGE), limit)) if names else []
        contents = bulk.contents([run.info.run_id for run in found]) if database else {}
    except Exception as error:
        raise TrackingError(
            f"the runs of {', '.join(names.values())} cannot be read: {one_line(error)}"
        ) from error
    return [_record(run, names[run.info.experiment_id], contents.get(run.info.run_id)) for run in found]


def read_run(run_id: str) -> RunRecord:
    """A run by its id. TrackingError: the store has none."""
    try:
        client = store.connect()
        run = store.retry(lambda: client.get_run(run_id))
        experiment = store.retry(lambda: client.get_experiment(run.info.experiment_id))
    except Exception as error:
        raise TrackingError(f"the tracking store does not have the run {run_id}: {one_line(error)}") from error
    return _record(run, experiment.name)


def _record(run: StoredRun, experiment: str, content: bulk.Content | None = None) -> RunRecord:
    info, data = run.info, run.data
    params, tags, metrics = content or (data.params, data.tags, data.metrics)
    return RunRecord(
        run_id=info.run_id,
        name=info.run_name or "",
        experiment=experiment,
        status=info.status,
        start_time=info.start_time / 1000,
        end_time=info.end_time / 1000 if info.end_time else None,
        parent_run_id=tags.get(PARENT),
        tags=dict(tags),
        params=dict(params),
        metrics=dict(metrics),
        artifact_uri=info.artifact_uri or "",
    )


def metric_points(run_id: str, name: str) -> dict[int, float]:
    """Values of a metric by step, the last one where a step was logged twice."""
    client = store.connect()
    history = store.retry(lambda: client.get_metric_history(run_id, name))
    return {point.step: point.value for point in history}


def read_array(record: RunRecord, file: str) -> np.ndarray | None:
    """An array that `Run.log_array` wrote; None where the run has none.

    Raises:
        TrackingError: the store of files does not answer.
    """
    return _read(record, file, lambda path: np.load(path, allow_pickle=False))


def read_table(record: RunRecord, file: str) -> list[dict[str, Any]] | None:
    """The rows that `Run.log_table` wrote; None where the run has none."""
    found = _read(record, file, lambda path: json.loads(path.read_text(encoding="utf-8")))
    return None if found is None else [dict(zip(found["columns"], row, strict=True)) for row in found["data"]]


def _read(record: RunRecord, file: str, read: Callable[[Path], T]) -> T | None:
    parts = urlsplit(record.artifact_uri)
    if parts.scheme in ("", "file"):
        artifact_roots.tell_missing(record.artifact_uri, f"run {record.run_id}")
        path = Path(unquote(parts.path) if parts.scheme else record.artifact_uri) / file
        return read(path) if path.is_file() else None
    client = store.connect()
    parent = str(PurePosixPath(file).parent)
    try:
        there = client.list_artifacts(record.run_id, None if parent == "." else parent)
        if file not in {one.path for one in there}:
            return None
        with tempfile.TemporaryDirectory() as scratch:
            return read(Path(client.download_artifacts(record.run_id, file, scratch)))
    except Exception as error:
        raise TrackingError(f"{file} of run {record.run_id} cannot be read: {one_line(error)}") from error
