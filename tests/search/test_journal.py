"""Journals that a crash, a full disk or a killed process left: mended at the end, or told in one line."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock, JournalFileSymlinkLock
from optuna.trial import TrialState

from litemkd.errors import LitemkdError, StorageError, TrackingError
from litemkd.search import journal
from litemkd.search.storage import exclusive, open_storage
from litemkd.search.study import enqueue_missing, open_study


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A journal of a study with three trials, one of them complete."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    path = tmp_path / "optuna.journal"
    study = study_in(path)
    enqueue_missing(study, 3)
    trial = study.ask()
    study.tell(trial, trial.suggest_float("loss.kd", 1, 2))
    return path


def study_in(path: Path) -> optuna.Study:
    return open_study(str(path), "s", ["accuracy"], heartbeat=60)


def refused(path: Path) -> str:
    """Why a storage is refused, in one line; what lies there is left as it is."""
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(LitemkdError) as caught:
        study_in(path)
    assert before is None or path.read_bytes() == before
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name.startswith("litemkd")]


@pytest.mark.parametrize(
    "torn",
    [b'{"op_code":5,"worker_id":"a-1","trial', b'{"op_code":8}', b"{", b'{"op_code":8,"x":"\xc3', bytes(64)],
)
def test_a_torn_end_is_cut_off_and_told_once(file: Path, torn: bytes, caplog: pytest.LogCaptureFixture) -> None:
    before = file.read_bytes()
    file.write_bytes(before + torn)
    states = [trial.state for trial in study_in(file).trials]
    assert states == [TrialState.COMPLETE, TrialState.WAITING, TrialState.WAITING]
    assert told(caplog) == [
        f"{file}: the last record was written only in part, as on a full disk or in a crash; its {len(torn)} "
        "bytes were cut off"
    ]
    caplog.clear()
    enqueue_missing(study_in(file), 4)
    assert len(study_in(file).trials) == 4
    assert told(caplog) == []


def test_a_first_record_that_was_torn_leaves_an_empty_journal(tmp_path: Path) -> None:
    file = tmp_path / "j"
    file.write_bytes(b'{"op_code":0,"worker_id":"a')
    assert study_in(file).trials == []


def test_a_writer_cuts_off_what_another_one_could_not_finish(file: Path) -> None:
    study = study_in(file)
    with file.open("ab") as other:  # as a process does whose disk was full for a moment
        other.write(b'{"op_code":8,"worker_id":"b","st')
    study.set_user_attr("key", "word")
    assert study_in(file).user_attrs["key"] == "word"
    assert b'"st{' not in file.read_bytes()


def test_a_full_disk_is_told_and_the_study_goes_on_later(file: Path) -> None:
    study, limit = study_in(file), resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (file.stat().st_size + 100, limit[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            study.set_user_attr("key", "word" * 100)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, handler)
    assert not file.read_bytes().endswith(b"\n")
    study.set_user_attr("key", "word")
    assert study_in(file).user_attrs == {"key": "word"}


def test_no_space_names_the_journal(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = study_in(file)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(JournalFileBackend, "append_logs", full)
    with pytest.raises(StorageError, match=f"no space left for {file}"):
        study.set_user_attr("key", "word")


def test_an_unfinished_line_of_a_live_writer_is_waited_for(file: Path) -> None:
    """A slow writer holds the lock; whoever opens the study meanwhile waits and finds the whole line."""
    lock = journal.JournalLock(file)
    line = b'{"op_code":2,"worker_id":"b","study_id":0,"user_attr":{"slow":true}}\n'
    found: list[optuna.Study] = []
    with lock, file.open("ab", buffering=0) as writing:
        writing.write(line[:30])
        opening = threading.Thread(target=lambda: found.append(study_in(file)))
        opening.start()
        opening.join(1)
        assert not found
        writing.write(line[30:])
    opening.join(20)
    assert found[0].user_attrs == {"slow": True}


@pytest.mark.parametrize("garbage", [b"\x00\xff\x00\xff\n", b"garbage\n", b'{"op_code":5,"us{"op_code":0}\n'])
def test_garbage_in_the_middle_or_in_a_whole_last_line_is_told_with_its_line(
    file: Path, garbage: bytes
) -> None:
    lines = file.read_bytes().splitlines(keepends=True)
    for place in (3, len(lines)):
        file.write_bytes(b"".join([*lines[:place], garbage, *lines[place:]]))
        words = refused(file)
        where = f"the study's journal {file} is damaged: line {place + 1} is no record of Optuna"
        assert words.startswith(f"{where} ({garbage[:40]!r}); ")
        assert words.endswith(
            "the file from a copy, or another one (--storage FILE) with a new study, would do"
        )


def test_damage_is_told_before_anything_is_cut(file: Path) -> None:
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join([*lines[:3], b"garbage\n", *lines[3:]]) + b'{"op_code"')
    assert "line 4 is no record" in refused(file)


@pytest.mark.parametrize(
    "line",
    [b"3\n", b"[]\n", b"{}\n", b'{"op_code":99}\n', b'{"op_code":0,"worker_id":"a"}\n'],
)
def test_records_that_do_not_fit_together_are_told(file: Path, line: bytes) -> None:
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join([*lines[:2], line, *lines[2:]]))
    assert "holds records that do not fit together (" in refused(file)


@pytest.mark.parametrize(
    "content", [b"hello", b"hello\n", b"\x89PNG\r\n\x1a\n\x00", bytes(100), b"SQLite format 3\x00"]
)
def test_a_file_that_is_no_journal_is_never_cut(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "thesis"
    path.write_bytes(content)
    words = refused(path)
    assert (
        f"is no journal of Optuna: it begins with {content[:11]!r}, and was left as it is; another path"
        in words
    )


def test_what_is_no_file_is_told(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name, what in (("folder", "it is a folder, not a file"), ("pipe", "it is a named pipe, not a file")):
        assert f"{what}; the path of a journal file would do" in refused(tmp_path / name)
    (tmp_path / "file").touch()
    with pytest.raises(TrackingError, match=r"cannot be opened: File exists"):
        open_storage(str(tmp_path / "file" / "journal"))


LEFT: dict[str, Callable[[Path, Path], object]] = {
    "a link to the journal": lambda lock, file: lock.symlink_to(file),
    "a link to nothing": lambda lock, file: lock.symlink_to("nowhere"),
    "a link to itself": lambda lock, file: lock.symlink_to(lock),
    "a link to a folder": lambda lock, file: lock.symlink_to("/"),
    "a link to what always changes": lambda lock, file: lock.symlink_to("/proc/self/status"),
    "a file": lambda lock, file: lock.touch(),
}


@pytest.mark.parametrize("kind", LEFT)
def test_a_lock_that_was_left_ends_soon_whatever_it_points_to(
    file: Path, kind: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(journal, "GRACE", 0.5)
    lock = Path(f"{file}.lock")
    LEFT[kind](lock, file)
    begun = time.monotonic()
    study_in(file).set_user_attr("key", "word")
    assert 0.5 < time.monotonic() - begun < 5
    assert not lock.is_symlink()
    assert not lock.exists()
    (words,) = told(caplog)
    assert words.startswith(f"{lock}: a lock that a killed process left; removed after")


def test_a_lock_of_a_killed_search_is_no_wait_at_all(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    code = "import os, pathlib, sys; from litemkd.search.journal import JournalLock; "
    code += f"JournalLock(pathlib.Path({str(file)!r})).acquire(); os.kill(os.getpid(), 9)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == -signal.SIGKILL
    assert Path(f"{file}.lock").exists()
    begun = time.monotonic()
    study_in(file).set_user_attr("key", "word")
    assert time.monotonic() - begun < 2
    assert told(caplog) == []


@pytest.mark.parametrize("kind", [JournalFileSymlinkLock, JournalFileOpenLock])
def test_a_lock_of_a_live_program_is_waited_for(file: Path, kind: type) -> None:
    """Optuna's own programs, such as its dashboard, know only their lock; and they wait for ours."""
    theirs = kind(str(file))
    theirs.acquire()
    found: list[optuna.Study] = []
    opening = threading.Thread(target=lambda: found.append(study_in(file)))
    opening.start()
    opening.join(1)
    assert not found
    theirs.release()
    opening.join(20)
    assert found
    with journal.JournalLock(file):
        waiting = threading.Thread(target=theirs.acquire)
        waiting.start()
        waiting.join(0.5)
        assert waiting.is_alive()
    waiting.join(20)
    theirs.release()


def test_a_folder_in_the_place_of_a_lock_is_told(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "GRACE", 0.2)
    lock = Path(f"{file}.lock")
    lock.mkdir()
    with pytest.raises(TrackingError, match=r"optuna\.journal\.lock cannot be removed .*remove it by hand"):
        study_in(file)
    lock.rmdir()
    Path(f"{file}.queue.lock").mkdir()
    with (
        pytest.raises(
            StorageError, match=r"cannot lock .*\.queue\.lock: it is a folder, not a file; remove it"
        ),
        exclusive(str(file), "queue"),
    ):
        pass
