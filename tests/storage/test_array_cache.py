"""Arrays on a cache: made once, whole, the newest few; in memory where they cannot be kept."""

import errno
import logging
import os
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from litemkd.storage.array_cache import DAY, ArrayCache


def counting(value=1.0):
    calls = []

    def fill(array):
        calls.append(array.shape)
        array[:] = value

    return fill, calls


def test_an_array_is_made_once_and_read_again(tmp_path):
    fill, calls = counting()
    for _ in range(2):
        found = ArrayCache(tmp_path / "there").array("a", (3, 2), fill)
        np.testing.assert_array_equal(found, np.ones((3, 2), np.float32))
        assert isinstance(found, np.memmap)
        assert not found.flags.writeable
    assert calls == [(3, 2)]
    assert [path.name for path in (tmp_path / "there").iterdir() if path.suffix == ".npy"] == ["a.npy"]


def test_names_are_apart_and_what_is_damaged_is_made_again(tmp_path):
    cache = ArrayCache(tmp_path)
    cache.array("a", (2,), counting(1.0)[0])
    assert cache.array("b", (2,), counting(2.0)[0]).tolist() == [2, 2]
    path = tmp_path / "a.npy"
    for content in (b"", b"nonsense", path.read_bytes()[:-1]):
        path.write_bytes(content)
        assert cache.array("a", (2,), counting(3.0)[0]).tolist() == [3, 3]
    assert cache.array("a", (4,), counting(5.0)[0]).tolist() == [5] * 4


def test_nothing_is_seen_of_one_that_was_not_finished(tmp_path):
    def fail(array):
        array[0] = 1
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ArrayCache(tmp_path).array("a", (2,), fail)
    assert not list(tmp_path.glob("*.npy"))
    assert not list(tmp_path.glob(".*.part"))


def test_those_not_used_for_longest_make_room(tmp_path):
    cache = ArrayCache(tmp_path, keep=3)
    for place, name in enumerate("abc"):
        cache.array(name, (2,), counting()[0])
        os.utime(tmp_path / f"{name}.npy", (1000 + place, 1000 + place))
    fill, calls = counting()
    cache.array("a", (2,), fill)  # used again
    cache.array("d", (2,), fill)
    assert {path.stem for path in tmp_path.glob("*.npy")} == {"a", "c", "d"}
    assert len(calls) == 1


def test_what_a_killed_process_left_is_taken_away(tmp_path):
    old, new = tmp_path / ".x.npy.1.part", tmp_path / ".y.npy.2.part"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 2 * DAY,) * 2)
    ArrayCache(tmp_path).array("a", (2,), counting()[0])
    assert not old.exists()
    assert new.exists()  # another process may be writing it


@pytest.mark.parametrize("why", ["space", "folder"])
def test_without_room_it_works_in_memory_and_says_so(tmp_path, monkeypatch, caplog, why):
    folder = tmp_path / "there"
    if why == "space":

        def full(*_):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr("os.posix_fallocate", full)
    else:
        folder.write_text("a file is in the way")
    fill, calls = counting(4.0)
    with caplog.at_level(logging.WARNING):
        found = ArrayCache(folder).array("a", (2,), fill)
    assert found.tolist() == [4, 4]
    assert calls == [(2,)]
    assert "cannot keep" in caplog.text
    assert "working in memory instead" in caplog.text
    assert not list(tmp_path.rglob("*.npy*"))


def test_two_at_once_do_not_make_the_same_twice(tmp_path):
    fill, calls = counting(2.0)

    def slowly(array):
        time.sleep(0.2)
        fill(array)

    with ThreadPoolExecutor(2) as pool:  # the lock is on the file: between threads as between processes
        asked = [pool.submit(ArrayCache(tmp_path).array, "a", (2,), slowly) for _ in range(2)]
    assert [one.result().tolist() for one in asked] == [[2, 2], [2, 2]]
    assert len(calls) == 1


def test_what_was_made_of_an_array_in_parts_stays(tmp_path):
    cache, made = ArrayCache(tmp_path), []

    def make(rows, until=100):
        if rows.start >= until:
            raise KeyboardInterrupt
        made.append(rows)
        return np.full((len(rows), 2), rows.start, np.float32)

    with pytest.raises(KeyboardInterrupt):
        cache.in_parts("a", (7, 2), lambda rows: make(rows, until=4), 2)
    assert made == [range(0, 2), range(2, 4)]
    assert not cache.has("a", (7, 2))
    found = cache.in_parts("a", (7, 2), make, 2)
    assert made == [range(0, 2), range(2, 4), range(4, 6), range(6, 7)]
    assert found[:, 0].tolist() == [0, 0, 2, 2, 4, 4, 6]
    assert [path.name for path in tmp_path.iterdir() if path.name != ".lock"] == ["a.npy"]
    np.testing.assert_array_equal(cache.in_parts("a", (7, 2), None, 2), found)


@pytest.mark.parametrize("damage", ["mark", "array", "shape"])
def test_what_was_begun_and_is_damaged_is_begun_anew(tmp_path, damage):
    cache = ArrayCache(tmp_path)

    def make(rows):
        if rows.start >= 2 and len(asked) == 1:
            raise KeyboardInterrupt
        return np.full((len(rows), 2), 5, np.float32)

    asked = [1]
    with pytest.raises(KeyboardInterrupt):
        cache.in_parts("a", (4, 2), make, 2)
    asked.append(2)
    begun = tmp_path / ".a.begun"
    if damage == "mark":
        (tmp_path / ".a.rows").write_text("9")
    elif damage == "array":
        begun.write_bytes(begun.read_bytes()[:-3])
    rows = 3 if damage == "shape" else 4
    assert cache.in_parts("a", (rows, 2), make, 2).tolist() == [[5, 5]] * rows


def test_parts_are_made_in_memory_where_there_is_no_room(tmp_path):
    (tmp_path / "there").write_text("a file is in the way")
    found = ArrayCache(tmp_path / "there").in_parts("a", (3,), lambda rows: np.array(rows, np.float32), 2)
    assert found.tolist() == [0, 1, 2]
