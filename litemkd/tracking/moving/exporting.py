"""From the store in use to an archive."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Experiment

from litemkd import __version__
from litemkd.errors import TrackingError
from litemkd.runtime.progress import Bar
from litemkd.tracking import store
from litemkd.tracking.moving.archive import FORMAT, INDEX, MODELS, RUNS, Archive, new_archive
from litemkd.tracking.moving.entities import (
    ORIGIN_RUN,
    Files,
    digest,
    model_values,
    run_values,
    version_values,
)
from litemkd.tracking.store import artifact_roots
from litemkd.tracking.store.failures import one_line


@dataclass(frozen=True)
class Exported:
    """What an export holds.

    Attributes:
        path: of the folder or file.
        runs, models, versions, points, files: how many runs, logged models, registered versions, points of
            metrics, and artifacts.
        digest: of all metric histories.
        messages: what the user should know, a line each.
    """

    path: Path
    runs: int
    models: int
    versions: int
    points: int
    files: int
    digest: str
    messages: tuple[str, ...]


def export_runs(target: Path, *, dataset: str | None = None, experiment: str | None = None) -> Exported:
    """Write runs of the store in use with all that hangs on them: histories, artifacts, models, versions.

    Deleted runs, traces and prompts are left out. The store is only read.

    Args:
        target: a new folder, or a new file that ends in `.zip`.
        dataset: only the experiment of this data set; with neither this nor `experiment`, all `litemkd/…`.
        experiment: only the experiment of this name.

    Raises:
        TrackingError: no such store, experiment or run; something at `target`; artifacts that are gone.
    """
    uri = store.without_password(store.store_uri())
    if not store.exists():
        raise TrackingError(f"{uri}: no such store; start where mlflow.db lies, or name a store with --from")
    client = store.connect()
    chosen = store.experiments(client, experiment or (store.experiment_name(dataset) if dataset else None))
    found = [
        (one, run)
        for one in chosen
        for run in store.pages(client.search_runs, experiment_ids=[one.experiment_id])
    ]
    if not found:
        which = experiment or store.experiment_name(dataset or "…")
        raise TrackingError(f"{uri} has no runs in {which}; `litemkd ui` shows what is there")
    found.sort(key=lambda pair: pair[1].info.start_time)
    histories: dict[str, Any] = {}
    files = points = 0
    with new_archive(target) as archive:
        with Bar(found, desc="exporting", unit="run") as bar:
            for one, run in bar:
                values = run_values(client, run.info.run_id, one.name)
                archive.write(f"{RUNS}/{run.info.run_id}.json", values)
                histories[values["tags"].get(ORIGIN_RUN, run.info.run_id)] = values["metrics"]
                points += sum(map(len, values["metrics"].values()))
                files += _fetch(run.info.artifact_uri, archive, run.info.run_id, f"run {run.info.run_name}")
        models = []
        for one in chosen:
            for model in _of(client.search_logged_models, one):
                models.append(model.model_id)
                archive.write(f"{MODELS}/{model.model_id}.json", model_values(model, one.name))
                files += _fetch(model.artifact_location, archive, model.model_id, f"model {model.name}")
        run_ids = {run.info.run_id for _, run in found}
        registered, left_out = _registered(client, run_ids, set(models))
        archive.write(
            INDEX,
            {
                "format": FORMAT,
                "made_by": f"litemkd {__version__}, mlflow {mlflow.__version__}",
                "store": uri,
                "time": int(time.time() * 1000),
                "experiments": [{"name": one.name, "tags": dict(sorted(one.tags.items()))} for one in chosen],
                "registered_models": registered,
                "histories": digest(histories),
            },
        )
    versions = sum(len(one["versions"]) for one in registered)
    messages = [f"left out, its run is not in this export: {name}" for name in left_out]
    open_runs = [run.info.run_name for _, run in found if run.info.status in ("RUNNING", "SCHEDULED")]
    messages += [f"still running, exported as it is now: {name}" for name in open_runs]
    return Exported(
        target, len(found), len(models), versions, points, files, digest(histories), tuple(messages)
    )


def _of(search: Callable[..., Any], experiment: Experiment) -> Iterator[Any]:
    return store.pages(search, experiment_ids=[experiment.experiment_id])


def _fetch(uri: str, archive: Archive, owner: str, what: str) -> int:
    artifact_roots.tell_missing(uri, what)
    try:
        return Files(uri).fetch(archive.artifacts(owner))
    except Exception as error:
        raise TrackingError(
            f"the artifacts of {what} ({owner}) cannot be read from {uri}: {one_line(error)}"
        ) from error


def _registered(
    client: MlflowClient, runs: set[str], models: set[str]
) -> tuple[list[dict[str, Any]], list[str]]:
    """Registered models with the versions of these runs or models, and the names of those left out."""
    found, left_out = [], []
    for one in store.pages(client.search_registered_models):
        every = sorted(_versions(client, one.name), key=lambda values: values["version"])
        kept = [values for values in every if values["run_id"] in runs or values["model_id"] in models]
        if not kept:
            continue
        left_out += [f"{one.name} version {values['version']}" for values in every if values not in kept]
        numbers = {values["version"] for values in kept}
        aliases = {alias: int(number) for alias, number in one.aliases.items() if int(number) in numbers}
        found.append(
            {
                "name": one.name,
                "description": one.description or "",
                "tags": dict(sorted(one.tags.items())),
                "aliases": aliases,
                "versions": kept,
            }
        )
    return found, left_out


def _versions(client: MlflowClient, name: str) -> Iterable[dict[str, Any]]:
    return map(version_values, store.pages(client.search_model_versions, filter_string=f"name = '{name}'"))
