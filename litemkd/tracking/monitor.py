"""System metrics of a run (CPU, memory, disk, network, GPU): often at first, rarely in a long run.

A run of seconds gets a few samples and a run of days some thousands, so neither the chart nor the store
suffers.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable
from typing import Any

from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

_log = logging.getLogger("litemkd.tracking")
FIRST = 1.0  # seconds to the first sample
GROWTH = 1.3  # of the interval, from one sample to the next
LONGEST = 30.0  # seconds between samples


class Monitor(SystemMetricsMonitor):
    """MLflow's monitor with an interval that grows, unless the user fixed it, and a sample at the end.

    Samples go where `log` puts them; the store is not asked on the way, so that it may be away.
    """

    def __init__(self, run_id: str, log: Callable[[dict[str, float], int], None], *, resume: bool) -> None:
        self._log = log
        self._grows = "MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL" not in os.environ
        super().__init__(run_id, sampling_interval=FIRST, resume_logging=resume)

    def monitor(self) -> None:
        """Take samples until the end. What the thread runs."""
        while not self._shutdown_event.is_set():
            for _ in range(self.samples_before_logging):
                self.collect_metrics()
                if self._shutdown_event.wait(self.sampling_interval):
                    return
            self.publish_metrics(self.aggregate_metrics())

    def publish_metrics(self, metrics: dict[str, Any]) -> None:
        """Log a sample and lengthen the interval."""
        prefix = self._metrics_prefix + (f"{self.node_id}/" if self.node_id else "")
        self._log({prefix + key: value for key, value in metrics.items()}, self._logging_step)
        self._logging_step += 1
        for one in self.monitors:
            one.clear_metrics()
        if self._grows:
            self.sampling_interval = min(self.sampling_interval * GROWTH, LONGEST)

    def finish(self) -> None:
        """Stop the thread and send one last sample."""
        if self._process is None:
            return
        self._shutdown_event.set()
        self._process.join()
        with contextlib.suppress(Exception):  # never the reason for a run to fail
            self.collect_metrics()
            self.publish_metrics(self.aggregate_metrics())
        self._process = None


def start_monitor(run_id: str, log: Callable[[dict[str, float], int], None], *, resume: bool) -> Monitor | None:
    """A started monitor of a run, None where the system cannot be watched or the user switched it off."""
    if os.environ.get("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "true").lower() in {"false", "0"}:
        return None
    try:
        monitor = Monitor(run_id, log, resume=resume)
        monitor.start()
    except Exception as error:
        _log.warning("no system metrics: %s", error)
        return None
    return monitor
