"""System metrics of a run (CPU, memory, disk, network, GPU): often at first, rarely in a long run.

A run of seconds gets a few samples and a run of days some thousands, so neither the chart nor the store
suffers.
"""

from __future__ import annotations

import contextlib
import logging
import os
from typing import Any

from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

_log = logging.getLogger("litemkd.tracking")
FIRST = 1.0  # seconds to the first sample
GROWTH = 1.3  # of the interval, from one sample to the next
LONGEST = 30.0  # seconds between samples


class Monitor(SystemMetricsMonitor):
    """MLflow's monitor with an interval that grows, unless the user fixed it, and a sample at the end."""

    def __init__(self, run_id: str, *, resume: bool) -> None:
        self._grows = "MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL" not in os.environ
        super().__init__(run_id, sampling_interval=FIRST, resume_logging=resume)

    def publish_metrics(self, metrics: dict[str, Any]) -> None:
        """Send a sample and lengthen the interval."""
        super().publish_metrics(metrics)
        if self._grows:
            self.sampling_interval = min(self.sampling_interval * GROWTH, LONGEST)

    def finish(self) -> None:
        """Stop the thread and send one last sample."""
        if self._process is None or not self._process.is_alive():  # it has given up: the store is away
            self._process = None
            return
        self._shutdown_event.set()
        self._process.join()
        with contextlib.suppress(Exception):  # never the reason for a run to fail
            self.collect_metrics()
            self.publish_metrics(self.aggregate_metrics())
        super().finish()


def start_monitor(run_id: str, *, resume: bool) -> Monitor | None:
    """A started monitor of a run, None where the system cannot be watched or the user switched it off."""
    if os.environ.get("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "true").lower() in {"false", "0"}:
        return None
    try:
        monitor = Monitor(run_id, resume=resume)
        monitor.start()
    except Exception as error:
        _log.warning("no system metrics: %s", error)
        return None
    return monitor
