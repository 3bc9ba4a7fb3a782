"""Files that appear whole or not at all, and locks between processes."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Call `write(beside)` with a path beside `path`, then rename: readers see the old file or the new one.

    The content is on the disk before the rename, so neither a killed process nor a lost machine leaves a half.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        write(beside)
        with beside.open("rb") as file:
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text as UTF-8, see `write_whole`."""
    write_whole(path, lambda beside: beside.write_text(text, encoding="utf-8"))


@contextlib.contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """An empty folder beside `path` to fill; it gets that name at the end of the block, unless that raises.

    A folder of that name is replaced. What a killed process leaves has a name that begins with a dot.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir()
    try:
        yield beside
        if path.exists():
            shutil.rmtree(path)
        beside.replace(path)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file, made if missing, waiting for others; the system frees it when the process ends."""
    try:
        import fcntl
    except ImportError:  # no such locks on Windows: first use by one process at a time there
        yield
        return
    with path.open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def take(path: Path) -> IO[str] | None:
    """Take a lock file, made if missing, until it is closed or the process ends; None where another has it.

    Forked children do not have it, so it tells whether the process itself is alive. Two takers in one process
    do not exclude each other.
    """
    handle = path.open("a")
    try:
        import fcntl

        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except ImportError:  # no such locks on Windows
        pass
    except OSError:
        handle.close()
        return None
    return handle
