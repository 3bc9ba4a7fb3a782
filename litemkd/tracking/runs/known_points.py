"""The points that a run has in the store, so that none is recorded twice."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable, Mapping

from mlflow import MlflowClient
from mlflow.entities import Metric

from litemkd.tracking import store
from litemkd.tracking.tags import allowed_name


class KnownPoints:
    """The points that a run had before it was gone on with. What is told once more is not recorded once more.

    A command that goes on tells everything again in the same order, what it computes anew and what its
    checkpoints remember. So each point of the store stands for the next one of its name and step.

    Args:
        client: of the store, which is asked now and never again: it may be away while the run goes on.
        run_id: whose points.
        names: of the run's metrics.
    """

    def __init__(self, client: MlflowClient, run_id: str, names: Iterable[str]) -> None:
        self._points: dict[str, list[Metric]] = {
            name: list(store.wait_for(functools.partial(client.get_metric_history, run_id, name)))
            for name in names
        }
        self._left = {name: Counter(point.step for point in points) for name, points in self._points.items()}

    def without(self, metrics: Mapping[str, float], step: int) -> dict[str, float]:
        """Those of the metrics that the store does not have at this step."""
        new = {}
        for name, value in metrics.items():
            left = self._left.get(name)
            if left is not None and left[step]:
                left[step] -= 1
            else:
                new[name] = value
        return new

    def time(self, name: str, value: float, step: int) -> int | None:
        """The time (ms) of a point, None if there is none with this value."""
        points = self._points.get(allowed_name(name), [])
        same = (point for point in points if point.step == step and point.value == value)
        return next((point.timestamp for point in same), None)
