"""Long extractions of features, watched: what one will take is told once its first clips are through."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator
from types import TracebackType

import psutil
import torch

from litemkd.runtime.progress import Bar

log = logging.getLogger(__name__)


class Watch:
    """Watches the extraction of features, part by part.

    Args:
        label: of what is told, and of the progress bar; None tells nothing.
        clips: how many there are.
        each: bytes of a clip's features.
        device: where they are made.
    """

    def __init__(self, label: str | None, clips: int, each: int, device: torch.device) -> None:
        self.label, self.clips, self.each, self.device = label, clips, each, device
        self._bar: Bar | None = None

    def __enter__(self) -> Watch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    @contextlib.contextmanager
    def part(self, before: int, count: int) -> Iterator[None]:
        """Around the making of `count` clips' features, where those of `before` clips are there."""
        begun = time.perf_counter()
        yield
        if self.label is None:
            return
        if self._bar is None:
            log.info("%s", self._told(before, count, time.perf_counter() - begun))
            self._bar = Bar(total=self.clips, initial=before, desc=self.label, unit="clip")
        self._bar.update(count)

    def _told(self, before: int, count: int, seconds: float) -> str:
        left = self.clips - before - count
        there = f", {before} of them there already" if before else ""
        size = f"{self.clips * self.each / 1e6:.1f} MB on disk"
        return (
            f"{self.label}: features of {self.clips} clips{there}, {size}; "
            f"{count} clips took {seconds:.1f} s and {self._memory()}, "
            f"the other {left} take about {_in_words(seconds / count * left)}"
        )

    def _memory(self) -> str:
        if self.device.type == "cuda":
            return f"{torch.cuda.max_memory_allocated(self.device) / 1e9:.1f} GB of the GPU's memory"
        return f"{psutil.Process().memory_info().rss / 1e9:.1f} GB of memory"


def _in_words(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
