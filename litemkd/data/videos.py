"""Reading frames out of video files, with PyAV.

A container's word on its number of frames is not taken: frames are counted by decoding to the end. Only the few
frames that are wanted are kept, shrunk, so memory does not grow with the length of the recording.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import av
import cv2
import numpy as np

from litemkd.data.folders import in_class_folders
from litemkd.data.splits import VIDEO_SUFFIXES
from litemkd.errors import DataError
from litemkd.files import not_a_file

OnShort = Literal["error", "repeat"]
MAX_PIXELS = 40_000_000  # of a frame; 8K video has 33 million
# Containers of recordings. Others, playlists for instance, are lists of further files and addresses to read.
_CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,avi,matroska,webm,mpeg,mpegvideo,mpegts,asf,flv,ogg,m4v,h264,hevc,ivf,mjpeg,dv"
)
_SAFE = {"format_whitelist": _CONTAINERS, "protocol_whitelist": "file"}


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


def sample_times(n: int, T: int) -> np.ndarray:
    """Which T of n frames stand for a recording: evenly spread, first and last included, (T,) int64 from 0.

    The rule is round(linspace(0, n - 1, T)), halves to the even number. For T = 1 it is the first frame. When T
    is above n, frames repeat.
    """
    if n < 1 or T < 1:
        raise DataError(f"cannot take {T} of {n} frames")
    return np.rint(np.linspace(0, n - 1, T)).astype(np.int64)


def read_video(
    path: Path, T: int, short_side: int, *, on_short: OnShort = "error", threads: int = 0
) -> ClipFrames:
    """T frames of a recording, evenly spread (`sample_times`), with the short side resized to `short_side`.

    Args:
        path: a video file that FFmpeg's libraries can read; the first video stream is used, turned upright.
        T: frames to take.
        short_side: of the frames returned, in pixels; the long side follows in proportion, rounded.
        on_short: with fewer than T frames in the recording, an error or repeated frames.
        threads: that decode; 0 is as many as there are CPUs.

    Raises:
        DataError: unreadable, no video in it, no frames, or fewer than T.
    """
    path = Path(path)
    # The number of packets is nearly always the number of frames. If decoding shows it was not, decode again.
    n = _count(path, False, threads)
    while True:
        wanted = sample_times(max(n, 1), T)
        kept, found = _decode(path, wanted, short_side, threads)
        if found == n:
            break
        n = found
    if n < T and (n == 0 or on_short == "error"):
        raise DataError(f"{path} has {n} frames; {T} are needed")
    after = [t + 1 if t + 1 < n else max(n - 2, 0) for t in wanted.tolist()]
    frames = np.stack([kept[t] for t in wanted.tolist()])
    return ClipFrames(frames, np.stack([kept[t] for t in after]), n, wanted)


def count_frames(path: Path, threads: int = 0) -> int:
    """The number of frames in a recording, by decoding all of it with so many threads (0: one for each CPU).

    Raises:
        DataError: unreadable, or no video in it.
    """
    return _count(Path(path), True, threads)


def video_size(path: Path, threads: int = 0) -> tuple[int, int, int]:
    """Frames, height and width of a recording, upright, by decoding all of it.

    Raises:
        DataError: unreadable, no video in it, or no frames.
    """
    count, size = 0, (0, 0)
    with _opened(Path(path), threads) as (container, stream):
        for count, frame in enumerate(container.decode(stream), 1):
            if count == 1:
                sides = (frame.height, frame.width)
                size = sides if round(getattr(frame, "rotation", 0) / 90) % 2 == 0 else sides[::-1]
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


def list_videos(folder: Path, suffixes: tuple[str, ...] = VIDEO_SUFFIXES) -> dict[str, Path]:
    """The videos in class folders, {"class/stem": path}, sorted by name. Hidden files are passed over.

    Args:
        folder: with one folder a class.
        suffixes: of the files to list, lower case.

    Raises:
        DataError: no such folder, or two files of one class with the same name but for the extension.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"no folder {folder}; it should hold one folder of videos for each class")
    found: dict[str, Path] = {}
    for path in in_class_folders(folder):
        if path.suffix.lower() not in suffixes:
            continue
        name = f"{path.parent.name}/{path.stem}"
        if name in found:
            raise DataError(f"{found[name]} and {path} are both {name}; keep one or rename one")
        found[name] = path
    return dict(sorted(found.items()))


@contextmanager
def _opened(path: Path, threads: int) -> Iterator[tuple[Any, Any]]:
    """The container and its first video stream; whatever goes wrong with them inside becomes a DataError."""
    if wrong := not_a_file(path):
        raise DataError(f"no video {path}: {wrong}")
    try:
        with av.open(f"file:{path}", options=_SAFE) as container:
            if not container.streams.video:
                raise DataError(f"{path} has no video in it")
            stream = container.streams.video[0]
            _check_size(path, stream.codec_context.width, stream.codec_context.height)
            stream.codec_context.thread_type = "AUTO"
            stream.codec_context.thread_count = threads
            yield container, stream
    except (av.error.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"cannot read video {path} ({path.stat().st_size} bytes): {reason}") from error


def _check_size(path: Path, width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise DataError(
            f"{path} has frames of {width}x{height} pixels; at most {MAX_PIXELS // 10**6} million are read"
        )


def _count(path: Path, decode: bool, threads: int) -> int:
    with _opened(path, threads) as (container, stream):
        if decode:
            return sum(1 for _ in container.decode(stream))
        return sum(1 for packet in container.demux(stream) if packet.size)


def _decode(path: Path, wanted: np.ndarray, short_side: int, threads: int) -> tuple[dict[int, np.ndarray], int]:
    """By number: the wanted frames, those after them, the last but one; and how many frames there are."""
    numbers = {t + step for t in wanted.tolist() for step in (0, 1)} | {int(wanted[-1]) - 1}
    kept: dict[int, np.ndarray] = {}
    count = 0
    with _opened(path, threads) as (container, stream):
        for count, frame in enumerate(container.decode(stream), 1):
            if count - 1 in numbers:
                _check_size(path, frame.width, frame.height)  # it may change on the way
                upright = np.rot90(frame.to_ndarray(format="rgb24"), round(getattr(frame, "rotation", 0) / 90))
                kept[count - 1] = resize_short(np.ascontiguousarray(upright), short_side)
    if len({frame.shape for frame in kept.values()}) > 1:
        raise DataError(f"{path} changes its picture size on the way; convert it to one size first")
    return kept, count
