"""Metrics as training scripts log them: one request a metric, waited for."""

from __future__ import annotations

from collections.abc import Mapping

import mlflow


def log_step(metrics: Mapping[str, float], step: int) -> None:
    """Log the metrics of a step to the active run."""
    for name, value in metrics.items():
        mlflow.log_metric(name, value, step=step)
