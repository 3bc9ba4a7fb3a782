"""Pictures: turned as EXIF says, bounded in what is made of them."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from litemkd.data.finding.loose import centre_crops, read_centre
from litemkd.data.frames import decode_frame, frame_size, is_stored_turned, read_frame, write_frames
from litemkd.data.packs.pack import build_pack
from litemkd.errors import DataError
from litemkd.modalities.depth import read_depth_map
from litemkd.storage.pictures import upright, upright_size


def exif(orientation: int) -> Image.Exif:
    data = Image.Exif()
    data[0x0112] = orientation
    return data


def stored(form: str, orientation: int | None, width: int = 80, height: int = 60) -> bytes:
    """A picture with a mark in its top left corner."""
    pixels = np.full((height, width, 3), 90, np.uint8)
    pixels[: height // 3, : width // 2] = (250, 40, 40)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, form, **({} if orientation is None else {"exif": exif(orientation)}))
    return out.getvalue()


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_all_eight_ways_to_hold_a_camera(tmp_path: Path, form: str, orientation: int) -> None:
    path = tmp_path / "1.jpg"
    path.write_bytes(stored(form, orientation))
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    assert np.array_equal(read_frame(path), expected)
    assert frame_size(path) == expected.shape[:2] == ((60, 80) if orientation < 5 else (80, 60))
    assert is_stored_turned(path) is (orientation > 1)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data", "ignore:Possibly corrupt EXIF data")
def test_upright_pictures_and_damaged_exif_are_as_they_are() -> None:
    plain = decode_frame(stored("JPEG", None), "x")
    assert plain.shape == (60, 80, 3)
    whole = stored("JPEG", 6)
    start = whole.index(b"Exif\0\0") + 6
    for at, bytes_ in (
        (0, b"XX"),
        (4, struct.pack(">I", 9999)),
        (8, b"\0\0"),
        (12, b"\0\7"),
        (18, b"\0\x63"),
    ):
        changed = whole[: start + at] + bytes_ + whole[start + at + len(bytes_) :]
        assert np.array_equal(decode_frame(changed, "x"), plain), at


def test_a_png_that_says_it_at_its_end(tmp_path: Path) -> None:
    whole = stored("PNG", 6)
    place = whole.index(b"eXIf") - 4
    length = 12 + struct.unpack_from(">I", whole, place)[0]
    chunk, without = whole[place : place + length], whole[:place] + whole[place + length :]
    path = tmp_path / "1.png"
    path.write_bytes(without[:-12] + chunk + without[-12:])
    assert read_frame(path).shape == (80, 60, 3)
    assert frame_size(path) == (80, 60)
    assert zlib.crc32(chunk[4:-4]) == struct.unpack(">I", chunk[-4:])[0]


def test_depth_maps_are_turned_as_well(tmp_path: Path) -> None:
    values = np.arange(12, dtype=np.uint16).reshape(3, 4) + 1
    Image.fromarray(values).save(tmp_path / "1.png", exif=exif(6))
    assert np.array_equal(read_depth_map(tmp_path / "1.png"), np.rot90(values, -1))
    with Image.open(tmp_path / "1.png") as image:
        assert upright(image).shape == upright_size(image) == (4, 3)


def turned_clip(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for t in range(8):
        (folder / f"{t + 1}.jpg").write_bytes(stored("JPEG", 6))
    return folder


def test_packs_and_single_clips_agree(tmp_path: Path) -> None:
    clip = turned_clip(tmp_path / "rgb_l8" / "run" / "v1")
    pack = build_pack(tmp_path, "rgb", 8, ["run/v1"], 32)
    assert pack.size(0) == (43, 32)
    row = pack.clip(0)
    assert row[0, 5, 25, 0] > 200 > row[0, 5, 5, 0]  # the mark is top right now
    assert np.array_equal(read_centre(clip, 8, 32, 32), row[:, 5:37])


@pytest.mark.parametrize("turned", [True, False])
def test_packs_of_earlier_versions_are_built_anew_only_where_pictures_are_turned(
    tmp_path: Path, turned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    turned_clip(tmp_path / "rgb_l8" / "run" / "v1")
    write_frames(tmp_path / "rgb_l8" / "run" / "v2", np.full((8, 60, 80, 3), 9, np.uint8))
    names = ["run/v1"] if turned else ["run/v2"]
    pack = build_pack(tmp_path, "rgb", 8, names, None)
    index = pack.folder / "index.json"
    index.write_text(index.read_text().replace(', "upright": true', ""))
    before = index.stat().st_ino, (pack.folder / "frames.bin").stat().st_ino
    again = build_pack(tmp_path, "rgb", 8, names, None)
    assert ((again.folder / "frames.bin").stat().st_ino == before[1]) is not turned
    assert ("made when pictures were not turned as their EXIF data say" in caplog.text) is turned
    assert '"upright": true' in index.read_text()
    stands = index.stat().st_ino
    assert build_pack(tmp_path, "rgb", 8, names, None).digest == pack.digest
    assert index.stat().st_ino == stands  # looked for once


def test_a_thin_picture_is_a_bad_clip(tmp_path: Path) -> None:
    """Within the bounds as it is, 5.9 GB at a short side of 256."""
    clip = tmp_path / "rgb_l8" / "run" / "v1"
    clip.mkdir(parents=True)
    for t in range(8):
        Image.new("RGB", (30_000, 1)).save(clip / f"{t}.png")
    words = (
        f"{clip}/0.png is 30000x1 pixels, and would be 7680000x256 with a short side of 256; at most 40 "
        "million pixels are made"
    )
    with pytest.raises(DataError) as caught:
        build_pack(tmp_path, "rgb", 8, ["run/v1"], 256)
    assert words in str(caught.value)
    assert not list((tmp_path / "packs").glob("rgb*"))
    with pytest.raises(DataError, match=r"v1 is 30000x1 pixels, and would be 7680000x256"):
        read_centre(clip, 8, 256, 224)
    with pytest.raises(DataError, match=r"x is 1x30000 pixels, and would be 256x7680000"):
        centre_crops([np.zeros((30_000, 1, 3), np.uint8)], 256, 224, "x")
