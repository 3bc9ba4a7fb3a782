"""Runs read back as plain records, for tables and figures."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from mlflow import MlflowClient
from mlflow.entities import Run as StoredRun

from litemkd.errors import TrackingError
from litemkd.tracking import bulk, store
from litemkd.tracking.reasons import one_line
from litemkd.tracking.tags import PARENT

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
    experiment: str | None = None,
    stage: str | None = None,
    status: str | None = None,
    tags: Mapping[str, str] | None = None,
    filter_string: str = "",
    limit: int | None = None,
) -> list[RunRecord]:
    """The runs of a data set's experiment, newest first; none where there is no such store or experiment.

    Args:
        dataset: whose experiment to read; with neither this nor `experiment`, all experiments `litemkd/…`.
        experiment: the name of any experiment instead.
        stage: only runs of this stage.
        status: only runs of this status.
        tags: only runs with all these tags; a plain key `head` means `litemkd.head`.
        filter_string: a further condition in MLflow's own words, such as `metrics.`val/accuracy` > 60`.
        limit: read at most so many.

    Raises:
        TrackingError: the store cannot be read, or `filter_string` is not understood.
    """
    from litemkd.tracking.runs import run_tags

    if not store.exists():
        return []
    client = store.connect()
    names = _experiments(client, experiment or (store.experiment_name(dataset) if dataset else None))
    wanted = run_tags({**({"stage": stage} if stage else {}), **(tags or {})})
    conditions = [f"tags.`{key}` = '{value}'" for key, value in wanted.items()]
    conditions += [f"attributes.status = '{status}'"] if status else []
    conditions += [filter_string] if filter_string else []
    records: list[RunRecord] = []
    token: str | None = None
    database = bulk.is_database()
    while names and (limit is None or len(records) < limit):
        size = _PAGE if limit is None else min(_PAGE, limit - len(records))
        try:
            with bulk.bare_runs() if database else contextlib.nullcontext():
                page = client.search_runs(
                    list(names),
                    " and ".join(conditions),
                    max_results=size,
                    order_by=["start_time DESC"],
                    page_token=token,
                )
            contents = bulk.contents([run.info.run_id for run in page]) if database else {}
        except Exception as error:
            raise TrackingError(
                f"the runs of {', '.join(names.values())} cannot be read: {one_line(error)}"
            ) from error
        records += [_record(run, names[run.info.experiment_id], contents.get(run.info.run_id)) for run in page]
        token = page.token
        if not token:
            break
    return records


def read_run(run_id: str) -> RunRecord:
    """A run by its id. TrackingError: the store has none."""
    try:
        client = store.connect()
        run = store.patiently(lambda: client.get_run(run_id))
        experiment = store.patiently(lambda: client.get_experiment(run.info.experiment_id))
    except Exception as error:
        raise TrackingError(f"the tracking store does not have the run {run_id}: {one_line(error)}") from error
    return _record(run, experiment.name)


def _experiments(client: MlflowClient, name: str | None) -> dict[str, str]:
    if name is None:
        found = client.search_experiments(filter_string="name LIKE 'litemkd/%'")
        return {one.experiment_id: one.name for one in found}
    one = client.get_experiment_by_name(name)
    return {} if one is None else {one.experiment_id: one.name}


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
