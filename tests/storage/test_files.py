"""Files that appear whole or not at all, and locks."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from litemkd.errors import FULL, StorageError
from litemkd.storage.files import locked, whole_folder, write_text, write_whole


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_and_its_folders_are_made_and_replaced(tmp_path: Path) -> None:
    file = tmp_path / "a" / "b.txt"
    write_text(file, "eins ±\n")
    write_text(file, "zwei")
    assert file.read_bytes() == b"zwei"
    assert names(file.parent) == ["b.txt"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "b.txt"
    write_text(file, "old")

    def half(beside: Path) -> None:
        beside.write_text("ne")
        assert file.read_text() == "old"
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_whole(file, half)
    assert file.read_text() == "old"
    assert names(tmp_path) == ["b.txt"]


@pytest.mark.parametrize("number", FULL)
def test_a_quota_is_a_full_disk(number: int, tmp_path: Path) -> None:
    file = tmp_path / "b.txt"

    def refused(beside: Path) -> None:
        raise OSError(number, os.strerror(number))

    with pytest.raises(StorageError, match=r"^no space left for .*b\.txt \(.*make space there") as caught:
        write_whole(file, refused)
    assert caught.value.errno == number
    with pytest.raises(StorageError, match="no space left"), whole_folder(tmp_path / "folder"):
        refused(file)
    assert names(tmp_path) == []


def test_a_folder_appears_at_the_end_of_the_block(tmp_path: Path) -> None:
    folder = tmp_path / "clips" / "one"
    with whole_folder(folder) as beside:
        (beside / "1.jpg").write_text("1")
        assert not folder.exists()
        assert beside.name.startswith(".one")
    assert names(folder) == ["1.jpg"]
    with whole_folder(folder) as beside:
        (beside / "2.jpg").write_text("2")
    assert names(folder) == ["2.jpg"]
    with pytest.raises(FileExistsError), whole_folder(folder) as beside:  # whatever goes wrong inside
        beside.mkdir()
    assert names(folder) == ["2.jpg"]
    assert names(folder.parent) == ["one"]


def test_a_lock_is_held_until_its_holder_ends(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from litemkd.storage.files import locked\n"
        "with locked(Path('lock')):\n    Path('held').touch(); time.sleep(60)\n"
    )
    root = Path(__file__).parents[2]
    holder = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, env={"PYTHONPATH": str(root)})
    try:
        while not (tmp_path / "held").exists():
            assert holder.poll() is None
            time.sleep(0.02)
        waiting = subprocess.Popen(
            [sys.executable, "-c", code.replace("held", "got").replace("60", "0")],
            cwd=tmp_path,
            env={"PYTHONPATH": str(root)},
        )
        time.sleep(0.7)
        assert waiting.poll() is None
        assert not (tmp_path / "got").exists()
    finally:
        holder.kill()
        holder.wait()
    assert waiting.wait(timeout=20) == 0
    assert (tmp_path / "got").exists()
    with locked(tmp_path / "lock"):  # and is free again
        pass
