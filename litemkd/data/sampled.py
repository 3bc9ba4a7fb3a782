"""Which of a clip's frame files stand for it, where folders hold all frames of a recording and not just T.

A folder of exactly T frames is taken as it is: that is the original release's form, and what `prepare` writes.
Of more, T are taken as of a recording. Frames of other modalities are taken at the times of the RGB frames.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from litemkd.data.frames import check_files, frame_entries
from litemkd.data.videos import sample_times
from litemkd.errors import DataError

MAX_RATIO = 4.0  # of two counts of frames of one recording, taken at different rates


def sampled_entries(clip: Path, T: int, rgb: Path | None = None) -> list[os.DirEntry[str]]:
    """The T frames that stand for a clip, in natural order of their names.

    Args:
        clip: folder of frames.
        T: how many to take.
        rgb: folder of the RGB frames of the same clip, for another modality. Where that holds all frames of the
            recording, it gives the times.

    Raises:
        DataError: no such folder, fewer than T frames, so many more or fewer than of RGB that they are not of
            one recording, or a name that is not a file's.
    """
    entries = frame_entries(clip)
    if len(entries) < T:
        raise DataError(f"{clip} has {len(entries)} frames; at least {T} are needed")
    if len(entries) > T:
        of = len(frame_entries(rgb)) if rgb is not None and rgb.is_dir() else 0
        if of > T and not same_recording(len(entries), of):
            raise DataError(f"{clip} has {len(entries)} frames, but {rgb} has {of}: not one recording")
        times = times_beside(len(entries), of if of > T else len(entries), T)
        entries = [entries[time] for time in times.tolist()]
    check_files(entries)
    return entries


def times_beside(n: int, of: int, T: int) -> np.ndarray:
    """Which of n frames go with the T that are sampled of a recording of `of` frames, (T,) int64.

    One less than the recording has is one for each pair of neighbours, as of flow: that of the frame and the
    next, and the last pair for the last frame. Else the times are the recording's in proportion.
    """
    times = sample_times(of, T)
    return np.minimum(times, n - 1) if n == of - 1 else in_proportion(times, n, of)


def in_proportion(times: np.ndarray, n: int, of: int) -> np.ndarray:
    """Times in a recording of `of` frames, in another of the same with n frames."""
    return np.rint(times * ((n - 1) / max(of - 1, 1))).astype(np.int64)


def same_recording(n: int, of: int) -> bool:
    """Whether n and `of` frames may be of one recording, at different rates."""
    return 1 / MAX_RATIO <= n / max(of, 1) <= MAX_RATIO
