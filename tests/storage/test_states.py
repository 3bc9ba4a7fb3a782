"""Checkpoints of a training: whole or seen to be damaged, the last few, on a disk whose use is known."""

import logging

import pytest
import torch

from litemkd.errors import CheckpointError
from litemkd.storage.states import CheckpointFolder

IDENTITY = {"stage": "test"}


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def saved(tmp_path):
    """A folder with the states 4 and 5 of five."""
    folder = CheckpointFolder(tmp_path / "run", IDENTITY, keep=2)
    for number in range(1, 6):
        folder.save({"number": number, "w": torch.full((100,), float(number))})
    return folder


def test_the_last_few_are_kept_the_newest_first(saved):
    assert len(names(saved.folder)) == 2
    assert [path.name.split("-")[1] for path in saved.states] == ["000005", "000004"]
    state = CheckpointFolder(saved.folder, IDENTITY).load()
    assert state["number"] == 5
    assert torch.equal(state["w"], torch.full((100,), 5.0))


def torn(content):
    return content[: len(content) // 2]


def flipped(content):
    place = content.index(b"\x00\x00\xa0\x40")  # 5.0, in the middle of the weights
    return content[:place] + b"\x00\x00\xa1\x40" + content[place + 4 :]


@pytest.mark.parametrize("damage", [torn, flipped, lambda content: b"", lambda content: b"{}" * 500])
def test_of_a_damaged_newest_one_the_one_before_is_used(saved, damage, caplog):
    newest, before = saved.states
    newest.write_bytes(damage(newest.read_bytes()))
    again = CheckpointFolder(saved.folder, IDENTITY, keep=2)
    with caplog.at_level(logging.WARNING):
        assert again.load()["number"] == 4
    assert caplog.messages == [f"{newest}: damaged, it is not what was written; the state before it is used"]
    again.save({"number": 6})  # the damaged one does not count among those that are kept
    assert [path.name.split("-")[1] for path in again.states] == ["000006", "000004"]
    assert before in again.states
    assert CheckpointFolder(saved.folder, IDENTITY).load()["number"] == 6


def test_none_that_is_whole_is_an_error_and_none_at_all_is_not(saved, tmp_path):
    for path in saved.states:
        path.write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"run: damaged, none of its 2 states is whole; leave out"):
        CheckpointFolder(saved.folder, IDENTITY).load()
    assert CheckpointFolder(tmp_path / "nothing", IDENTITY).load() is None


def test_halves_of_killed_processes_do_not_pile_up(saved):
    for pid in range(5):
        (saved.folder / f".new.pt.{pid}.part").write_bytes(b"half")
    (saved.folder / "new.pt").write_bytes(b"written, and not renamed")
    saved.save({"number": 6})
    assert len(names(saved.folder)) == 2
    saved.clear()
    assert names(saved.folder) == []


def test_a_state_is_taken_over_from_another_folder(saved, tmp_path):
    torch.save({"model": {}}, saved.best)
    newest = saved.states[0]
    newest.write_bytes(b"")
    other = CheckpointFolder(tmp_path / "other", {"stage": "changed"})
    other.save({"number": 99})
    other.adopt(CheckpointFolder(saved.folder, {}))
    assert other.load()["number"] == 4
    assert len(other.states) == 1
    assert other.best.read_bytes() == saved.best.read_bytes()
    assert newest.exists()  # what was there is left as it was
    same = CheckpointFolder(tmp_path / "elsewhere" / "run", IDENTITY)
    same.save({"number": 7})
    same.adopt(CheckpointFolder(saved.folder, {}))
    assert same.load()["number"] == 7


def test_when_the_next_one_is_due(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("litemkd.storage.states.time.monotonic", lambda: now[0])
    folder = CheckpointFolder(tmp_path, IDENTITY, seconds=60)
    assert not folder.due()
    now[0] += 60
    assert folder.due()
    folder.save({})
    assert not folder.due()
    assert CheckpointFolder(tmp_path, IDENTITY, seconds=0).due()
