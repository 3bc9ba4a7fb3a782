"""Which frames stand for a recording, and which of another stream of the same recording go with them."""

from __future__ import annotations

import numpy as np

from litemkd.errors import DataError

MAX_RATIO = 4.0  # of two counts of frames of one recording, taken at different rates


def sample_times(n: int, T: int) -> np.ndarray:
    """Which T of n frames stand for a recording: evenly spread, first and last included, (T,) int64 from 0.

    The rule is round(linspace(0, n - 1, T)), halves to the even number. For T = 1 it is the first frame. When T
    is above n, frames repeat.
    """
    if n < 1 or T < 1:
        raise DataError(f"cannot take {T} of {n} frames")
    return np.rint(np.linspace(0, n - 1, T)).astype(np.int64)


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
