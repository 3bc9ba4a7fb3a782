"""A file that holds less than its container says was cut, wherever that was, between two frames too."""

from pathlib import Path

import pytest

from litemkd.errors import DataError
from litemkd.recordings.containers import missing_bytes
from litemkd.recordings.videos import count_frames, read_video
from tests.data.recordings import noisy_frames, write_video

KINDS = {
    "mp4": ("libx264", {}),
    "mp4, index first": ("libx264", {"movflags": "faststart"}),
    "mp4 in fragments": ("libx264", {"movflags": "frag_every_frame+empty_moov"}),
    "mov": ("mpeg4", {}),
    "avi": ("mpeg4", {}),
    "mkv": ("libx264", {}),
    "webm": ("libvpx", {}),
    "wmv": ("wmv2", {}),
}


def make(kind: str, folder: Path) -> Path:
    codec, options = KINDS[kind]
    return write_video(folder / f"v.{kind[:4].strip(' ,')}", noisy_frames(20), codec, options)


@pytest.mark.parametrize("kind", KINDS)
def test_a_cut_recording_is_told(kind: str, tmp_path: Path) -> None:
    path = make(kind, tmp_path)
    whole = path.read_bytes()
    assert missing_bytes(path) == 0
    assert count_frames(path) == 20
    for percent in range(20, 90, 5):
        path.write_bytes(whole[: len(whole) * percent // 100])
        with pytest.raises(DataError) as caught:
            read_video(path, 4, 32)
        size = len(whole) * percent // 100
        assert str(caught.value).startswith(f"cannot read video {path} ({size} bytes): cut")
        with pytest.raises(DataError, match=r"bytes\): cut"):
            count_frames(path)


def test_an_avi_cut_between_two_frames_is_told(tmp_path: Path) -> None:
    path = make("avi", tmp_path)
    whole = path.read_bytes()
    cut = whole.index(b"00dc", len(whole) // 2)
    path.write_bytes(whole[:cut])
    lacks = whole.rindex(b"idx1") - cut
    with pytest.raises(DataError) as caught:
        read_video(path, 4, 32)
    assert str(caught.value) == (
        f"cannot read video {path} ({cut} bytes): cut, {lacks} bytes that its container tells of are missing"
    )
    path.write_bytes(whole[: whole.rindex(b"idx1")])  # the index alone is missing, and no frame
    assert count_frames(path) == 20


def test_a_fragment_without_its_pictures_was_cut(tmp_path: Path) -> None:
    path = make("mp4 in fragments", tmp_path)
    whole = path.read_bytes()
    behind = whole.index(b"mdat", len(whole) // 2) - 4
    for cut in (behind, behind + 7, behind + 8, behind + 9):
        path.write_bytes(whole[:cut])
        with pytest.raises(DataError, match=r"bytes\): cut, \d+ bytes that its container tells of are missing"):
            count_frames(path)


def test_a_live_recording_does_not_say_how_long_it_is(tmp_path: Path) -> None:
    path = make("mkv", tmp_path)
    whole = path.read_bytes()
    at = whole.index(b"\x18\x53\x80\x67") + 4
    path.write_bytes(whole[:at] + b"\x01" + b"\xff" * 7 + whole[at + 8 :])
    assert missing_bytes(path) == 0
    assert count_frames(path) == 20
    path = make("avi", tmp_path)
    whole = path.read_bytes()
    at = whole.index(b"movi") - 4
    path.write_bytes(whole[:at] + b"\xff" * 4 + whole[at + 4 :])
    assert missing_bytes(path) == 0
    path = make("mp4", tmp_path)
    whole = path.read_bytes()
    at = whole.rindex(b"moov") - 4
    path.write_bytes(whole[:at] + b"\0" * 4 + whole[at + 4 :])  # up to the end
    assert missing_bytes(path) == 0
    assert count_frames(path) == 20


def test_other_files_say_nothing(tmp_path: Path) -> None:
    for content in (b"", b"RIFF", b"RIFF\xff\xff\xff\xffWAVE" + bytes(40), b"\x1a\x45\xdf\xa3", b"text " * 9):
        path = tmp_path / "x"
        path.write_bytes(content)
        assert missing_bytes(path) == 0
