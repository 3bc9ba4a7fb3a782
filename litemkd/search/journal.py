"""A study's journal file: whole records only, whatever died, filled its disk or held its lock.

Optuna keeps a study as a file of one JSON record a line, and takes each line for whole. A process that is
killed while it writes, or a full disk, leaves half a line, and the next record would be written behind it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import mmap
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from litemkd.errors import TrackingError
from litemkd.search.beyond_api import LOCK_ENDING, RECORD_BEGINS
from litemkd.storage.files import locked, not_a_file, tell_storage

log = logging.getLogger(__name__)

GRACE = 10.0  # seconds after which a lock of Optuna's is left over if neither it nor the journal changed
POLL = 0.02  # seconds between two looks at such a lock
_MARK = b"litemkd"  # in such a lock that a process of litemkd made
_MEND = "the file from a copy, or another one (--storage FILE) with a new study, would do"


def open_journal(path: Path) -> JournalStorage:
    """The journal at `path`, made if missing. A record that was written only in part is cut off, and told.

    Raises:
        TrackingError: it is no file, no journal, or damaged elsewhere than at its end; it is left as it is.
        OSError: it cannot be read or written.
    """
    if path.exists() and (what := not_a_file(path)) is not None:
        raise TrackingError(f"the study's storage {path}: {what}; the path of a journal file would do")
    _refuse_strangers(path)
    backend = _Journal(path)
    try:
        storage = JournalStorage(backend)
    except TrackingError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, AssertionError, IndexError) as error:
        # Lines that are JSON and no records, or records of trials and studies that were never begun.
        words = " ".join(str(error).split()) or type(error).__name__
        raise TrackingError(
            f"the study's journal {path} holds records that do not fit together ({words}); {_MEND}"
        ) from None
    with backend.lock:  # which cuts off what was torn
        return storage


def _refuse_strangers(path: Path) -> None:
    """See that a file begins as a journal does, so that nothing is ever cut off another one."""
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        begun = file.read(len(RECORD_BEGINS))
        if not RECORD_BEGINS.startswith(begun):
            raise TrackingError(
                f"the study's storage {path} is no journal of Optuna: it begins with {begun!r}, and was left "
                "as it is; another path would do, or none for the journal beside the MLflow store"
            )


class _Journal(JournalFileBackend):
    """Optuna's journal file, with its mistakes in words."""

    def __init__(self, path: Path) -> None:
        self.path, self.lock = path, JournalLock(path)
        super().__init__(str(path), lock_obj=self.lock)

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:  # type: ignore[override]
        """The records from one on; of a last one that is only in part there, nothing."""
        try:
            yield from super().read_logs(log_number_from)
        except ValueError:
            raise TrackingError(_damage(self.path)) from None

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Write records. StorageError: no space for them; the next writer cuts off what is left of them."""
        try:
            super().append_logs(logs)
        except OSError as error:
            tell_storage(self.path, error)
            raise


class JournalLock(JournalFileOpenLock):
    """The right to write a journal; a context manager too. Whoever gets it finds whole lines only.

    Processes of litemkd exclude each other by a lock that the system frees when they die. Other programs, such
    as Optuna's dashboard, know Optuna's lock alone, a file that exists: it is made too, and waited for.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self.path = path
        self.ours, self.theirs = Path(f"{path}.write.lock"), Path(f"{path}{LOCK_ENDING}")
        self._held = contextlib.ExitStack()

    def acquire(self) -> bool:
        """Wait for it. TrackingError: the journal is damaged, or a folder lies where the lock should."""
        with contextlib.ExitStack() as held:
            held.enter_context(locked(self.ours))
            self._take_theirs()
            held.callback(self.theirs.unlink, missing_ok=True)
            _cut_torn(self.path)
            self._held = held.pop_all()
        return True

    def release(self) -> None:
        """Let others write."""
        self._held.close()

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()

    def _take_theirs(self) -> None:
        """Make Optuna's lock. What a dead process left is removed, whatever it points to if it is a link."""
        seen, since = None, time.monotonic()
        while True:
            try:
                with self.theirs.open("xb") as file:
                    file.write(_MARK)
                return
            except FileExistsError:
                pass
            if self._is_mine():
                self.theirs.unlink(missing_ok=True)
                continue
            now = self._state()
            if now != seen:
                seen, since = now, time.monotonic()
            elif time.monotonic() - since > GRACE:
                self._remove_theirs()
            time.sleep(POLL)

    def _is_mine(self) -> bool:
        """Whether a process of litemkd made it, which is dead then: this one holds the lock that it had."""
        if os.name != "posix" or self.theirs.is_symlink() or not self.theirs.is_file():  # see `locked`
            return False
        with contextlib.suppress(FileNotFoundError):
            return self.theirs.read_bytes() == _MARK
        return False

    def _state(self) -> tuple[float, ...]:
        """What changes while a live process works under Optuna's lock."""
        found: list[float] = []
        for path in (self.theirs, self.path):
            with contextlib.suppress(FileNotFoundError):
                status = path.lstat() if path is self.theirs else path.stat()
                found += [status.st_ino, status.st_mtime_ns, status.st_size]
        return tuple(found)

    def _remove_theirs(self) -> None:
        try:
            self.theirs.unlink(missing_ok=True)
        except (IsADirectoryError, PermissionError) as error:
            raise TrackingError(
                f"{self.theirs} cannot be removed ({error.strerror}); it stands where the lock of the study's "
                "journal belongs: remove it by hand"
            ) from None
        log.warning("%s: a lock that a killed process left; removed after %.0f s", self.theirs, GRACE)


def _cut_torn(path: Path) -> None:
    """Cut a record without its end off a journal; the caller holds its lock, so nobody is writing it.

    Raises:
        TrackingError: the last line is whole and no record.
    """
    with path.open("r+b") as file:
        end = file.seek(0, os.SEEK_END)
        if end == 0:
            return
        with mmap.mmap(file.fileno(), end, access=mmap.ACCESS_READ) as content:
            whole = content.rfind(b"\n", 0, end - 1) + 1
            last = content[whole:]
        if not last.endswith(b"\n"):
            file.truncate(whole)
            os.fsync(file.fileno())
            log.warning(
                "%s: the last record was written only in part, as on a full disk or in a crash; its %d bytes "
                "were cut off",
                path,
                end - whole,
            )
        elif not _is_record(last):
            raise TrackingError(_damage(path))


def _is_record(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:  # also of bytes that are no UTF-8
        return False


def _damage(path: Path) -> str:
    """Which line of a journal is no record, in words."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not _is_record(line):
                return (
                    f"the study's journal {path} is damaged: line {number} is no record of Optuna "
                    f"({line[:40]!r}{'…' if len(line) > 40 else ''}); {_MEND}"
                )
    return f"the study's journal {path} is damaged; {_MEND}"
