"""Packs of encoded frames: the very files, one after another in one file, decoded when a clip is read.

They take the space of the JPEGs, about a seventh of a raw pack's, and the time of decoding: for data that a raw
pack would push out of memory. Pixels and digest are those of the raw pack.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import psutil

from litemkd.data.frames import decode_frame, stacked
from litemkd.errors import DataError
from litemkd.recordings.videos import resize_short

RAW, ENCODED, AUTO = "raw", "encoded", "auto"
SHARE = 0.5  # of the memory, and of the free disk, that a raw pack may take where the form is chosen for one

Decoder = Callable[[bytes, str], np.ndarray]


def chosen_form(needed: int, free: int) -> tuple[str, str]:
    """The form of a pack that takes `needed` bytes raw, where `free` are free on the disk; and why."""
    memory = psutil.virtual_memory().total
    for what, there in (("memory", memory), ("free disk", free)):
        if needed > SHARE * there:
            return ENCODED, f"raw it would take {needed / 1e9:.1f} GB, and the {what} is {there / 1e9:.1f} GB"
    return RAW, f"it takes {needed / 1e9:.2f} GB, and the memory is {memory / 1e9:.1f} GB"


def by_opencv(data: bytes, name: str) -> np.ndarray:
    """A frame decoded by OpenCV; DataError: it cannot."""
    frame = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    if frame is None:
        raise DataError(f"{name}: OpenCV cannot decode it")
    return frame


def decoders() -> dict[str, Decoder]:
    """Others than Pillow, whose pixels a raw pack has, by library and version: they may give the same."""
    return {f"opencv {cv2.__version__}": by_opencv} if hasattr(cv2, "IMREAD_COLOR_RGB") else {}


def agreeing(files: Sequence[bytes], frames: np.ndarray, names: Sequence[str]) -> list[str]:
    """The decoders that give just these frames, (T, H, W, 3)."""
    found = []
    for one, decode in decoders().items():
        try:
            same = all(
                np.array_equal(decode(data, name), frame)
                for data, frame, name in zip(files, frames, names, strict=True)
            )
        except (DataError, cv2.error):
            same = False
        found += [one] * same
    return found


def read_encoded(paths: Sequence[Path]) -> tuple[list[bytes], np.ndarray]:
    """The files of a clip, and their frames (T, H, W, 3) as `litemkd.data.frames.read_files` reads them."""
    files = [path.read_bytes() for path in paths]
    return files, stacked([decode_frame(data, path) for data, path in zip(files, paths, strict=True)], paths)


class Decoding:
    """How the frames of an encoded pack are decoded.

    Args:
        agreed: the decoders that gave a raw pack's pixels for all of its frames.
        short_side: of the frames in pixels; None leaves them as they are.
    """

    def __init__(self, agreed: Sequence[str], short_side: int | None) -> None:
        self.candidates = {"pillow": decode_frame} | {
            name: decode for name, decode in decoders().items() if name in agreed
        }
        self.short_side = short_side
        self.decode: Decoder | None = None

    def clip(self, files: Sequence[bytes], name: str) -> np.ndarray:
        """The frames of a clip, (T, H, W, 3)."""
        decode = self.decode or self._fastest(files[0], name)
        frames = [decode(data, f"frame {place} of {name}") for place, data in enumerate(files)]
        if self.short_side is not None:
            frames = [resize_short(frame, self.short_side) for frame in frames]
        clip = np.stack(frames)
        clip.flags.writeable = False
        return clip

    def _fastest(self, data: bytes, name: str) -> Decoder:
        """The decoder that takes the least time for a frame here."""

        def seconds(decode: Decoder) -> float:
            decode(data, name)
            begun = time.perf_counter()
            for _ in range(3):
                decode(data, name)
            return time.perf_counter() - begun

        self.decode = min(self.candidates.values(), key=seconds)
        return self.decode


def pool() -> ThreadPoolExecutor:
    """Threads of this process that decode and resize, one for each CPU; both let others work meanwhile."""
    return _pool(os.getpid())


@functools.cache  # by process: one that was forked has none of its parent's threads
def _pool(_: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="frames")
