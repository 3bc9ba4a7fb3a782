"""Files that appear whole or not at all, locks between processes, and what is no file."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from litemkd.errors import FULL, LitemkdError, StorageError

_NO_FILES = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}


def write_whole(path: Path, write: Callable[[Path], object], *, like: Path | None = None) -> None:
    """Call `write(beside)` with a path beside `path`, then rename: readers see the old file or the new one.

    The content is on the disk before the rename, so neither a killed process nor a lost machine leaves a half.
    `like` is a file of about the size it will have, for the message where there is no space for it.

    Raises:
        StorageError: no space for it, or a disk that cannot be written; what was at `path` is still there.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(beside)
        with beside.open("rb") as file:
            os.fsync(file.fileno())
        beside.replace(path)
    except Exception as error:
        tell_storage(path, error, _size(like or path) or _size(beside))
        raise
    finally:
        with contextlib.suppress(OSError):  # what went wrong before tells more
            beside.unlink()


def write_text(path: Path, text: str) -> None:
    """Write a text as UTF-8, see `write_whole`."""
    write_whole(path, lambda beside: beside.write_text(text, encoding="utf-8"))


@contextlib.contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """An empty folder beside `path` to fill; it gets that name at the end of the block, unless that raises.

    A folder of that name is replaced. What a killed process leaves has a name that begins with a dot.

    Raises:
        StorageError: no space for it, or a disk that cannot be written.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir()
        yield beside
        if path.exists():
            shutil.rmtree(path)
        beside.replace(path)
    except Exception as error:
        tell_storage(path, error)
        raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def tell_storage(path: Path, error: Exception, needs: int = 0) -> None:
    """Raise `StorageError` if writing `path` failed for want of space or of a disk that can be written."""
    number = _storage_number(error)
    if number is None:
        return
    if number not in FULL:
        raise StorageError(f"cannot write {path}: {os.strerror(number)}", number) from error
    about = f"; it needs about {max(needs / 1e6, 0.1):.1f} MB" if needs else ""
    raise StorageError(
        f"no space left for {path} ({os.strerror(number)}){about}; make space there and run it again; "
        "a training goes on with --resume",
        number,
    ) from error


def not_a_file(path: str | os.PathLike[str]) -> str | None:
    """Why a path cannot be opened as a file, in words; None for a file. A pipe would be waited on for ever."""
    try:
        kind = stat.S_IFMT(Path(path).stat().st_mode)
    except OSError as error:
        return error.strerror or str(error)
    return None if kind == stat.S_IFREG else f"it is {_NO_FILES.get(kind, 'a device')}, not a file"


def _storage_number(error: Exception) -> int | None:
    """The system's number of a storage error, whichever library met it."""
    if isinstance(error, LitemkdError):
        return None
    if isinstance(error, OSError):
        return error.errno if error.errno in (*FULL, errno.EROFS) else None
    if found := re.search(r"os error (\d+)", str(error)):  # safetensors
        return int(found[1]) if int(found[1]) in (*FULL, errno.EROFS) else None
    # torch's writer of checkpoints says only that it has not come as far as it should.
    return errno.ENOSPC if "inline_container" in str(error) else None


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


@contextlib.contextmanager
def locked(path: Path, *, shared: bool = False) -> Iterator[None]:
    """Hold a lock file, made if missing, waiting for others; the system frees it when the process ends.

    Those who hold it `shared` wait only for one who does not.

    Raises:
        StorageError: what lies there is no file.
    """
    try:
        import fcntl
    except ImportError:  # no such locks on Windows: first use by one process at a time there
        yield
        return
    with _lock_file(path) as handle:
        fcntl.flock(handle, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(handle, fcntl.LOCK_UN)  # a child forked meanwhile has the file open, too


def take(path: Path) -> IO[str] | None:
    """Take a lock file, made if missing, until it is closed or the process ends; None where another has it.

    Forked children do not have it, so it tells whether the process itself is alive. Two takers in one process
    do not exclude each other.

    Raises:
        StorageError: what lies there is no file.
    """
    handle = _lock_file(path)
    try:
        import fcntl

        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except ImportError:  # no such locks on Windows
        pass
    except OSError:
        handle.close()
        return None
    return handle


def _lock_file(path: Path) -> IO[str]:
    if path.exists() and (what := not_a_file(path)) is not None:
        raise StorageError(f"cannot lock {path}: {what}; remove it by hand")
    return path.open("a")
