"""A run as processes other than the first have it: it has the run's names and writes nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from litemkd.tracking.runs import Run


class SilentRun(Run):
    """Takes everything that a `Run` takes, and does nothing with it.

    Attributes:
        run_id, experiment_id, name: of the run that the first process writes.
    """

    def __init__(self, run_id: str, experiment_id: str, name: str, dataset: str) -> None:
        self._id, self.experiment_id, self.name, self.dataset = run_id, experiment_id, name, dataset
        self._tables: list[dict[str, str]] = []

    @property
    def run_id(self) -> str:
        """MLflow's id of the run that the first process writes."""
        return self._id

    def keep_alive(self, *, shared: bool = False) -> None:
        """Nothing."""

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Nothing."""

    def flush(self) -> None:
        """Nothing."""

    def log_params(self, params: Mapping[str, Any], *, existing: Mapping[str, str] | None = None) -> None:
        """Nothing."""

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Nothing."""

    def log_artifact(self, path: Path, artifact_dir: str = "") -> None:
        """Nothing."""

    def log_dataset(self, *args: Any, **kwargs: Any) -> None:
        """Nothing."""

    def use_model(self, registered_name: str, version: int | str) -> None:
        """Nothing."""

    def log_environment(self) -> None:
        """Nothing."""

    def log_model(self, *args: Any, **kwargs: Any) -> str:
        """Nothing; the first process registers the model."""
        return ""

    def register(self, *args: Any, **kwargs: Any) -> int | str:
        """Nothing; the first process registers the model."""
        return ""

    def close(self, status: str | None) -> None:
        """Nothing."""

    def _write(self, file: str, write: Callable[[Path], object]) -> None:
        """Nothing."""
