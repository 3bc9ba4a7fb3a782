"""Packs of arrays by frame: read once, checked, and given to experts at as many steps as they want."""

from __future__ import annotations

import json
import pickle
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from litemkd.data.packs.arrays import ArrayPack, ArraySource, build_array_pack, resampled
from litemkd.data.packs.clips import Augmentation
from litemkd.data.preparing.arrays import find_arrays
from litemkd.data.preparing.modality import Place
from litemkd.data.splits import make_split
from litemkd.errors import DataError
from litemkd.modalities.record import Modality

NAMES = ["run/a", "run/b", "jump/a"]


class Sensor(Modality):
    kind = "arrays"


RECORD = Sensor("sensor")


@dataclass
class Taker:
    takes: tuple[int, ...] = (6, 3)
    window: float = 0.2

    def vary(self, clip: np.ndarray, rng: np.random.Generator, flip: bool) -> np.ndarray:
        return clip + rng.random()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for place, name in enumerate(NAMES):
        path = tmp_path / "sensor" / f"{name}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, rng.normal(size=(8 + place, 3)))
    return tmp_path


def pack_of(source: Path, names: list[str] | None = None, **more: bool) -> ArrayPack:
    found = find_arrays(Place(source, source, T=4), RECORD, names or NAMES)
    return build_array_pack(source, RECORD, found.files, 4, **more)


def test_a_pack_holds_what_files_hold(source: Path) -> None:
    pack = pack_of(source)
    assert (pack.names, pack.shape, pack.frames, pack.bad) == (tuple(NAMES), (3,), "8 to 10", ())
    for row, name in enumerate(NAMES):
        assert np.array_equal(pack.clip(row), np.load(source / f"sensor/{name}.npy").astype(np.float32))
    assert np.array_equal(pickle.loads(pickle.dumps(pack)).clip(2), pack.clip(2))
    assert pack.taken(0, 4).shape == (4, 3)
    again = pack_of(source)
    assert (again.folder, again.digest) == (pack.folder, pack.digest)
    np.save(source / "sensor/run/a.npy", np.zeros((9, 3)))
    other = pack_of(source)
    assert other.digest != pack.digest
    assert not pack.folder.exists()


def test_a_damaged_pack_is_built_anew(source: Path) -> None:
    pack = pack_of(source)
    before, file = pack.clip(0).copy(), pack.folder / "arrays.bin"
    data = bytearray(file.read_bytes())
    data[5] ^= 255
    file.write_bytes(bytes(data))
    assert np.array_equal(pack_of(source, verify=True).clip(0), before)
    file.write_bytes(bytes(data[:-4]))  # cut short: seen without reading it through
    assert np.array_equal(pack_of(source).clip(0), before)


def test_clips_that_do_not_do_are_named_with_the_reason(source: Path) -> None:
    folder = source / "sensor"
    np.save(folder / "run/short.npy", np.zeros((3, 3)))
    np.save(folder / "run/wide.npy", np.zeros((8, 5)))
    np.save(folder / "run/nan.npy", np.full((8, 3), np.nan))
    (folder / "run/no.npy").write_bytes(b"\x93NUMPY broken")
    bad = ["run/short", "run/wide", "run/nan", "run/no", "run/gone"]
    pack = pack_of(source, [*NAMES, *bad])
    assert pack.names == tuple(NAMES)
    told = dict(pack.bad)
    assert told["run/short"] == f"{folder}/run/short.npy: 3 frames; 4 (data.frames) or more would do"
    assert told["run/wide"] == f"{folder}/run/wide.npy: frames of 5; 3, as most clips have, would do"
    assert told["run/nan"].endswith(
        "nan.npy: frame 0 (from 0) has a value that is not a number (NaN or infinite)"
    )
    assert "not readable as a NumPy array" in told["run/no"]
    assert told["run/gone"] == f"there is no {folder}/run/gone.npy"
    with pytest.raises(DataError, match=r"none of 1 clips has sensor:\n  run/gone: there is no"):
        pack_of(source, ["run/gone"])
    with pytest.raises(DataError, match=r"no folder .*/<clip>\.npy, arrays \(frames, \.\.\.\), would do"):
        find_arrays(Place(source, source / "elsewhere"), RECORD, NAMES)


def test_arrays_and_videos_of_quite_other_lengths_are_two_recordings(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("litemkd.data.packs.arrays.count_frames", lambda video: 80 if video.stem == "b" else 16)
    for name in NAMES:
        (source / "videos" / name).parent.mkdir(parents=True, exist_ok=True)
        (source / "videos" / f"{name}.mp4").write_bytes(b"film")
    ((name, why),) = pack_of(source).bad
    assert name == "run/b"
    assert "9 frames, and its video" in why
    assert "b.mp4 has 80, so they are not one recording; 0.25 to 4 times as many would do" in why


def test_in_between_frames_are_mixed() -> None:
    clip = np.array([[0.0], [10.0], [30.0]], np.float32)
    assert resampled(clip, 5)[:, 0].tolist() == [0.0, 5.0, 10.0, 20.0, 30.0]
    assert resampled(clip, 3, 0.25, 0.75)[:, 0].tolist() == [5.0, 10.0, 20.0]
    assert resampled(clip[:1], 4)[:, 0].tolist() == [0.0] * 4


@pytest.mark.parametrize("steps", [1, 2, 7, 40])
def test_times_of_any_number_stay_within_a_clip(steps: int) -> None:
    clip = np.random.default_rng(steps).normal(size=(9, 2, 3)).astype(np.float32)
    found = resampled(clip, steps)
    assert (found.shape, found.dtype) == ((steps, 2, 3), np.float32)
    assert (found <= clip.max(0) + 1e-6).all()
    assert (found >= clip.min(0) - 1e-6).all()
    assert np.array_equal(found[0], clip[0])
    assert np.array_equal(resampled(clip, 9), clip)


def test_training_clips_vary_by_seed_and_episode_alone(source: Path) -> None:
    split = make_split("train", NAMES)
    clips = ArraySource(pack_of(source), split, taker=Taker(), T=4, device=torch.device("cpu"))
    rows = np.array([2, 0])
    whole = clips.centred(rows)
    assert whole.shape == (2, 6, 3)
    assert np.allclose(whole[1].numpy(), resampled(np.load(source / "sensor/run/a.npy"), 6))
    first = clips.augmented(rows, Augmentation(), 1, 5)
    assert torch.equal(first, clips.augmented(rows, Augmentation(), 1, 5))
    assert first.shape == whole.shape
    assert not torch.equal(first, clips.augmented(rows, Augmentation(), 1, 6))
    assert not torch.equal(first, whole)


def test_the_index_of_another_format_is_no_pack(source: Path) -> None:
    pack = pack_of(source)
    index = json.loads((pack.folder / "index.json").read_text())
    (pack.folder / "index.json").write_text(json.dumps({**index, "format": 0}))
    with pytest.raises(DataError, match="no complete pack"):
        ArrayPack(pack.folder, RECORD)
