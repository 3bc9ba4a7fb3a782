"""Checkpoints as MLflow models: a folder of plain weights, linked to the run, the step and the metrics.

The model is written by hand in four small requests. MLflow's own `log_model` would first read the whole history
of every metric of the run, again at each checkpoint.
"""

from __future__ import annotations

import os
import tempfile
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from mlflow import MlflowClient
from mlflow.entities import LoggedModel, LoggedModelOutput, Metric
from mlflow.entities.model_registry import ModelVersion
from mlflow.models import Model

from litemkd.errors import TrackingError
from litemkd.tracking.environment import requirements
from litemkd.tracking.store import one_line, retry

LOADER = "litemkd.pyfunc"  # named, not imported: it is above this package
STEP = "litemkd.step"  # tag of a model: episodes seen
NO_FOLDER = "{}: no such folder; a model is a folder of weights.safetensors and model.json"
_NEEDED = ("mlflow", "torch", "torchvision", "numpy", "safetensors", "pydantic", "pyyaml")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint of a run that is to be a model of it.

    Attributes:
        run_id: of the run that made it.
        experiment_id: of that run.
        name: of the model; checkpoints of one run share it and differ in `step`.
        step: episodes seen.
        metrics: that it reached.
        times: when the run itself logged a metric with this value and step (ms), where it did: the model's
            metric then is the same point of the run's curve, not a second one.
        tags: of the model, as stored.
        params: of the run.
        dataset: name and digest of what the metrics were measured on, see `Run.log_dataset`; None where the run
            has logged none.
    """

    run_id: str
    experiment_id: str
    name: str
    step: int
    metrics: Mapping[str, float]
    times: Mapping[str, int]
    tags: Mapping[str, str]
    params: Mapping[str, str]
    dataset: tuple[str, str] | None = None


def write_model(client: MlflowClient, directory: Path, model: Checkpoint, *, again: bool = False) -> str:
    """Log `directory` as a model of a run; one that is READY is whole.

    With `again` the run may have begun to log this model before, which then is completed.

    Returns:
        The model's id.

    Raises:
        TrackingError: the folder is missing, or the store refused.
    """
    if not directory.is_dir():
        raise TrackingError(NO_FOLDER.format(directory))
    run_id, step = model.run_id, model.step
    begun = _begun(client, model) if again else None
    created = begun or retry(
        lambda: client.create_logged_model(
            model.experiment_id,
            name=model.name,
            source_run_id=run_id,
            tags={**model.tags, STEP: str(step)},
            params=dict(model.params),
            model_type="litemkd",
        )
    )
    model_id = created.model_id
    try:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "model"
            _pyfunc().save_model(
                os.fspath(folder),
                loader_module=LOADER,
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
            retry(lambda: client.log_outputs(run_id, [LoggedModelOutput(model_id, step=step)]))
        if points := _points(model, model_id):
            retry(lambda: client.log_batch(run_id, metrics=points))
        retry(lambda: client.finalize_logged_model(model_id, "READY"))
    except Exception as error:
        raise TrackingError(
            f"the model {model.name} (step {step}) could not be logged from {directory}: {one_line(error)}"
        ) from error
    return model_id


def _begun(client: MlflowClient, model: Checkpoint) -> LoggedModel | None:
    """The model of this name and step that the run has, whole or not."""
    condition = f"source_run_id = '{model.run_id}' and name = '{model.name}'"
    found = retry(lambda: client.search_logged_models([model.experiment_id], condition))
    return next((one for one in found if one.tags.get(STEP) == str(model.step)), None)


def _outputs(client: MlflowClient, run_id: str) -> list[str]:
    found = retry(lambda: client.get_run(run_id)).outputs
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


def _points(model: Checkpoint, model_id: str) -> list[Metric]:
    now = int(time.time() * 1000)
    name, digest = model.dataset or (None, None)
    return [
        Metric(
            key=key,
            value=float(value),
            timestamp=model.times.get(key, now),
            step=model.step,
            model_id=model_id,
            run_id=model.run_id,
            dataset_name=name,
            dataset_digest=digest,
        )
        for key, value in model.metrics.items()
    ]
