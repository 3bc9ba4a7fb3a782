"""Checkpoints as MLflow models: a folder of plain weights, linked to the run, the step and the metrics.

The model is written by hand in four small requests. MLflow's own `log_model` would first read the whole history
of every metric of the run, again at each checkpoint.
"""

from __future__ import annotations

import os
import tempfile
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType

from mlflow import MlflowClient
from mlflow.entities import LoggedModel, LoggedModelOutput, Metric
from mlflow.entities.model_registry import ModelVersion
from mlflow.models import Model

from litemkd.errors import TrackingError
from litemkd.tracking.environment import requirements
from litemkd.tracking.reasons import one_line
from litemkd.tracking.store import patiently

LOADER = "litemkd.pyfunc"  # named, not imported: it is above this package
STEP = "litemkd.step"  # tag of a model: episodes seen
NO_FOLDER = "{}: no such folder; a model is a folder of weights.safetensors and model.json"
_NEEDED = ("mlflow", "torch", "torchvision", "numpy", "safetensors", "pydantic", "pyyaml")


def write_model(
    client: MlflowClient,
    directory: Path,
    *,
    run_id: str,
    experiment_id: str,
    name: str,
    step: int,
    metrics: Mapping[str, float],
    tags: Mapping[str, str],
    params: Mapping[str, str],
    times: Mapping[str, int],
    dataset: str | None = None,
    dataset_digest: str | None = None,
    loader_module: str = LOADER,
    again: bool = False,
) -> str:
    """Log `directory` as a model of a run: the arguments of `Run.log_model`, with what the run knows.

    `times` gives the time (ms) at which the run itself logged a metric with this value and step, if it did: the
    model's metric then is the same point of the run's curve, not a second one. A model that is READY is whole.
    With `again` the run may have begun to log this model before, which then is completed.

    Raises:
        TrackingError: the folder is missing, or the store refused.
    """
    if not directory.is_dir():
        raise TrackingError(NO_FOLDER.format(directory))
    begun = _begun(client, experiment_id, run_id, name, tags) if again else None
    created = begun or patiently(
        lambda: client.create_logged_model(
            experiment_id,
            name=name,
            source_run_id=run_id,
            tags=dict(tags),
            params=dict(params),
            model_type="litemkd",
        )
    )
    model_id = created.model_id
    try:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "model"
            _pyfunc().save_model(
                os.fspath(folder),
                loader_module=loader_module,
                data_path=os.fspath(directory),
                pip_requirements=requirements(*_NEEDED),
                mlflow_model=Model(
                    artifact_path=created.artifact_location,
                    model_uuid=model_id,
                    model_id=model_id,
                    run_id=run_id,
                ),
            )
            client.log_model_artifacts(model_id, os.fspath(folder))
        if not again or model_id not in _outputs(client, run_id):
            patiently(lambda: client.log_outputs(run_id, [LoggedModelOutput(model_id, step=step)]))
        points = _points(metrics, step, model_id, run_id, dataset, dataset_digest, times)
        if points:
            patiently(lambda: client.log_batch(run_id, metrics=points))
        patiently(lambda: client.finalize_logged_model(model_id, "READY"))
    except Exception as error:
        raise TrackingError(
            f"the model {name} (step {step}) could not be logged from {directory}: {one_line(error)}"
        ) from error
    return model_id


def _begun(
    client: MlflowClient, experiment_id: str, run_id: str, name: str, tags: Mapping[str, str]
) -> LoggedModel | None:
    """The model of this name and step that the run has, whole or not."""
    condition = f"source_run_id = '{run_id}' and name = '{name}'"
    found = patiently(lambda: client.search_logged_models([experiment_id], condition))
    return next((one for one in found if one.tags.get(STEP) == tags.get(STEP)), None)


def _outputs(client: MlflowClient, run_id: str) -> list[str]:
    found = patiently(lambda: client.get_run(run_id)).outputs
    return [] if found is None else [one.model_id for one in found.model_outputs]


def model_of(version: ModelVersion) -> str | None:
    """The id of the logged model that a registered version was made of, None where it was made otherwise."""
    source = version.source or ""
    return version.model_id or (source.removeprefix("models:/") if source.startswith("models:/m-") else None)


def _pyfunc() -> ModuleType:
    with warnings.catch_warnings():  # it warns about type hints of its own while it is imported
        warnings.simplefilter("ignore")
        import mlflow.pyfunc
    return mlflow.pyfunc


def _points(
    metrics: Mapping[str, float],
    step: int,
    model_id: str,
    run_id: str,
    dataset: str | None,
    digest: str | None,
    times: Mapping[str, int],
) -> Sequence[Metric]:
    now = int(time.time() * 1000)
    return [
        Metric(
            key=key,
            value=float(value),
            timestamp=times.get(key, now),
            step=step,
            model_id=model_id,
            run_id=run_id,
            dataset_name=dataset if digest else None,
            dataset_digest=digest[:36] if digest else None,
        )
        for key, value in metrics.items()
    ]
