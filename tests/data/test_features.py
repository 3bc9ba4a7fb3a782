"""Features on disk: found by name, refused with words."""

import pickle

import numpy as np
import pytest

from litemkd.data import features as module
from litemkd.data.features import feature_folder, made_from, read_features, write_features
from litemkd.errors import DataError

RNG = np.random.default_rng(0)
VALUES = {f"c{i % 2}/v{i}": RNG.standard_normal((8, 6)).astype(np.float32) for i in range(5)}


@pytest.fixture
def folder(tmp_path):
    write_features(tmp_path / "feature" / "rgb", VALUES, {"weights": "abc"})
    return tmp_path / "feature" / "rgb"


def put(folder, name, array):
    """Replace the features of a video by a plain file."""
    (path,) = (folder / name).glob("*.npy")
    path.unlink()
    np.save(folder / name / "00.npy", array)


def refused(folder, videos=tuple(VALUES), frames=8):
    with pytest.raises(DataError) as caught:
        read_features(folder, videos, frames)
    return str(caught.value)


def test_order_is_of_the_names_asked_for(folder):
    names = list(VALUES)[::-1]
    back = read_features(folder, names, 8)
    assert back.shape == (5, 8, 6)
    assert back.dtype == np.float32
    for row, name in zip(back, names, strict=True):
        np.testing.assert_array_equal(row, VALUES[name])


def test_any_file_name_and_floating_type_will_do(folder):
    put(folder, "c0/v0", VALUES["c0/v0"].astype(np.float64) * 2)
    np.testing.assert_array_equal(read_features(folder, ["c0/v0"], 8)[0], VALUES["c0/v0"] * 2)


def test_a_missing_video_shifts_nothing(folder):
    (folder / "c1/v1" / module.FILE).unlink()
    np.testing.assert_array_equal(read_features(folder, ["c0/v2"], 8)[0], VALUES["c0/v2"])
    told = refused(folder)
    assert told.startswith(
        f"{folder}: no features for 1 of 5 videos: c1/v1; each needs a folder <class>/<video>"
    )


def test_many_missing_are_counted(tmp_path):
    told = refused(tmp_path, [f"c/v{i}" for i in range(9)])
    assert "9 of 9 videos: c/v0, c/v1, c/v2, c/v3, c/v4 and 4 more;" in told


@pytest.mark.parametrize("shape", [(7, 6), (8,), (8, 6, 1)])
def test_wrong_shape(folder, shape):
    put(folder, "c0/v2", np.zeros(shape, np.float32))
    told = refused(folder)
    assert "c0/v2/00.npy" in told
    assert f"features of shape {shape}; (8, 6) would do" in told


def test_wrong_frames_of_the_first(folder):
    assert "features of shape (8, 6); (16, D) would do" in refused(folder, frames=16)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_not_finite(folder, bad):
    array = VALUES["c1/v3"].copy()
    array[0, :2] = bad
    put(folder, "c1/v3", array)
    told = refused(folder)
    assert "c1/v3/00.npy" in told
    assert "found 2 NaN or infinite values" in told


@pytest.mark.parametrize("kind", [np.int64, np.complex64, "U3"])
def test_wrong_type(folder, kind):
    put(folder, "c0/v0", np.zeros((8, 6), kind))
    assert f"found values of type {np.dtype(kind)}" in refused(folder)


class Marker:
    hit = False

    def __reduce__(self):
        return (setattr, (Marker, "hit", True))


def test_a_pickled_array_is_refused_and_not_run(folder):
    array = np.empty((8, 6), object)
    array[:] = [[Marker()] * 6] * 8
    (folder / "c0/v0" / module.FILE).unlink()
    np.save(folder / "c0/v0" / "00.npy", array, allow_pickle=True)
    (folder / "c0/v2" / module.FILE).write_bytes(pickle.dumps(Marker()))
    Marker.hit = False
    for name in ("c0/v0", "c0/v2"):
        told = refused(folder, [name])
        assert name in told
        assert "not readable as a NumPy array" in told
    assert not Marker.hit


@pytest.mark.parametrize("keep", [0, 3, 60, 200])
def test_damaged_file(folder, keep):
    path = folder / "c0/v0" / module.FILE
    path.write_bytes(path.read_bytes()[:keep])
    assert f"{path}: not readable as a NumPy array" in refused(folder)


def test_an_archive_in_the_place_of_an_array(folder):
    path = folder / "c0/v0" / module.FILE
    with path.open("wb") as file:
        np.savez(file, a=np.zeros((8, 6), np.float32))
    assert f"{path}: " in refused(folder)


def test_no_videos_at_all(folder):
    assert "no video" in refused(folder, [])


def test_origin_is_recorded_last(tmp_path, monkeypatch):
    folder = tmp_path / "depth"
    assert made_from(folder) is None
    write_features(folder, VALUES, {"weights": "one"})
    assert made_from(folder) == {"weights": "one"}

    def full(array, path):
        path.write_bytes(b"x")
        raise OSError("disk full")

    monkeypatch.setattr(module, "_save", full)
    with pytest.raises(OSError, match="disk full"):
        write_features(folder, {"c0/v0": np.zeros((8, 6))}, {"weights": "two"})
    assert made_from(folder) == {}  # ours, and of no known origin until all is written
    assert [path.name for path in (folder / "c0/v0").iterdir()] == [module.FILE]
    np.testing.assert_array_equal(read_features(folder, ["c0/v0"], 8)[0], VALUES["c0/v0"])


@pytest.mark.parametrize("text", ["[1]", "{", ""])
def test_a_damaged_record_is_no_record(folder, text):
    (folder / module.RECORD).write_text(text)
    assert made_from(folder) is None


def test_released_folder_is_found_first(tmp_path):
    assert feature_folder(tmp_path, "rgb") == tmp_path / "feature" / "rgb"
    (tmp_path / "feature" / "rgb").mkdir(parents=True)
    assert feature_folder(tmp_path, "rgb") == tmp_path / "feature" / "rgb"
    (tmp_path / "feature" / "rgb_features").mkdir()
    assert feature_folder(tmp_path, "rgb") == tmp_path / "feature" / "rgb_features"
