"""A real SQLite store for each test: a copy of one that is made once, in an empty working directory."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from litemkd.tracking import store
from tests.tracking.helpers import VARIABLES


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    store.create_sqlite_store(path)
    return path


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working directory, with nothing of MLflow's in the environment."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("mlflow.tracking._tracking_service.utils._tracking_uri", None)
    # What the machine does is watched in one test, not in all.
    monkeypatch.setenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "false")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("litemkd.tracking.registry.models.LOADER", "tests.tracking.helpers")
    yield tmp_path
    os.environ.pop("MLFLOW_TRACKING_URI", None)


@pytest.fixture
def client(workdir: Path, empty_store: Path) -> MlflowClient:
    """A client of the store `mlflow.db` in the working directory."""
    shutil.copy2(empty_store, workdir / "mlflow.db")
    return store.connect()


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    (folder / "weights.safetensors").write_bytes(bytes(range(256)))
    (folder / "model.json").write_text('{"width": 3}')
    return folder
