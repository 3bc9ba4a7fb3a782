"""A cache of arrays on disk: what is slow to compute and quick to read, the newest few."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from litemkd.storage.files import locked, write_text, write_whole

DAY = 86_400  # seconds
MONTH = 30 * DAY
MARKED_EVERY = 10  # seconds, in which an array that is made in parts is noted to have grown

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
        return self._made(
            path, shape, lambda: write_whole(path, lambda beside: _write(beside, shape, fill)), fill
        )

    def in_parts(
        self, name: str, shape: tuple[int, ...], make: Callable[[range], np.ndarray], at_once: int
    ) -> np.ndarray:
        """The same, made part by part: what was made of one stays where a process ends before it is whole.

        Args:
            name: as of `array`.
            shape: (rows, …).
            make: the array of some rows.
            at_once: rows of a part.
        """
        path = self.folder / f"{name}.npy"

        def fill(array: np.ndarray) -> None:
            for rows in _parts(0, len(array), at_once):
                array[rows.start : rows.stop] = make(rows)

        return self._made(path, shape, lambda: _grow(path, shape, make, at_once), fill)

    def _made(
        self,
        path: Path,
        shape: tuple[int, ...],
        write: Callable[[], object],
        fill: Callable[[np.ndarray], None],
    ) -> np.ndarray:
        name = path.stem
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = self.folder / f".{name}.lock"
            with locked(lock):
                found = _read(path, shape)
                if found is None:
                    self._tidy()
                    write()
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
            begun = [path for word in ("begun", "rows") for path in self.folder.glob(f".*.{word}")]
            left += [path for path in begun if time.time() - _used(path) > MONTH]
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
    array = _empty(path, shape)
    fill(array)
    array.flush()


def _empty(path: Path, shape: tuple[int, ...]) -> np.memmap:
    array = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
    if hasattr(os, "posix_fallocate"):  # a full disk is told now; met while writing to the map, it would kill
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array


def _grow(path: Path, shape: tuple[int, ...], make: Callable[[range], np.ndarray], at_once: int) -> None:
    """Write an array part by part to a file beside its own, go on with one that was begun, and rename it.

    A mark says how many rows are on the disk; they are there before the mark says so.
    """
    beside, mark = (path.with_name(f".{path.stem}.{word}") for word in ("begun", "rows"))
    done = _begun(beside, mark, shape)
    if not done:
        mark.unlink(missing_ok=True)
    try:
        array = np.load(beside, mmap_mode="r+", allow_pickle=False) if done else _empty(beside, shape)
    except OSError:
        beside.unlink(missing_ok=True)
        raise
    noted, marked = done, time.monotonic()
    try:
        for rows in _parts(done, len(array), at_once):
            array[rows.start : rows.stop] = make(rows)
            done = rows.stop
            if time.monotonic() - marked > MARKED_EVERY:
                array.flush()
                write_text(mark, str(done))
                noted, marked = done, time.monotonic()
    finally:
        array.flush()
        if noted < done < len(array):
            write_text(mark, str(done))
    mark.unlink(missing_ok=True)
    beside.replace(path)


def _parts(first: int, last: int, at_once: int) -> Iterator[range]:
    return (range(start, min(start + at_once, last)) for start in range(first, last, at_once))


def _begun(beside: Path, mark: Path, shape: tuple[int, ...]) -> int:
    """Rows that are in an array which was begun; 0 where none was, or one of another shape."""
    try:
        rows = int(mark.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return 0
    return rows if 0 < rows <= shape[0] and _read(beside, shape) is not None else 0
