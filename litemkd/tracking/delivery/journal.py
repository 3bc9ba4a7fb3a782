"""What is on its way to the store, on disk: a line an item, in order, and a mark of how far it was sent.

A line is in the system's page cache when `append` returns, so it outlives a killed process.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from litemkd.errors import TrackingError
from litemkd.storage.files import take, write_text

ROOMY = 2**20  # bytes of sent lines after which the file is emptied
BLOCK = 2**22  # bytes read at once
PROMISE = re.compile(r"unsent-[0-9a-f]{16}")


def promise() -> str:
    """A name for what only the store can name, such as a run: it stands for that name in later items."""
    return f"unsent-{os.urandom(8).hex()}"


@dataclass(frozen=True)
class Entry:
    """A line of a journal.

    Attributes:
        item: None where the line is not in order.
        end: the place in the file behind it; None for a line that the disk did not take.
    """

    item: dict[str, Any] | None
    line: bytes
    end: int | None


class Journal:
    """The journal of one process, in a folder of its own below `runs/unsent`.

    The folder holds `journal.jsonl`; `sent`, how far it was sent; `names.jsonl`, what promises became;
    `refused.jsonl`, items that the store will not have; `files`, of artifacts; `owner.json`, whose it is; and
    `lock`, held as long as the process lives.
    """

    def __init__(self, folder: Path, lock: IO[str]) -> None:
        self.folder = folder
        self.names: dict[str, str] = {}
        self._holder = lock
        self._lock = threading.Lock()
        self._held: list[bytes] = []  # lines that the disk did not take, in memory
        self._file = os.open(folder / "journal.jsonl", os.O_RDWR | os.O_CREAT | os.O_APPEND)
        self._sent = os.open(folder / "sent", os.O_RDWR | os.O_CREAT)
        self._size = os.fstat(self._file).st_size
        words = os.pread(self._sent, 64, 0).split()
        done, part = (int(words[0]), int(words[1])) if len(words) == 2 else (0, 0)
        self._done, self.part = min(done, self._size), part  # part: files of the next item that were sent
        for line in _lines(folder / "names.jsonl"):
            with contextlib.suppress(ValueError):
                self.names |= json.loads(line)

    @classmethod
    def make(cls, root: Path, owner: dict[str, str]) -> Journal:
        """A new one for this process.

        Raises:
            TrackingError: the folder cannot be written to.
        """
        name = f"{time.time_ns()}-{os.getpid()}"
        beside = root / f".{name}"  # others look at it when the lock is held
        try:
            for _ in range(5):
                with contextlib.suppress(FileNotFoundError):  # another process removed the empty folder
                    beside.mkdir(parents=True)
                    break
            lock = take(beside / "lock")
            write_text(beside / "owner.json", json.dumps(owner))
            beside.rename(root / name)
            if lock is None:
                raise BlockingIOError(0, "its lock is taken")
            return cls(root / name, lock)
        except OSError as error:
            raise TrackingError(
                f"{root / name} cannot be made: {error.strerror or error}; what is logged passes "
                "through there. Start in a folder you may write to"
            ) from error

    @classmethod
    def take_over(cls, folder: Path) -> Journal | None:
        """The journal that a dead process left in a folder, None where its process is alive."""
        try:
            lock = take(folder / "lock")
            return None if lock is None else cls(folder, lock)
        except FileNotFoundError:  # its process has just sent everything
            return None

    def owner(self) -> dict[str, str]:
        """Host, process and store that the journal is of, as far as it is known."""
        with contextlib.suppress(OSError, ValueError):
            return dict(json.loads((self.folder / "owner.json").read_text(encoding="utf-8")))
        return {}

    @property
    def size(self) -> int:
        """Bytes of all items, sent or not, that are on disk."""
        return self._size

    @property
    def done(self) -> int:
        """Bytes of those that were sent."""
        return self._done

    @property
    def empty(self) -> bool:
        """Whether everything was sent."""
        return self._done >= self._size and not self._held

    def append(self, item: dict[str, Any], clean: Any = str) -> None:
        """Add an item at the end; on disk when it returns, in memory where the disk is full."""
        line = clean(json.dumps(item, ensure_ascii=False)).encode() + b"\n"
        with self._lock:
            self._held.append(line)
            data = b"".join(self._held)
            try:
                written = 0
                while written < len(data):
                    written += os.write(self._file, data[written:])
            except OSError:
                with contextlib.suppress(OSError):
                    os.ftruncate(self._file, self._size)
                return
            self._size += len(data)
            self._held.clear()

    def read(self) -> list[Entry]:
        """The next items, none where everything was sent."""
        with self._lock:
            data = os.pread(self._file, min(BLOCK, self._size - self._done), self._done)
            if b"\n" not in data:  # one very long line, or a last one without an end
                data = os.pread(self._file, self._size - self._done, self._done)
            if not data:
                return [Entry(_parsed(line), line, None) for line in self._held]
            end, found = self._done, []
            for line in data.split(b"\n"):
                end = min(end + len(line) + 1, self._size)
                found.append(Entry(_parsed(line), line, end))
            if end < self._done + len(data) or not found[-1].line or self._done + len(data) < self._size:
                found.pop()  # behind the last end of a line: nothing, or what the next call reads whole
            return found

    def mark(self, entry: Entry) -> None:
        """Everything up to this item is done."""
        with self._lock:
            if entry.end is None:
                self._held.remove(entry.line)
                return
            self._done, self.part = entry.end, 0
            if self._done == self._size > ROOMY:
                os.ftruncate(self._file, 0)
                self._done = self._size = 0
            self._write_mark()

    def mark_part(self, files: int) -> None:
        """So many files of the next item are done."""
        with self._lock:
            self.part = files
            self._write_mark()

    def _write_mark(self) -> None:
        with contextlib.suppress(OSError):  # what is sent twice is there once
            os.pwrite(self._sent, f"{self._done:020d} {self.part:010d}\n".encode(), 0)

    def name(self, promised: str, name: str) -> None:
        """Note what a promise became."""
        self.names[promised] = name
        with (self.folder / "names.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({promised: name}) + "\n")

    def refuse(self, entries: list[Entry], reason: str) -> None:
        """Set items aside that the store will not have."""
        with (self.folder / "refused.jsonl").open("ab") as file:
            for entry in entries:
                words = {"reason": reason, "line": entry.line.decode(errors="replace").rstrip("\n")}
                file.write(json.dumps(words, ensure_ascii=False).encode() + b"\n")

    def refused(self) -> list[dict[str, str]]:
        """What was set aside, with the reasons."""
        return [json.loads(line) for line in _lines(self.folder / "refused.jsonl")]

    def retry_refused(self) -> None:
        """Put what was set aside at the end again."""
        aside = self.refused()
        for one in aside:
            self.append(_parsed(one["line"].encode()) or {"do": "broken", "line": one["line"]})
        if aside:
            (self.folder / "refused.jsonl").unlink()

    def keep_file(self, path: Path, *, link: bool = False) -> str:
        """Copy a file or folder below `files`; returns its path below the journal's folder.

        With `link` files are linked where the disk can: for files that are replaced and never changed.
        """
        target = self.folder / "files" / os.urandom(8).hex() / path.name
        target.parent.mkdir(parents=True)
        copy = _link if link else shutil.copy2
        if path.is_dir():
            shutil.copytree(path, target, copy_function=copy)
        else:
            copy(path, target)
        return target.relative_to(self.folder).as_posix()

    def drop_file(self, kept: str) -> None:
        """Remove what `keep_file` made."""
        shutil.rmtree((self.folder / kept).parent, ignore_errors=True)

    def sync(self) -> None:
        """Bring all of it to the disk."""
        with contextlib.suppress(OSError):
            os.fsync(self._file)

    def close(self) -> None:
        """Give the lock back; the folder is removed where nothing is left in it to send."""
        done = self.empty and not (self.folder / "refused.jsonl").exists()
        for file in (self._file, self._sent):
            os.close(file)
        if done:
            shutil.rmtree(self.folder, ignore_errors=True)
            with contextlib.suppress(OSError):  # others are in it
                self.folder.parent.rmdir()
        self._holder.close()


def _link(source: str | Path, target: str | Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").strip("\n").split("\n") if path.exists() else []


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        item = json.loads(line)
    except ValueError:
        return None
    return item if isinstance(item, dict) and isinstance(item.get("do"), str) else None
