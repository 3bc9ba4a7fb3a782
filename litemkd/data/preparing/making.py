"""Making the frames of one clip, and of many clips in several processes."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import cv2

from litemkd.data.frames import write_frames
from litemkd.errors import DataError
from litemkd.modalities.record import Estimated, Way
from litemkd.runtime.progress import Bar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Job:
    """One clip to make; small, because it travels to another process.

    Attributes:
        name: "class/video".
        way: that it is made in; a function of a module makes it.
        source: the video, or the file or folder that this way reads.
        video: of the same clip, if there is one and the source is another: gives the times.
        target: folder to write.
        T: frames to take.
        short_side: of the frames, in pixels.
    """

    name: str
    way: Way
    source: Path
    video: Path | None
    target: Path
    T: int
    short_side: int


def _make(job: Job) -> str | None:
    """Make one clip; what is wrong with it, or None."""
    try:
        if isinstance(job.way, Estimated):
            raise TypeError(f"{job.way.name} is a network, which `estimate_clips` works with")
        frames = job.way.make(job.source, job.video, job.T, job.short_side)
        write_frames(job.target, frames)
    except DataError as error:
        return str(error)
    return None


def make_clips(jobs: list[Job], workers: int, label: str) -> list[tuple[str, str]]:
    """Make clips, in up to so many processes; (name, reason) of those that cannot be made.

    Raises:
        DataError: a process was killed.
    """
    failed = []
    with Bar(total=len(jobs), desc=label, unit="clip") as bar:
        for job, reason in each_of(_make, jobs, min(workers, len(jobs)), "prepare clips"):
            bar.update()
            if reason is not None:
                failed.append((job.name, reason))
    return failed


def each_of(
    work: Callable[[_Item], _Result], items: Sequence[_Item], workers: int, words: str
) -> Iterator[tuple[_Item, _Result]]:
    """Items with what `work` makes of them, as they are ready; by so many processes, 1 being this one.

    The processes end with this one, however it ends; `words` say what they do in the error.

    Raises:
        DataError: a process was killed.
    """
    if workers <= 1:
        yield from ((item, work(item)) for item in items)
        return
    # Spawned, not forked: torch and OpenCV have threads that a fork would break.
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_start_worker)
    try:
        futures = {pool.submit(work, item): item for item in items}
        for future in as_completed(futures):
            yield futures[future], future.result()
    except BrokenProcessPool as error:
        raise DataError(
            f"one of {workers} processes that {words} was killed (out of memory?); what is made is kept: "
            "run it again with fewer workers"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    """In a worker: one thread for OpenCV, and an end when the parent ends.

    A worker whose parent was killed would otherwise wait for its next clip for ever.
    """
    cv2.setNumThreads(1)
    parent = multiprocessing.parent_process()
    if parent is not None:
        sentinel = parent.sentinel

        def leave_with_parent() -> None:
            multiprocessing.connection.wait([sentinel])
            os._exit(1)

        threading.Thread(target=leave_with_parent, daemon=True).start()
