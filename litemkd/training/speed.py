"""How fast a training went, and what it waited for."""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

log = logging.getLogger(__name__)

WAITS, BUSY = 25.0, 80.0  # per cent: of the time for data, and of a GPU, from which they are what bounds


@dataclass
class Speed:
    """The steps of a training in this process; validations and savings are not counted.

    Attributes:
        device: that computes.
        episodes: in the steps.
        seconds: of the steps.
        waited: of these, for data.
        busy: how busy a GPU was, per cent, each time that one looked.
    """

    device: torch.device
    episodes: int = 0
    seconds: float = 0.0
    waited: float = 0.0
    busy: list[float] = field(default_factory=list)

    @contextmanager
    def steps(self) -> Iterator[None]:
        """Around a step."""
        begun = time.perf_counter()
        yield
        self.seconds += time.perf_counter() - begun

    def look(self) -> None:
        """See how busy the GPU is, where there is one that can be asked."""
        if self.device.type == "cuda":
            try:
                self.busy.append(float(torch.cuda.utilization(self.device)))
            except (
                Exception
            ) as error:  # no nvidia-ml-py, or a driver that does not say: each by an error of its own
                log.debug("the GPU cannot be asked how busy it is: %s", error)

    @property
    def metrics(self) -> dict[str, float]:
        """Metrics `speed/…`; nothing where no step was made. Without a GPU none is busy."""
        if not self.episodes or not self.seconds:
            return {}
        found = {
            "speed/train_episodes_per_second": self.episodes / self.seconds,
            "speed/waiting_for_data_percent": 100 * self.waited / self.seconds,
        }
        if self.busy or self.device.type == "cpu":
            found["speed/gpu_busy_percent"] = statistics.fmean(self.busy or [0.0])
        return found

    @property
    def words(self) -> str:
        """The same in words, with what bounded it."""
        told = self.metrics
        if not told:
            return "no step was made"
        waits, busy = told["speed/waiting_for_data_percent"], told.get("speed/gpu_busy_percent")
        if waits >= WAITS:
            bound = "data: reading and cropping clips"
        elif self.device.type == "cpu":
            bound = "device: the processor"
        elif busy is None:
            bound = "device or host: pip install 'litemkd[gpu]' tells how busy the GPU is"
        else:
            bound = "device: the GPU" if busy >= BUSY else "host: what it does between two kernels"
        gpu = f"GPU busy {busy:.0f} %, " if self.busy and busy is not None else ""
        rate = told["speed/train_episodes_per_second"]
        return f"{rate:.3g} training episodes a second, {gpu}waiting for data {waits:.0f} %; bounded by {bound}"
