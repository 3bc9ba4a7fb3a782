"""Reading frames out of video files.

A container's word on its number of frames is not taken: frames are counted by decoding to the end. Only the few
frames that are wanted are kept, shrunk, so memory does not grow with the length of the recording.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from litemkd.errors import DataError
from litemkd.recordings.streams import check_size, opened, orientation_of
from litemkd.recordings.times import sample_times
from litemkd.storage.pictures import check_made


@dataclass(frozen=True, eq=False)
class ClipFrames:
    """The sampled frames of one recording.

    Attributes:
        frames: (T, H, W, 3) uint8 RGB.
        following: (T, H, W, 3) uint8, the raw frame after each; for the recording's last frame, which has none
            after it, the one before.
        n_frames: frames in the recording.
        times: (T,) int64, which of them `frames` are, from 0.
    """

    frames: np.ndarray
    following: np.ndarray
    n_frames: int
    times: np.ndarray

    def flow_pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """The earlier and the later frame of each pair, twice (T, H, W, 3), both ordered in time."""
        last = (self.times == self.n_frames - 1)[:, None, None, None]
        return np.where(last, self.following, self.frames), np.where(last, self.frames, self.following)


def read_video(path: Path, T: int, short_side: int) -> ClipFrames:
    """T frames of a recording, evenly spread (`sample_times`), with the short side resized to `short_side`.

    Args:
        path: a video file that FFmpeg's libraries can read; the film in it (no cover picture), turned upright.
        T: frames to take.
        short_side: of the frames returned, in pixels; the long side follows in proportion, rounded.

    Raises:
        DataError: unreadable, cut, damaged anywhere, no video in it, no frames, or fewer than T.
    """
    path = Path(path)
    # The number of packets is nearly always the number of frames. If decoding shows it was not, decode again.
    n = _packets(path)
    while True:
        wanted = sample_times(max(n, 1), T)
        kept, found = _decode(path, wanted, short_side)
        if found == n:
            break
        n = found
    if n < T:
        raise DataError(f"{path} has {n} frames; {T} are needed")
    after = [t + 1 if t + 1 < n else max(n - 2, 0) for t in wanted.tolist()]
    frames = np.stack([kept[t] for t in wanted.tolist()])
    return ClipFrames(frames, np.stack([kept[t] for t in after]), n, wanted)


def count_frames(path: Path) -> int:
    """The number of frames in a recording, by decoding all of it.

    Raises:
        DataError: unreadable, cut, damaged anywhere, or no video in it.
    """
    with opened(Path(path)) as film:
        return sum(1 for _ in film.frames())


def video_size(path: Path) -> tuple[int, int, int]:
    """Frames, height and width of a recording, upright, by decoding all of it.

    Raises:
        DataError: unreadable, cut, damaged anywhere, no video in it, or no frames.
    """
    count, size = 0, (0, 0)
    with opened(Path(path)) as film:
        for count, frame in enumerate(film.frames(), 1):
            if count == 1:
                size = orientation_of(frame).size(frame.height, frame.width)
    if not count:
        raise DataError(f"{path} has no frames")
    return count, *size


def resized(height: int, width: int, short_side: int) -> tuple[int, int]:
    """(H, W) of a frame after `resize_short`."""
    short = min(height, width)
    return max(1, round(height * short_side / short)), max(1, round(width * short_side / short))


def centre_corner(height: int, width: int, size: int) -> tuple[int, int]:
    """Top and left of the square of side `size` in the middle of a frame."""
    return (height - size) // 2, (width - size) // 2


def resize_short(frame: np.ndarray, short_side: int) -> np.ndarray:
    """A frame (H, W, 3) with the short side `short_side`: area means to shrink, bilinear to grow."""
    before = min(frame.shape[:2])
    if before == short_side:
        return frame
    height, width = resized(frame.shape[0], frame.shape[1], short_side)
    how = cv2.INTER_AREA if short_side < before else cv2.INTER_LINEAR
    smaller: np.ndarray = cv2.resize(frame, (width, height), interpolation=how)
    return smaller


def _packets(path: Path) -> int:
    with opened(path) as film:
        return film.packets()


def _decode(path: Path, wanted: np.ndarray, short_side: int) -> tuple[dict[int, np.ndarray], int]:
    """By number: the wanted frames, those after them, the last but one; and how many frames there are."""
    numbers = {t + step for t in wanted.tolist() for step in (0, 1)} | {int(wanted[-1]) - 1}
    kept: dict[int, np.ndarray] = {}
    count = 0
    with opened(path) as film:
        for count, frame in enumerate(film.frames(), 1):
            if count - 1 in numbers:
                check_size(path, frame.width, frame.height)  # it may change on the way
                upright = orientation_of(frame).upright(frame.to_ndarray(format="rgb24"))
                before = upright.shape[0], upright.shape[1]
                check_made(path, before, resized(*before, short_side))
                kept[count - 1] = resize_short(upright, short_side)
    if len({frame.shape for frame in kept.values()}) > 1:
        raise DataError(f"{path} changes its picture size on the way; convert it to one size first")
    return kept, count
