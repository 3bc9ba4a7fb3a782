"""The points that a run has in the store, so that none is recorded twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from mlflow import MlflowClient
from mlflow.entities import Metric

from litemkd.tracking import store


class Known:
    """The points that a run had before it was gone on with. What is told once more is not recorded once more.

    A command that goes on tells everything again in the same order, what it computes anew and what its
    checkpoints remember. So each point of the store stands for the next one of its name and step.
    """

    def __init__(self, client: MlflowClient, run_id: str) -> None:
        self._client, self._run_id = client, run_id
        self._points: dict[str, list[Metric]] = {}
        self._left: dict[str, Counter[int]] = {}

    def without(self, metrics: Mapping[str, float], step: int) -> dict[str, float]:
        """Those of the metrics that the store does not have at this step."""
        new = {}
        for name, value in metrics.items():
            left = self._left.get(name)
            if left is None:
                left = self._left[name] = Counter(point.step for point in self._history(name))
            if left[step]:
                left[step] -= 1
            else:
                new[name] = value
        return new

    def time(self, name: str, value: float, step: int) -> int | None:
        """The time (ms) of a point, None if there is none with this value."""
        same = (point for point in self._history(name) if point.step == step and point.value == value)
        return next((point.timestamp for point in same), None)

    def _history(self, name: str) -> list[Metric]:
        if name not in self._points:
            ask = self._client.get_metric_history
            self._points[name] = list(store.patiently(lambda: ask(self._run_id, store.allowed_name(name))))
        return self._points[name]
