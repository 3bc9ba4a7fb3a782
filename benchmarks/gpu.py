"""What only a GPU shows: how busy it is, and the share of what a large matrix product reaches."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Sequence

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.work import Part

SIDE = 8192  # of the square matrices whose product is the peak
POLL = 0.1  # seconds between two looks at the GPU


class GpuTimer:
    """Times parts on the GPU. Their FLOPs are counted in a run of their own, which is not timed."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self.peak = matmul_peak()
        self.parts = len(parts)
        self.flops = 0.0
        for part in parts:
            with FlopCounterMode(display=False) as counter:
                part.run(0)
            self.flops += part.times * counter.get_total_flops()
        self.busy: list[float] = []
        self.taken: list[float] = []

    def seconds(self, part: Part, number: int) -> float:
        """How long a part takes, until the GPU has finished."""
        stop = threading.Event()
        poll = threading.Thread(target=self._poll, args=(stop,), daemon=True)
        torch.cuda.synchronize()
        poll.start()
        begun = time.perf_counter()
        part.run(number)
        torch.cuda.synchronize()
        taken = time.perf_counter() - begun
        stop.set()
        poll.join()
        self.taken.append(part.times * taken)
        return taken

    def summary(self) -> dict[str, float | None]:
        """Mean use of the GPU in per cent, and the mean FLOPs a second as a share of the peak."""
        done = sum(self.taken)
        repetitions = len(self.taken) / self.parts
        return {
            "gpu_percent": statistics.mean(self.busy) if self.busy else None,
            "peak_share": self.flops * repetitions / done / self.peak if self.flops else None,
        }

    def _poll(self, stop: threading.Event) -> None:
        while not stop.wait(POLL):
            try:
                self.busy.append(float(torch.cuda.utilization()))
            except (ModuleNotFoundError, RuntimeError):  # no nvidia-ml-py: the column stays empty
                return


def matmul_peak(side: int = SIDE, repetitions: int = 10) -> float:
    """FLOPs a second of a product of two square matrices in single precision, as models here are run."""
    one, other = (torch.randn(side, side, device="cuda") for _ in range(2))
    taken = []
    for _ in range(repetitions):
        torch.cuda.synchronize()
        begun = time.perf_counter()
        one @ other
        torch.cuda.synchronize()
        taken.append(time.perf_counter() - begun)
    return 2 * side**3 / min(taken)
