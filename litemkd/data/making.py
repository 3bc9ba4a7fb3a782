"""Making the frames of one clip, and of many clips in several processes."""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from litemkd.data.frames import write_frames
from litemkd.data.videos import count_frames, read_video, sample_times
from litemkd.errors import DataError
from litemkd.modalities.flow import dis_flow, encode_flow, flow_bound
from litemkd.modalities.skeleton import Bones, bones_for, render_joints

# Joints of another recording than the video's: more than so many times as many frames, or as few.
MAX_RATIO = 4.0


@dataclass(frozen=True)
class Job:
    """One clip to make; small, because it travels to another process.

    Attributes:
        name: "class/video".
        method: video, dis or joints.
        source: the video, or the joints (.npy).
        video: of the same clip, if there is one and the source is joints: gives the times.
        target: folder to write.
        T: frames to take.
        short_side: of the frames, in pixels.
        layout: of the joints, see `prepare_modality`.
    """

    name: str
    method: str
    source: Path
    video: Path | None
    target: Path
    T: int
    short_side: int
    layout: str | Bones | None


def joint_times(n_joints: int, n_video: int | None, T: int) -> np.ndarray:
    """Which frames of the joints go with the sampled frames of the video, (T,) int64.

    The joints may have been taken at another rate: their times are the video's in proportion. None: no video.

    Raises:
        DataError: fewer than T frames of joints, or far from the video's number: not of the same recording.
    """
    if n_joints < T:
        raise DataError(f"it has {n_joints} frames of joints; {T} are needed")
    if n_video is None or n_video == n_joints:
        return sample_times(n_joints, T)
    if not 1 / MAX_RATIO <= n_joints / max(n_video, 1) <= MAX_RATIO:
        raise DataError(f"it has {n_joints} frames of joints, but its video has {n_video}: not one recording")
    return np.rint(sample_times(n_video, T) * ((n_joints - 1) / max(n_video - 1, 1))).astype(np.int64)


def _make(job: Job) -> str | None:
    """Make one clip; what is wrong with it, or None."""
    try:
        if job.method == "joints":
            frames = _joint_frames(job)
        else:
            clip = read_video(job.source, job.T, job.short_side, threads=1)
            frames = clip.frames
            if job.method == "dis":
                frames = encode_flow(dis_flow(*clip.flow_pairs()), flow_bound(job.short_side))
        write_frames(job.target, frames)
    except DataError as error:
        return str(error)
    return None


def _joint_frames(job: Job) -> np.ndarray:
    try:
        joints = np.load(job.source, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"cannot read joints {job.source}: {error}") from error
    if joints.ndim != 3:
        raise DataError(f"{job.source} has shape {joints.shape}; (frames, joints, 3 or 4) is needed")
    times = joint_times(len(joints), count_frames(job.video, threads=1) if job.video else None, job.T)
    layout = job.layout
    bones = bones_for(layout, joints.shape[1]) if layout is None or isinstance(layout, str) else layout
    return render_joints(joints[times], bones, (job.short_side, job.short_side))


def make_clips(jobs: list[Job], workers: int, label: str, progress: bool) -> list[tuple[str, str]]:
    """Make clips, in up to so many processes; (name, reason) of those that cannot be made.

    Raises:
        DataError: a process was killed.
    """
    failed = []
    with tqdm(total=len(jobs), desc=label, unit="clip", disable=None if progress else True) as bar:
        for name, reason in _results(jobs, min(workers, len(jobs))):
            bar.update()
            if reason is not None:
                failed.append((name, reason))
    return failed


@contextlib.contextmanager
def worker_pool(workers: int, work: str) -> Iterator[ProcessPoolExecutor]:
    """Processes for `work` (named in the error) that end with this one, however it ends.

    Raises:
        DataError: a process was killed.
    """
    # Spawned, not forked: torch and OpenCV have threads that a fork would break.
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_start_worker)
    try:
        yield pool
    except BrokenProcessPool as error:
        raise DataError(
            f"one of {workers} processes that {work} was killed (out of memory?); what is made is kept: "
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


def _results(jobs: list[Job], workers: int) -> Iterator[tuple[str, str | None]]:
    if workers <= 1:
        for job in jobs:
            yield job.name, _make(job)
        return
    with worker_pool(workers, "prepare clips") as pool:
        futures = {pool.submit(_make, job): job.name for job in jobs}
        for future in as_completed(futures):
            yield futures[future], future.result()
