"""Zip files of frames: what is unpacked, and what is refused before a single file is written."""

from __future__ import annotations

import io
import stat
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from litemkd.data.finding.zips import LARGEST, find_zip, unpack_frames
from litemkd.errors import DataError
from tests.data.recordings import clip_of


def picture(grey: int) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.full((6, 8, 3), grey, np.uint8)).save(out, "jpeg")
    return out.getvalue()


def frames(prefix: str = "", clips: tuple[str, ...] = ("run/a", "jump up/b")) -> dict[str, bytes]:
    return {f"{prefix}{clip}/{t}.jpg": picture(20 * t) for clip in clips for t in range(1, 9)}


def packed(path: Path, entries: dict[str, bytes], *more: tuple[zipfile.ZipInfo, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as out:
        for name, data in entries.items():
            out.writestr(name, data)
        for info, data in more:
            out.writestr(info, data)
    return path


@pytest.mark.parametrize("prefix", ["", "l8/", "data/ucf101/rgb_l8/"])
def test_the_frames_of_clips_whatever_lies_above(tmp_path: Path, prefix: str) -> None:
    entries = frames(prefix) | {"readme.txt": b"hello", f"__MACOSX/{prefix}run/a/._1.jpg": b"junk"}
    archive = packed(tmp_path / "in" / "rgb_l8.zip", entries)
    assert unpack_frames(archive, tmp_path / "d", "rgb", 8)
    clip = clip_of(tmp_path / "d" / "rgb_l8" / "jump up" / "b", 8)
    assert clip.shape == (8, 6, 8, 3)
    assert [round(float(frame.mean()) / 20) for frame in clip] == list(range(1, 9))
    assert sorted(path.name for path in (tmp_path / "d" / "rgb_l8").iterdir()) == [
        ".from_zip.json",
        "jump up",
        "run",
    ]


def test_once_and_never_over_frames_that_are_there(tmp_path: Path) -> None:
    archive = packed(tmp_path / "rgb_l8.zip", frames())
    assert unpack_frames(archive, tmp_path, "rgb", 8)
    (tmp_path / "rgb_l8" / "run" / "a" / "1.jpg").write_bytes(b"mine")
    assert not unpack_frames(archive, tmp_path, "rgb", 8)
    assert (tmp_path / "rgb_l8" / "run" / "a" / "1.jpg").read_bytes() == b"mine"
    packed(archive, frames(clips=("run/a",)))
    with pytest.raises(
        DataError, match=r"rgb_l8 was unpacked from another file than .*rgb_l8\.zip is now; delete"
    ):
        unpack_frames(archive, tmp_path, "rgb", 8)
    (tmp_path / "own" / "l8" / "run" / "a").mkdir(parents=True)
    assert not unpack_frames(archive, tmp_path / "own", "rgb", 8)
    assert not (tmp_path / "own" / "rgb_l8").exists()


def entry(name: str, mode: int = 0) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    return info


@pytest.mark.parametrize(
    ("info", "told"),
    [
        (entry("../run/a/9.jpg"), "goes out of the folder with '..'"),
        (entry("run/../../../a/9.jpg"), "goes out of the folder with '..'"),
        (entry("..\\..\\run\\9.jpg"), "goes out of the folder with '..'"),
        (entry("/etc/run/9.jpg"), "is an absolute path"),
        (entry("C:/run/a/9.jpg"), "is an absolute path"),
        (entry("\\\\host\\run\\a\\9.jpg"), "is an absolute path"),
        (entry("run\\a\\9.jpg"), "has a backslash or a NUL in its name"),
        (entry("run/a/9.jpg", stat.S_IFLNK | 0o777), "is a link or another special file"),
        (entry("run/fifo", stat.S_IFIFO | 0o666), "is a link or another special file"),
        (entry("9.jpg"), "is not of the form class/video/frame"),
        (entry("a/9.jpg"), "is not of the form class/video/frame"),
    ],
    ids=lambda value: repr(getattr(value, "filename", "")),
)
def test_an_entry_that_is_unsafe_stops_all(tmp_path: Path, info: zipfile.ZipInfo, told: str) -> None:
    archive = packed(tmp_path / "in" / "x.zip", frames(), (info, b"../../../etc/passwd"))
    with pytest.raises(DataError) as caught:
        unpack_frames(archive, tmp_path / "d", "rgb", 8)
    assert str(caught.value) == f"{archive}: entry {info.filename!r} {told}; nothing was unpacked"
    assert not [path for path in (tmp_path / "d").rglob("*") if path.is_file()]
    assert {path.name for path in tmp_path.iterdir()} <= {"in", "d"}


def test_a_frame_of_absurd_size(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("run/a/1.jpg", bytes(LARGEST + 1))  # 64 MB that pack to some kB
    assert (tmp_path / "x.zip").stat().st_size < 100_000
    with pytest.raises(DataError, match=r"'run/a/1\.jpg' is said to be 67 MB; no frame is larger than 67 MB"):
        unpack_frames(tmp_path / "x.zip", tmp_path / "d", "rgb", 8)
    assert not (tmp_path / "d" / "rgb_l8").exists()


def test_a_size_that_is_a_lie(tmp_path: Path) -> None:
    """An entry that unpacks to more than its header says does not get further than that."""
    archive = packed(tmp_path / "x.zip", {"run/a/1.jpg": bytes(5000)})
    data = archive.read_bytes().replace((5000).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    archive.write_bytes(data)
    with pytest.raises(DataError, match=r"cannot unpack .*x\.zip"):
        unpack_frames(archive, tmp_path / "d", "rgb", 8)
    assert not (tmp_path / "d" / "rgb_l8").exists()


def test_more_than_the_disk_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = packed(tmp_path / "x.zip", frames())
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 100})())
    with pytest.raises(DataError, match=r"unpacks to 0\.0 GB; 0\.0 GB are free in "):
        unpack_frames(archive, tmp_path / "d", "rgb", 8)


def test_damaged_encrypted_empty_and_missing(tmp_path: Path) -> None:
    def refused(path: Path) -> str:
        with pytest.raises(DataError) as caught:
            unpack_frames(path, tmp_path / "d", "rgb", 8)
        assert not (tmp_path / "d" / "rgb_l8").exists()
        return str(caught.value)

    assert refused(tmp_path / "x.zip").endswith(
        "x.zip: no such file; a zip file of class/video/*.jpg is needed"
    )
    (tmp_path / "x.zip").write_bytes(b"no zip")
    assert "x.zip (6 bytes): File is not a zip file" in refused(tmp_path / "x.zip")
    assert "holds no frames; class/video/*.jpg is needed" in refused(
        packed(tmp_path / "x.zip", {"a/b/c.txt": b""})
    )
    whole = packed(tmp_path / "x.zip", frames()).read_bytes()
    spoiled = bytearray(whole)
    spoiled[200] ^= 0xFF  # inside the first picture
    (tmp_path / "x.zip").write_bytes(spoiled)
    assert "Bad CRC-32 for file 'run/a/1.jpg'" in refused(tmp_path / "x.zip")
    (tmp_path / "x.zip").write_bytes(whole[: len(whole) // 2])
    assert "cannot unpack" in refused(tmp_path / "x.zip")
    secret = bytearray(whole)
    start = secret.rindex(b"PK\x01\x02")
    secret[start + 8] |= 1  # the flag of encryption, in the directory
    (tmp_path / "x.zip").write_bytes(secret)
    assert "is encrypted; nothing was unpacked" in refused(tmp_path / "x.zip")
    assert "are both run/a/1.jpg; keep one" in refused(packed(tmp_path / "x.zip", frames() | frames("again/")))


def test_which_file_is_found(tmp_path: Path) -> None:
    first, second = tmp_path / "one", tmp_path / "two"
    assert find_zip([first, second], "rgb", 8) is None
    for path in (second / "l8.zip", second / "flow_l8.zip"):
        packed(path, frames())
    assert find_zip([first, second], "rgb", 8) == second / "l8.zip"
    assert find_zip([first, second], "flow", 8) == second / "flow_l8.zip"
    assert find_zip([first, second], "flow", 16) is None
    packed(first / "rgb_l8.zip", frames())
    assert find_zip([first, second], "rgb", 8) == first / "rgb_l8.zip"


def test_names_in_decomposed_letters_are_composed_and_two_that_look_the_same_refused(tmp_path: Path) -> None:
    archive = packed(tmp_path / "rgb_l8.zip", frames(clips=("cafe\u0301/1",)) | {"Thumbs.db": b""})
    assert unpack_frames(archive, tmp_path, "rgb", 8)
    assert [path.name for path in (tmp_path / "rgb_l8").iterdir() if path.is_dir()] == ["caf\u00e9"]
    both = packed(tmp_path / "x.zip", frames(clips=("cafe\u0301/1", "caf\u00e9/1")))
    with pytest.raises(DataError) as caught:
        unpack_frames(both, tmp_path / "d", "rgb", 8)
    told = str(caught.value)
    assert (
        "are both caf\u00e9/1/1.jpg, in two Unicode forms that look the same ('cafe\\u0301/1/1.jpg' and "
        in told
    )
