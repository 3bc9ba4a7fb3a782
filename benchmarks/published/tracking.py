"""Metrics as training scripts log them: one request a metric, waited for."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import mlflow


def log_step(metrics: Mapping[str, float], step: int) -> None:
    """Log the metrics of a step to the active run."""
    for name, value in metrics.items():
        mlflow.log_metric(name, value, step=step)


class Waiting:
    """A run whose metrics are logged one by one, and nothing else of it."""

    former = None

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """As `log_step`."""
        log_step(metrics, step)

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *values, **named: None
