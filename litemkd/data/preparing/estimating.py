"""Making the frames of many clips with a network: videos are decoded ahead in threads, the network works in
batches.

The network stays in this process, on one device, and a clip's frames go through it together, so what comes out
does not depend on which other clips were asked for. Decoding is FFmpeg's work and writing JPEGs is Pillow's,
both outside the interpreter's lock: threads do them beside the network.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import torch

from litemkd.data.frames import write_frames
from litemkd.data.preparing.making import Job
from litemkd.errors import DataError
from litemkd.modalities.record import Estimator
from litemkd.recordings.videos import ClipFrames, read_video, resized
from litemkd.runtime.progress import Bar

logger = logging.getLogger(__name__)
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def estimate_clips(jobs: list[Job], estimator: Estimator, workers: int, label: str) -> list[tuple[str, str]]:
    """Make clips with a network; (name, reason) of those that cannot be made.

    Args:
        jobs: the clips.
        estimator: the network.
        workers: threads that decode.
        label: of the progress bar, which is shown if standard error is a terminal.

    Raises:
        CheckpointError: the weights cannot be read; nothing is made then.
    """
    failed: list[tuple[str, str]] = []
    if not jobs:
        return failed
    estimator.load()
    batches = _Batches(estimator)

    def made() -> Iterator[tuple[Job, list[np.ndarray], tuple[int, int]]]:
        for job, reading in _ahead(readers, _read, ((job, estimator.side) for job in jobs), workers + 2):
            try:
                clip = reading.result()
                found = batches.run(*(clip.flow_pairs() if estimator.pairs else (clip.frames, clip.frames)))
            except DataError as error:
                failed.append((job[0].name, str(error)))
                bar.update()
            else:
                yield job[0], found, (clip.frames.shape[1], clip.frames.shape[2])

    with (
        Bar(total=len(jobs), desc=label, unit="clip") as bar,
        ThreadPoolExecutor(1) as writer,
        ThreadPoolExecutor(max(1, workers)) as readers,
    ):
        for (job, *_), writing in _ahead(writer, lambda item: _write(estimator, *item), made(), 2):
            try:
                writing.result()
            except DataError as error:
                failed.append((job.name, str(error)))
            bar.update()
    return failed


def _read(item: tuple[Job, int]) -> ClipFrames:
    job, side = item
    return read_video(job.source, job.T, max(job.short_side, side))


def _write(estimator: Estimator, job: Job, found: list[np.ndarray], before: tuple[int, int]) -> None:
    size = resized(*before, job.short_side)
    write_frames(job.target, estimator.encode(found, before, size, job.short_side))


def _ahead(
    pool: Executor, work: Callable[[_Item], _Result], items: Iterable[_Item], most: int
) -> Iterator[tuple[_Item, Future[_Result]]]:
    """Items in their order, each with its work, which up to so many others are ahead of."""
    waiting: deque[tuple[_Item, Future[_Result]]] = deque()
    for item in items:
        waiting.append((item, pool.submit(work, item)))
        if len(waiting) >= most:
            yield waiting.popleft()
    yield from waiting


class _Batches:
    """Frames through the network, all of a clip at once unless the device's memory is too small for that."""

    def __init__(self, estimator: Estimator) -> None:
        self.estimator = estimator
        self.size: int | None = None

    def run(self, frames: np.ndarray, following: np.ndarray) -> list[np.ndarray]:
        """What is found in T frames.

        Raises:
            DataError: the device's memory does not hold the work for one frame.
        """
        found: list[np.ndarray] = []
        while len(found) < len(frames):
            size = self.size or len(frames)
            part = slice(len(found), len(found) + size)
            try:
                found += self.estimator.estimate(frames[part], following[part])
            except torch.OutOfMemoryError:
                height, width = frames.shape[1:3]
                if size == 1:
                    raise DataError(
                        f"the device's memory is too small for one frame of {width}x{height}; a smaller "
                        "data.short_side, or --device cpu, would do"
                    ) from None
            else:
                continue
            # Outside the handler, where the error no longer holds what filled the memory.
            if self.size is None:
                logger.warning(
                    "the device's memory is too small for %d frames of %dx%d at once: going on with fewer",
                    size,
                    width,
                    height,
                )
            self.size = size // 2
            torch.cuda.empty_cache()
        return found
