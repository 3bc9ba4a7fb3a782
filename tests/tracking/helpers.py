"""What the tests read back, and code that other processes import."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
from mlflow import MlflowClient
from mlflow.entities import Run

# What says where MLflow writes.
VARIABLES = ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME")


def only_run(client: MlflowClient, dataset: str = "toy") -> Run:
    (run,) = all_runs(client, dataset)
    return run


def all_runs(client: MlflowClient, dataset: str = "toy") -> list[Run]:
    experiment = client.get_experiment_by_name(f"litemkd/{dataset}")
    return [] if experiment is None else list(client.search_runs([experiment.experiment_id]))


def artifact(run: Run, file: str) -> Path:
    return Path(run.info.artifact_uri.removeprefix("file://")) / file


def _enter(folder: str) -> None:
    """Be where the test is, with its store: what forks processes keeps the variables that it began with."""
    os.chdir(folder)
    for name in VARIABLES:
        os.environ.pop(name, None)


def open_at_once(folder: str, number: int) -> None:
    """A process that starts together with others on a store that is not there."""
    from litemkd.tracking import stage_run

    _enter(folder)
    with stage_run("student", dataset="toy", name=f"run-{number}", params={"number": number}) as run:
        run.log_metrics({"train/loss": float(number)}, step=1)


def wait_to_be_ended(folder: str) -> None:
    from litemkd.tracking import stage_run

    _enter(folder)
    outer = stage_run("student", dataset="toy", name="outer")
    with outer, stage_run("student", dataset="toy", name="inner") as run:
        run.log_metrics({"train/loss": 1.0}, step=1)
        Path("ready").touch()
        time.sleep(60)


class _Doubler:
    def __init__(self, width: int) -> None:
        self.width = width

    def predict(self, inputs: Any, params: Any = None) -> np.ndarray:
        return np.asarray(inputs) * self.width


def _load_pyfunc(path: str) -> _Doubler:
    """The loader module of the test's own model."""
    import json

    return _Doubler(json.loads((Path(path) / "model.json").read_text())["width"])


def promote_at_once(uri: str, name: str, model_id: str, number: int) -> None:
    """A process that registers and promotes three versions, one of them by hand, together with others."""
    import random

    from litemkd import tracking

    tracking.use_store(uri)
    dice = random.Random(number)
    for turn in range(3):
        measured = {"val_accuracy": dice.randint(500, 700) / 10, "gmacs_per_episode": dice.randint(1, 9)}
        made = tracking.register(model_id, name, {"protocol": "5w", **measured})
        tracking.promote(name)
        if turn == 1:
            tracking.promote_by_hand(name, made, "lite", f"process {number} wants it")
