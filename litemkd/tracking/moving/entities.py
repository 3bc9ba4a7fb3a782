"""Runs, logged models and registered models as plain values, read in one way from any store.

An export writes what these functions give. An import calls them again on what it has made, and compares.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import LoggedModel, Metric
from mlflow.entities import Run as StoredRun
from mlflow.entities.model_registry import ModelVersion

from litemkd.tracking import store
from litemkd.tracking.mlflow_private import get_artifact_repository
from litemkd.tracking.registry.models import model_of

ORIGIN_RUN = "litemkd.origin_run"  # the id that a run had in the store where it was made
ORIGIN_MODEL = "litemkd.origin_model"
ORIGIN_VERSION = "litemkd.origin_version"
IMPORTING = "litemkd.importing"  # a run whose import has not ended
MOVED = frozenset({ORIGIN_RUN, ORIGIN_MODEL, ORIGIN_VERSION, IMPORTING})  # tags about moving, not about the run
BY_SERVER = "mlflow.modelVersions"  # a tag of logged models that a server keeps of the registry by itself


def run_values(client: MlflowClient, run_id: str, experiment: str) -> dict[str, Any]:
    """A run with the history of every metric: points (step, time in ms since 1970, value)."""
    run: StoredRun = store.retry(lambda: client.get_run(run_id))  # a search leaves out the models it used
    info, data = run.info, run.data
    inputs = run.inputs.dataset_inputs if run.inputs else []
    used = run.inputs.model_inputs if run.inputs else []
    made = run.outputs.model_outputs if run.outputs else []
    return {
        "run_id": info.run_id,
        "name": info.run_name,
        "experiment": experiment,
        "status": info.status,
        "start_time": info.start_time,
        "end_time": info.end_time,
        "tags": dict(sorted(data.tags.items())),
        "params": dict(sorted(data.params.items())),
        "metrics": {key: _history(client, info.run_id, key) for key in sorted(data.metrics)},
        "datasets": sorted(
            (
                {
                    "name": one.dataset.name,
                    "digest": one.dataset.digest,
                    "source_type": one.dataset.source_type,
                    "source": one.dataset.source,
                    "schema": one.dataset.schema,
                    "profile": one.dataset.profile,
                    "tags": {tag.key: tag.value for tag in one.tags},
                }
                for one in inputs
            ),
            key=lambda one: (one["name"], one["digest"]),
        ),
        "models_used": sorted(one.model_id for one in used or []),
        "models_made": sorted([one.model_id, one.step] for one in made or []),
    }


def _history(client: MlflowClient, run_id: str, key: str) -> list[list[Any]]:
    found: list[Metric] = store.retry(lambda: client.get_metric_history(run_id, key))
    points = [[point.step, point.timestamp, number(point.value)] for point in found]
    return sorted(points, key=lambda point: (point[0], point[1], str(point[2])))


def number(value: float) -> float | str:
    """A value as JSON knows it; `float` takes it back."""
    return value if math.isfinite(value) else str(value)


def model_values(model: LoggedModel, experiment: str) -> dict[str, Any]:
    """A logged model with its metrics."""
    return {
        "model_id": model.model_id,
        "name": model.name,
        "experiment": experiment,
        "type": model.model_type,
        "status": str(model.status),
        "run_id": model.source_run_id,
        "tags": {key: value for key, value in sorted(model.tags.items()) if key != BY_SERVER},
        "params": dict(sorted(model.params.items())),
        "metrics": sorted(
            (
                {
                    "key": one.key,
                    "value": number(one.value),
                    "step": one.step,
                    "timestamp": one.timestamp,
                    "run_id": one.run_id,
                    "dataset_name": one.dataset_name,
                    "dataset_digest": one.dataset_digest,
                }
                for one in model.metrics or []
            ),
            key=lambda one: (one["key"], one["step"], one["timestamp"], str(one["value"])),
        ),
    }


def version_values(version: ModelVersion) -> dict[str, Any]:
    """A version of a registered model."""
    return {
        "version": int(version.version),
        "source": version.source or "",
        "run_id": version.run_id or None,
        "model_id": model_of(version),
        "description": version.description or "",
        "tags": dict(sorted(version.tags.items())),
    }


def digest(histories: Mapping[str, Any]) -> str:
    """A digest of metric histories by run."""
    return hashlib.sha256(json.dumps(histories, sort_keys=True).encode()).hexdigest()


class Files:
    """The artifacts of a run or a logged model, wherever its store keeps them.

    Args:
        uri: `artifact_uri` of a run, `artifact_location` of a model.
    """

    def __init__(self, uri: str) -> None:
        self._repository = get_artifact_repository(uri, tracking_uri=store.store_uri())

    def sizes(self, folder: str | None = None) -> dict[str, int]:
        """Bytes of every file by its path."""
        found: dict[str, int] = {}
        for entry in self._repository.list_artifacts(folder):
            found |= self.sizes(entry.path) if entry.is_dir else {entry.path: entry.file_size or 0}
        return found

    def fetch(self, target: Path) -> int:
        """Copy all files into a folder, which is made if there are any; returns how many."""
        count = len(self.sizes())
        if count:
            target.mkdir(parents=True, exist_ok=True)
            self._repository.download_artifacts("", str(target))
        return count

    def put(self, folder: Path) -> None:
        """Copy all files of a folder there, over those of the same names."""
        self._repository.log_artifacts(str(folder))

    def put_file(self, file: Path) -> None:
        """Copy one file to the top folder."""
        self._repository.log_artifact(str(file))
