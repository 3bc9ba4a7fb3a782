"""Metrics on their way to the store: kept in memory, sent in batches by a thread of their own.

A training step is never held up by the store, and a store that is away for a while costs nothing: what could
not be sent stays in the buffer and goes with a later batch.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from mlflow.entities import Metric

_log = logging.getLogger("litemkd.tracking")
BATCH = 1000  # metrics in one request, the store's limit
FULL = 500  # buffered metrics that are sent at once
INTERVAL = 5.0  # seconds between batches
MAX_WAIT = 60.0  # seconds until the next try when the store is away


def allowed_name(key: str) -> str:
    """The name of a metric or parameter in the characters and the length that the store allows."""
    return re.sub(r"[^\w.\- /:]", "_", key)[:250]


class MetricBuffer:
    """Sends metrics through `send`, in order, from one thread.

    Args:
        send: sends up to `BATCH` metrics, and raises when it could not.
        interval: seconds between batches.
    """

    def __init__(self, send: Callable[[Sequence[Metric]], None], interval: float = INTERVAL) -> None:
        self._send = send
        self._interval = interval
        self._waiting: list[Metric] = []
        self._last: dict[str, Metric] = {}
        self._lock = threading.Lock()  # of the list
        self._sending = threading.Lock()  # one sender at a time, so that order is kept
        self._wake = threading.Event()
        self._stopped = False
        self._failures = 0
        self._thread: threading.Thread | None = None

    def add(self, metrics: Mapping[str, float], step: int) -> None:
        """Take metrics of a step; returns at once. Values that are not finite are kept as such."""
        now = int(time.time() * 1000)
        items = [Metric(allowed_name(key), float(value), now, int(step)) for key, value in metrics.items()]
        with self._lock:
            self._waiting.extend(items)
            self._last.update((item.key, item) for item in items)
            full = len(self._waiting) >= FULL
            if self._thread is None and not self._stopped:
                self._thread = threading.Thread(target=self._run, name="litemkd-metrics", daemon=True)
                self._thread.start()
        if self._stopped:
            self.flush()
        elif full and not self._failures:
            self._wake.set()

    def last(self, key: str) -> Metric | None:
        """The newest metric of this name that was taken."""
        return self._last.get(key)

    def flush(self) -> bool:
        """Send all that waits. False when the store refused; what was not sent is kept."""
        with self._sending:
            while True:
                with self._lock:
                    batch = self._waiting[:BATCH]
                if not batch:
                    return True
                try:
                    self._send(batch)
                except Exception as error:
                    self._failures += 1
                    if self._failures == 1:
                        _log.warning(
                            "metrics are kept in memory until the tracking store answers again: %s", error
                        )
                    return False
                if self._failures:
                    _log.warning("the tracking store answers again")
                self._failures = 0
                with self._lock:
                    del self._waiting[: len(batch)]

    def close(self) -> list[Metric]:
        """Stop the thread, send what waits, and return what could not be sent."""
        self._stopped = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self.flush()
        with self._lock:
            return list(self._waiting)

    def _run(self) -> None:
        while not self._stopped:
            self._wake.wait(
                min(self._interval * 2 ** min(self._failures, 10), MAX_WAIT)
                if self._failures
                else self._interval
            )
            self._wake.clear()
            if not self._stopped:
                self.flush()
