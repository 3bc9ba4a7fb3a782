"""Packs: the pixels of the JPEGs, made once, made anew when the frames change; and crops taken from them."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from litemkd.data.frames import write_frames
from litemkd.data.packs import pack as packs
from litemkd.data.packs.crops import crop_clips
from litemkd.data.packs.pack import FramePack, Making, build_pack
from litemkd.errors import DataError
from litemkd.recordings.videos import resize_short
from tests.data.recordings import clip_of

NAMES = ("run/v2", "run/v1", "jump/v1")
SIZES = ((24, 32), (24, 32), (40, 30))


@pytest.fixture
def dataset(tmp_path):
    rng = np.random.default_rng(0)
    for name, size in zip(NAMES, SIZES, strict=True):
        small = rng.integers(0, 256, (8, 5, 5, 3), dtype=np.uint8)
        frames = np.stack([np.asarray(Image.fromarray(f).resize(size[::-1])) for f in small])
        write_frames(tmp_path / "rgb_l8" / name, frames)
    return tmp_path


def folders(dataset: Path) -> list[str]:
    return sorted(path.name for path in (dataset / "packs").iterdir() if path.is_dir())


def test_a_pack_holds_the_pixels_of_the_jpegs(dataset):
    pack = build_pack(dataset, "rgb", 8, NAMES, None)
    assert pack.names == NAMES
    assert len(pack) == 3
    for row, name in enumerate(NAMES):
        assert pack.size(row) == SIZES[row]
        assert np.array_equal(pack.clip(row), clip_of(dataset / "rgb_l8" / name, 8))
    assert pack.rows(["jump/v1", "run/v2"]).tolist() == [2, 0]
    with pytest.raises(ValueError, match="read-only"):
        pack.clip(0)[0] = 0


def test_frames_are_resized_only_where_the_short_side_differs(dataset):
    pack = build_pack(dataset, "rgb", 8, NAMES, 24, workers=2)
    assert np.array_equal(pack.clip(0), clip_of(dataset / "rgb_l8" / NAMES[0], 8))
    expected = np.stack([resize_short(frame, 24) for frame in clip_of(dataset / "rgb_l8" / NAMES[2], 8)])
    assert expected.shape == (8, 32, 24, 3)
    assert np.array_equal(pack.clip(2), expected)


def test_l8_of_the_original_release_is_read(dataset):
    (dataset / "rgb_l8").rename(dataset / "l8")
    assert len(build_pack(dataset, "rgb", 8, NAMES, None)) == 3
    with pytest.raises(DataError, match=r"no flow frames: no folder .*flow_l8; prepare them first"):
        build_pack(dataset, "flow", 8, NAMES, None)


def test_built_once_and_anew_when_a_frame_changes(dataset, monkeypatch):
    first = build_pack(dataset, "rgb", 8, NAMES, None)
    monkeypatch.setattr(packs, "read_files", lambda paths: pytest.fail("built again"))
    again = build_pack(dataset, "rgb", 8, NAMES, None)
    assert again.folder == first.folder
    assert again.digest == first.digest
    monkeypatch.undo()
    frame = dataset / "rgb_l8" / "run/v1" / "3.jpg"
    Image.fromarray(np.zeros((24, 32, 3), np.uint8)).save(frame)
    changed = build_pack(dataset, "rgb", 8, NAMES, None)
    assert changed.digest != first.digest
    assert (changed.clip(1)[2] == 0).all()
    assert folders(dataset) == [changed.folder.name]
    # Another choice of clips or size is another pack; it does not push the first one out.
    build_pack(dataset, "rgb", 8, NAMES[:2], None)
    build_pack(dataset, "rgb", 8, NAMES, 16)
    assert len(folders(dataset)) == 3


def test_the_digest_is_of_the_content_not_of_times_or_places(dataset, tmp_path):
    first = build_pack(dataset, "rgb", 8, NAMES, None)
    for path in (dataset / "rgb_l8").rglob("*.jpg"):
        os.utime(path, ns=(1, 1))
    touched = build_pack(dataset, "rgb", 8, NAMES, None)
    assert touched.folder != first.folder
    assert touched.digest == first.digest
    assert build_pack(dataset, "rgb", 8, NAMES[::-1], None).digest != first.digest


def test_what_a_killed_build_or_a_damaged_file_left_is_replaced(dataset):
    pack = build_pack(dataset, "rgb", 8, NAMES, None)
    expected = pack.clip(2).copy()
    with (pack.folder / "frames.bin").open("r+b") as handle:
        handle.truncate(100)
    with pytest.raises(DataError, match="is no complete pack of format 1; delete it"):
        FramePack(pack.folder)
    for name in (f".building_{pack.folder.name}", f".{pack.folder.name}.4711"):
        left = dataset / "packs" / name
        left.mkdir()
        (left / "frames.bin").write_bytes(b"half")
    assert np.array_equal(build_pack(dataset, "rgb", 8, NAMES, None).clip(2), expected)
    assert folders(dataset) == [pack.folder.name]


def test_pixels_that_changed_at_equal_size_are_found_when_asked(dataset, caplog):
    pack = build_pack(dataset, "rgb", 8, NAMES, None)
    whole = pack.clip(1).copy()
    build_pack(dataset, "rgb", 8, NAMES, None, how=Making(verify=True))
    assert not caplog.messages
    with (pack.folder / "frames.bin").open("r+b") as file:
        file.seek(pack.clip(0).nbytes + 5)
        file.write(bytes([whole.reshape(-1)[5] ^ 1]))
    assert not np.array_equal(build_pack(dataset, "rgb", 8, NAMES, None).clip(1), whole)  # not asked
    mended = build_pack(dataset, "rgb", 8, NAMES, None, how=Making(verify=True))
    assert caplog.messages == [f"{pack.folder}: damaged, its pixels are not what was packed; it is built anew"]
    assert np.array_equal(mended.clip(1), whole)
    assert mended.digest == pack.digest


def test_processes_that_ask_at_once_share_one_build(dataset):
    code = (
        "import sys, pathlib; from litemkd.data.packs.pack import build_pack;"
        "print(build_pack(pathlib.Path(sys.argv[1]), 'rgb', 8, sys.argv[2:], None).digest)"
    )
    command = [sys.executable, "-c", code, str(dataset), *NAMES]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    digests = {process.communicate()[0] for process in running}
    assert [process.returncode for process in running] == [0, 0, 0]
    assert digests == {build_pack(dataset, "rgb", 8, NAMES, None).digest + "\n"}
    assert len(folders(dataset)) == 1


def test_another_process_opens_the_same_file(dataset):
    pack = build_pack(dataset, "rgb", 8, NAMES, None)
    data = pickle.dumps(pack)
    assert len(data) < 1000
    assert np.array_equal(pickle.loads(data).clip(1), pack.clip(1))


def test_all_bad_clips_are_named_at_once(dataset):
    (dataset / "rgb_l8/run/v2/8.jpg").unlink()
    frame = dataset / "rgb_l8/jump/v1/2.jpg"
    (dataset / "rgb_l8/run/v1/8.jpg").rename(dataset / "elsewhere.jpg")
    (dataset / "rgb_l8/run/v1/8.jpg").symlink_to(dataset / "gone.jpg")
    with pytest.raises(DataError) as caught:
        build_pack(dataset, "rgb", 8, [*NAMES, "run/v9"], None)
    assert "3 of 4 clips cannot be packed" in str(caught.value)
    assert "run/v1/8.jpg: No such file" in str(caught.value)
    assert "run/v2 has 7 frames; at least 8 are needed" in str(caught.value)
    assert "run/v9 (No such file or directory)" in str(caught.value)
    (dataset / "elsewhere.jpg").replace(dataset / "rgb_l8/run/v1/8.jpg")
    frame.write_bytes(frame.read_bytes()[:-80])
    with pytest.raises(
        DataError, match=r"1 of 2 clips cannot be packed:\n  cannot read frame .*jump/v1/2\.jpg"
    ):
        build_pack(dataset, "rgb", 8, NAMES[1:], None)
    assert folders(dataset) == []


def test_other_mistakes_are_named(dataset):
    with pytest.raises(DataError, match="given 3, repeated 1: run/v1"):
        build_pack(dataset, "rgb", 8, ["run/v1", "run/v1", "run/v2"], None)
    with pytest.raises(DataError, match="given 0"):
        build_pack(dataset, "rgb", 8, [], None)
    pack = build_pack(dataset, "rgb", 8, NAMES, None)
    with pytest.raises(DataError, match=r"the rgb pack .* lacks 7 clips: x/0, .*, x/4 and 2 more; prepare"):
        pack.rows([f"x/{i}" for i in range(7)])


def flow_pack(dataset: Path) -> FramePack:
    (dataset / "rgb_l8").rename(dataset / "flow_l8")
    (dataset / "flow_l8" / "prepare.json").write_text(json.dumps({"encoding": "flow_xy"}))
    return build_pack(dataset, "flow", 8, NAMES, None)


def test_centre_crops(dataset):
    pack = build_pack(dataset, "rgb", 8, NAMES, None)
    crops = crop_clips(pack, [2, 0], 20)
    assert crops.shape == (2, 8, 20, 20, 3)
    assert np.array_equal(crops[0], pack.clip(2)[:, 10:30, 5:25])
    assert np.array_equal(crops[1], pack.clip(0)[:, 2:22, 6:26])


def test_random_crops_are_one_place_and_one_flip_for_a_clip(dataset):
    pack = build_pack(dataset, "rgb", 8, NAMES, None)
    rng = np.random.default_rng(5)
    places, flips = set(), 0
    for _ in range(40):
        crop = crop_clips(pack, [0], 20, rng)[0]
        clip = pack.clip(0)
        matches = [
            (y, x, mirrored)
            for y in range(5)
            for x in range(13)
            for mirrored in (False, True)
            if np.array_equal(crop, clip[:, y : y + 20, x : x + 20][:, :, :: -1 if mirrored else 1])
        ]
        assert len(matches) == 1
        places.add(matches[0][:2])
        flips += matches[0][2]
    assert len(places) > 20
    assert 8 <= flips <= 32
    assert np.array_equal(
        crop_clips(pack, [0, 2], 20, np.random.default_rng(1)),
        crop_clips(pack, [0, 2], 20, np.random.default_rng(1)),
    )


def test_flip_off_and_scale(dataset):
    pack = build_pack(dataset, "rgb", 8, NAMES, None)
    plain = crop_clips(pack, [0] * 10, 20, np.random.default_rng(0), flip=False)
    assert any(
        np.array_equal(plain[0], pack.clip(0)[:, y:][:, :20, x : x + 20]) for x in range(13) for y in range(5)
    )
    assert np.array_equal(
        plain, crop_clips(pack, [0] * 10, 20, np.random.default_rng(0), flip=False, scale=(1, 1))
    )
    whole = crop_clips(pack, [0], 20, np.random.default_rng(0), flip=False, scale=(0.9999, 0.9999))[0]
    candidates = [pack.clip(0)[:, :, x : x + 24] for x in range(9)]
    shrunk = [np.stack([resize_short(frame, 20) for frame in clip]) for clip in candidates]
    assert any(np.array_equal(whole, clip) for clip in shrunk)
    zoomed = crop_clips(pack, [0] * 4, 20, np.random.default_rng(0), flip=False, scale=(0.5, 0.6))
    assert zoomed.shape == (4, 8, 20, 20, 3)
    assert len({crop.tobytes() for crop in zoomed}) == 4


@pytest.mark.parametrize("scale", [None, (0.5, 1.0)])
def test_random_crops_are_what_cutting_resizing_and_mirroring_frame_by_frame_give(dataset, scale):
    pack = build_pack(dataset, "rgb", 8, NAMES, None)
    rows = [0, 2, 1] * 4
    crops = crop_clips(pack, rows, 20, np.random.default_rng(9), scale=scale)
    smallest, largest = scale or (1, 1)
    draws = np.random.default_rng(9).random((len(rows), 4))
    for crop, row, (by_scale, down, across, by_flip) in zip(crops, rows, draws, strict=True):
        height, width = SIZES[row]
        side = round((smallest + (largest - smallest) * by_scale) * min(height, width)) if scale else 20
        top, left = int(down * (height - side + 1)), int(across * (width - side + 1))
        for frame, given in zip(crop, pack.clip(row), strict=True):
            expected = resize_short(given[top : top + side, left : left + side], 20)
            assert np.array_equal(frame, expected[:, ::-1] if by_flip < 0.5 else expected)


def test_options_do_not_change_the_numbers_drawn(dataset):
    pack = build_pack(dataset, "rgb", 8, NAMES, None)
    after = []
    for options in ({}, {"flip": False}, {"scale": (0.9, 1.0)}):
        rng = np.random.default_rng(2)
        crop_clips(pack, [0, 1], 20, rng, **options)
        after.append(rng.random())
    assert len(set(after)) == 1


def test_mirrored_flow_changes_the_sign_of_dx(dataset):
    pack = flow_pack(dataset)
    assert pack.signed
    for seed in range(20):
        plain = crop_clips(pack, [0], 24, np.random.default_rng(seed), flip=False)
        crop = crop_clips(pack, [0], 24, np.random.default_rng(seed))
        if not np.array_equal(plain, crop):
            break
    expected = plain[:, :, :, ::-1].astype(int)
    assert np.array_equal(crop[..., 1:], expected[..., 1:])
    assert np.array_equal(crop[..., 0], np.minimum(256 - expected[..., 0], 255))


def test_a_crop_larger_than_the_frame_is_refused(dataset):
    pack = build_pack(dataset, "rgb", 8, NAMES, None)
    with pytest.raises(
        DataError, match=r"run/v1 \(rgb\) has frames of 32x24 in the pack, too small for a crop of 28"
    ):
        crop_clips(pack, [2, 1], 28)
