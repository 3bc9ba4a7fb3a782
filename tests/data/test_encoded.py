"""Encoded packs: the JPEGs' own size, and the very pixels, digest and crops of raw packs."""

import json
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from litemkd.data.frames import write_frames
from litemkd.data.packs import encoded
from litemkd.data.packs.crops import crop_clips
from litemkd.data.packs.encoded import AUTO, ENCODED, RAW
from litemkd.data.packs.pack import ClipsError, Making, build_pack
from litemkd.errors import DataError

NAMES = tuple(f"run/v{n}" for n in range(6))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for n, name in enumerate(NAMES):
        size = (72, 96) if n % 2 else (100, 64)
        small = rng.integers(0, 256, (8, 9, 9, 3), dtype=np.uint8)
        frames = np.stack([np.asarray(Image.fromarray(f).resize(size[::-1])) for f in small])
        write_frames(folder / "rgb_l8" / name, frames)
    return folder


@pytest.mark.parametrize("short_side", [None, 48])
def test_pixels_digest_and_crops_are_those_of_the_raw_pack(made, short_side):
    raw, other = (build_pack(made, "rgb", 8, NAMES, short_side, how=Making(form)) for form in (RAW, ENCODED))
    assert other.encoded
    assert not raw.encoded
    assert raw.folder != other.folder
    assert other.digest == raw.digest
    again = pickle.loads(pickle.dumps(other))
    for row in range(len(NAMES)):
        assert np.array_equal(raw.clip(row), other.clip(row))
        assert np.array_equal(raw.clip(row), again.clip(row))
        assert raw.size(row) == other.size(row)
    with pytest.raises(ValueError, match="read-only"):
        other.clip(0)[0] = 0
    rows = np.arange(len(NAMES))
    for settings in ({}, {"scale": (0.6, 1.0)}):
        crops = [crop_clips(p, rows, 40, rng=np.random.default_rng(3), **settings) for p in (raw, other)]
        assert np.array_equal(*crops)
    assert np.array_equal(crop_clips(raw, rows, 40), crop_clips(other, rows, 40))


def test_it_takes_the_space_of_the_jpegs_and_one_percent(made):
    pack = build_pack(made, "rgb", 8, NAMES, None, how=Making(ENCODED))
    jpegs = sum(path.stat().st_size for path in (made / "rgb_l8").rglob("*.jpg"))
    assert (pack.folder / "frames.bin").stat().st_size == jpegs


def test_every_decoder_gives_the_same_pixels(made):
    pack = build_pack(made, "rgb", 8, NAMES, None, how=Making(ENCODED))
    index = json.loads((pack.folder / "index.json").read_text())
    expected = [build_pack(made, "rgb", 8, NAMES, None).clip(row) for row in range(2)]
    candidates = encoded.Decoding(index["decoders"], None).candidates
    assert "pillow" in candidates
    for decode in candidates.values():
        pack._decoding.decode = decode
        assert all(np.array_equal(pack.clip(row), expected[row]) for row in range(2))


def test_a_decoder_with_other_pixels_is_not_taken(made, monkeypatch):
    monkeypatch.setattr(
        encoded, "decoders", lambda: {"wrong 1.0": lambda data, name: np.zeros((72, 96, 3), np.uint8)}
    )
    files, frames = encoded.read_encoded(sorted((made / "rgb_l8" / NAMES[1]).glob("*.jpg")))
    assert encoded.agreeing(files, frames, NAMES[:1] * 8) == []
    assert list(encoded.Decoding(["wrong 0.9"], None).candidates) == ["pillow"]  # of another version


def test_auto_takes_what_is_there_and_else_goes_by_memory(made, tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO")
    for name in NAMES:
        frames = build_pack(made, "rgb", 8, NAMES, None).clip(NAMES.index(name))
        write_frames(tmp_path / "rgb_l8" / name, frames)
    monkeypatch.setattr(encoded.psutil, "virtual_memory", lambda: SimpleNamespace(total=1000))
    first = build_pack(tmp_path, "rgb", 8, NAMES, None, how=Making(AUTO))
    assert first.encoded
    assert "the memory is 0.0 GB; data.pack=raw would have it otherwise" in caplog.text
    monkeypatch.undo()
    assert build_pack(tmp_path, "rgb", 8, NAMES, None, how=Making(AUTO)).folder == first.folder
    assert not build_pack(tmp_path, "rgb", 8, NAMES[:3], None, how=Making(AUTO)).encoded


def test_what_is_cut_short_or_changed_is_told_or_made_anew(made, tmp_path):
    for name in NAMES[:2]:
        write_frames(
            tmp_path / "rgb_l8" / name, build_pack(made, "rgb", 8, NAMES, None).clip(NAMES.index(name))
        )
    pack = build_pack(tmp_path, "rgb", 8, NAMES[:2], None, how=Making(ENCODED))
    file = pack.folder / "frames.bin"
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(DataError, match="was cut short"):
        pack.clip(1)
    mended = build_pack(tmp_path, "rgb", 8, NAMES[:2], None, how=Making(ENCODED))
    expected = mended.clip(1)
    assert expected.shape == (8, 72, 96, 3)
    content = bytearray(file.read_bytes())
    content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
    file.write_bytes(content)
    checked = build_pack(tmp_path, "rgb", 8, NAMES[:2], None, how=Making(ENCODED, verify=True))
    assert checked.digest == pack.digest
    assert np.array_equal(checked.clip(1), expected)


def test_a_damaged_frame_is_told_when_the_pack_is_made(made, tmp_path):
    write_frames(tmp_path / "rgb_l8" / NAMES[0], build_pack(made, "rgb", 8, NAMES, None).clip(0))
    frame = tmp_path / "rgb_l8" / NAMES[0] / "3.jpg"
    frame.write_bytes(frame.read_bytes()[:300])
    with pytest.raises(ClipsError, match=r"3\.jpg"):
        build_pack(tmp_path, "rgb", 8, NAMES[:1], None, how=Making(ENCODED))
