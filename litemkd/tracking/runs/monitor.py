"""System metrics of a run (CPU, memory, disk, network, GPU): often at first, rarely in a long run.

A run of seconds gets a few samples and a run of days some thousands, so neither the chart nor the store
suffers. They go the way of all metrics of the run: in batches, and kept while the store is away.
"""

from __future__ import annotations

import logging
import os
import time
from typing import Any

from litemkd.tracking.mlflow_private import SystemMetricsMonitor
from litemkd.tracking.runs.run import Run

_log = logging.getLogger("litemkd.tracking")
FIRST = 1.0  # seconds to the first sample
GROWTH = 2  # of the interval, from one sample to the next
LONGEST = 30.0  # seconds between samples


class Monitor(SystemMetricsMonitor):
    """MLflow's collectors, with an interval that grows unless the user fixed it, and a sample at the end.

    Args:
        run: takes the metrics; the step is the time in seconds since it began.
        began: when that was, seconds since 1970.
    """

    def __init__(self, run: Run, began: float) -> None:
        self._run, self._began = run, began
        self._grows = "MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL" not in os.environ
        super().__init__(run.run_id, sampling_interval=FIRST)

    def monitor(self) -> None:
        """The thread's work."""
        while not self._shutdown_event.wait(self.sampling_interval):
            self._sample()
            if self._grows:
                self.sampling_interval = min(self.sampling_interval * GROWTH, LONGEST)

    def publish_metrics(self, metrics: dict[str, Any]) -> None:
        """Pass a sample on to the run."""
        prefix = self._metrics_prefix + (f"{self.node_id}/" if self.node_id else "")
        named = {f"{prefix}{name}": value for name, value in metrics.items()}
        self._run.log_metrics(named, int(time.time() - self._began))
        for each in self.monitors:
            each.clear_metrics()

    def finish(self) -> None:
        """Stop the thread and take one last sample."""
        self._shutdown_event.set()
        if self._process is not None:
            self._process.join()
            self._process = None
            self._sample()

    def _sample(self) -> None:
        try:
            self.collect_metrics()
            self.publish_metrics(self.aggregate_metrics())
        except Exception as error:  # never the reason for a run to fail
            _log.debug("no system metrics this time: %s", error)


def start_monitor(run: Run, began: float) -> Monitor | None:
    """A started monitor of a run, None where the system cannot be watched or the user switched it off."""
    if os.environ.get("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "true").lower() in {"false", "0"}:
        return None
    try:
        monitor = Monitor(run, began)
        monitor.start()
    except Exception as error:
        _log.warning("no system metrics: %s", error)
        return None
    return monitor
