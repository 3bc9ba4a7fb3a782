"""A cache of arrays on disk: what is slow to compute and quick to read, the newest few."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from litemkd.storage.files import locked, write_whole

DAY = 86_400  # seconds

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ArrayCache:
    """Arrays in files `<folder>/<name>.npy`, memory-mapped, never seen half-written.

    Attributes:
        folder: made at first use.
        keep: arrays that stay; those not used for the longest time make room.
    """

    folder: Path
    keep: int = 8

    def array(self, name: str, shape: tuple[int, ...], fill: Callable[[np.ndarray], None]) -> np.ndarray:
        """The float32 array of this name and shape, filled by `fill` unless it is there.

        Processes that ask for the same one at once wait for the one that fills it. Where it cannot be kept (no
        space, a folder that cannot be written) a warning says so, and the array is made in memory.

        Args:
            name: tells the content completely, for instance by a digest.
            shape: of the array.
            fill: writes all of an array of zeros.
        """
        path = self.folder / f"{name}.npy"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = self.folder / f".{name}.lock"
            with locked(lock):
                found = _read(path, shape)
                if found is None:
                    self._tidy()
                    write_whole(path, lambda beside: _write(beside, shape, fill))
                    found = np.load(path, mmap_mode="r", allow_pickle=False)
                os.utime(path)
                lock.unlink(missing_ok=True)
            return found
        except OSError as error:
            why = error
        size = 4 * int(np.prod(shape)) / 1e9
        log.warning("%s: cannot keep %.2f GB there (%s); working in memory instead", path, size, why)
        found = np.zeros(shape, np.float32)
        fill(found)
        return found

    def has(self, name: str, shape: tuple[int, ...]) -> bool:
        """Whether the array of this name and shape is there."""
        return _read(self.folder / f"{name}.npy", shape) is not None

    def _tidy(self) -> None:
        """Make room for one more array, and take away what killed processes left."""
        with locked(self.folder / ".lock"):
            kept = sorted(self.folder.glob("*.npy"), key=_used)
            left = [path for path in self.folder.glob(".*.part") if time.time() - _used(path) > DAY]
            for path in [*kept[: max(0, len(kept) - self.keep + 1)], *left]:
                path.unlink(missing_ok=True)


def _used(path: Path) -> float:
    """When a file was last used; one that another process has just taken away counts as new."""
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_mtime
    return math.inf


def _read(path: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    """The array, or None where there is none of this shape."""
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except (FileNotFoundError, ValueError, EOFError):
        return None
    return found if found.shape == shape and found.dtype == np.float32 else None


def _write(path: Path, shape: tuple[int, ...], fill: Callable[[np.ndarray], None]) -> None:
    array = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
    if hasattr(os, "posix_fallocate"):  # a full disk is told now; met while writing to the map, it would kill
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    fill(array)
    array.flush()
