"""Seeded faulty data sets: six classes in three splits, each clip of its own grey, and ways to break one."""

from __future__ import annotations

import functools
import os
import shutil
import struct
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
from PIL import Image

from litemkd.config import Config, load_config
from litemkd.data.frames import write_frames
from litemkd.stages.prepare import Prepared
from tests.data.recordings import noisy_frames, write_video

CLASSES, CLIPS, T = 6, 4, 8
NAMES = tuple(f"class{one}/clip{clip}" for one in range(CLASSES) for clip in range(CLIPS))
VICTIM = "class0/clip1"
SETTINGS = (
    "data.dataset=mine",
    "data.short_side=32",
    "data.crop=32",
    "data.workers=1",
    "teacher.modalities=[rgb]",
    "loss.support=0",
    "episode.way=2",
    "episode.shot=1",
    "episode.queries=1",
    "evaluation.shots=[1]",
)


def grey(name: str) -> int:
    """The grey of a clip, by its name."""
    return 20 + 8 * NAMES.index(name)


def clip(name: str, n: int = T) -> np.ndarray:
    return np.full((n, 32, 40, 3), grey(name), np.uint8)


def config_of(root: Path, *more: str) -> Config:
    return load_config(None, [*SETTINGS, f"data.root={root}", *more])


def write_lists(root: Path, spelled: Callable[[str], str] = str) -> Path:
    """Two classes a split, in a seeded order."""
    folder = root / "mine" / "splits" / "mine"
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for place, split in enumerate(("train", "val", "test")):
        names = rng.permutation(NAMES[2 * CLIPS * place : 2 * CLIPS * (place + 1)])
        (folder / f"{split}list03.txt").write_text("".join(f"{spelled(str(name))}\n" for name in names))
    return folder


def frames_tree(root: Path) -> Path:
    """The data set as folders of frames; gives the folder of the victim."""
    for name in NAMES:
        write_frames(root / "mine" / "rgb_l8" / name, clip(name))
    write_lists(root)
    return root / "mine" / "rgb_l8" / VICTIM


def videos_tree(root: Path) -> Path:
    """The data set as recordings; gives the victim's file."""
    shutil.copytree(_recordings(), root / "mine" / "videos")
    write_lists(root)
    return root / "mine" / "videos" / f"{VICTIM}.mp4"


@functools.cache
def _recordings() -> Path:
    """The recordings, made once."""
    folder = Path(tempfile.mkdtemp(prefix="litemkd-faults-"))
    for name in NAMES:
        write_video(folder / f"{name}.mp4", clip(name, 10))
    return folder


def check_labels(data: Prepared, left_out: set[str]) -> None:
    """The pixels of every listed clip are its own, its label is its class, and just these are left out."""
    listed = [video for split in data.splits.values() for video in split.videos]
    assert sorted(listed) == sorted(set(NAMES) - left_out)
    pack = data.packs["rgb"]
    for split in data.splits.values():
        for video, label, row in zip(split.videos, split.labels, pack.rows(split.videos), strict=True):
            assert split.classes[label] == video.partition("/")[0]
            assert abs(float(pack.clip(int(row)).mean()) - grey(video)) < 3, video


def check_nothing_half(root: Path) -> None:
    """No part of a file or a pack is left anywhere; locks may stay."""
    left = [path for path in root.rglob("*") if path.name.endswith(".part") or ".building" in path.name]
    left += [path for path in root.rglob(".*") if path.is_dir()]
    assert left == []


def png_header(width: int, height: int) -> bytes:
    """A PNG that says it is so large, and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")


def jpeg_header(picture: bytes, width: int, height: int) -> bytes:
    """A JPEG whose header says it is so large."""
    place = picture.index(b"\xff\xc0") + 5
    return picture[:place] + struct.pack(">HH", height, width) + picture[place + 4 :]


def _saved(path: Path, image: Image.Image, kind: str) -> None:
    image.save(path, kind)


def _instead(make: Callable[[Path], object]) -> Callable[[Path], None]:
    """A fault that takes the place of a file."""

    def fault(path: Path) -> None:
        path.unlink()
        make(path)

    return fault


def _picture(mode: str, kind: str, size: tuple[int, int] = (40, 32)) -> Callable[[Path], None]:
    return _instead(lambda path: _saved(path, Image.new(mode, size), kind))


# What may have happened to one file of a clip, and what is said of it.
ANY_FILE: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (lambda path: path.write_bytes(b""), ""),
    "text": (lambda path: path.write_text("no picture"), ""),
    "noise": (lambda path: path.write_bytes(np.random.default_rng(1).bytes(5000)), ""),
    "pipe": (_instead(os.mkfifo), "it is a named pipe, not a file"),
    "folder": (_instead(Path.mkdir), "it is a folder, not a file"),
    "link to nowhere": (_instead(lambda path: path.symlink_to("gone")), "No such file"),
    "link to itself": (_instead(lambda path: path.symlink_to(path.name)), "symbolic links"),
}
FRAMES: dict[str, tuple[Callable[[Path], object], str]] = {
    **ANY_FILE,
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:-90]), "truncated"),
    "bomb (PNG)": (lambda path: path.write_bytes(png_header(60_000, 60_000)), "40 million pixels are read"),
    "bomb (JPEG)": (
        lambda path: path.write_bytes(jpeg_header(path.read_bytes(), 60_000, 60_000)),
        "40 million pixels are read",
    ),
    "large (PNG)": (lambda path: path.write_bytes(png_header(9_000, 9_000)), "9000x9000 pixels"),
    "larger (PNG)": (lambda path: path.write_bytes(png_header(11_000, 11_000)), "40 million pixels are read"),
    "16 bits": (_picture("I;16", "PNG"), "a picture of kind I;16; 8 bits a channel"),
    "another size": (_picture("RGB", "JPEG", (20, 32)), "must be of one size"),
    "another format": (_picture("RGB", "GIF"), "no JPEG or PNG picture"),
    "a program's input": (_picture("RGB", "EPS"), "no JPEG or PNG picture"),
    "gone": (Path.unlink, "has 7 frames; at least 8 are needed"),
}


def _playlist(path: Path) -> None:
    """What FFmpeg takes for a list of videos to play: here one of another class."""
    other = path.parents[1] / "class5" / "clip0.mp4"
    path.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{other}\n#EXT-X-ENDLIST\n")


def _concat(path: Path) -> None:
    path.write_text(f"ffconcat version 1.0\nfile {path.parents[1] / 'class5' / 'clip0.mp4'}\n")


def _sound(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        silence.sample_rate = 8000
        container.mux([*stream.encode(silence), *stream.encode()])


def _cut_avi(path: Path) -> None:
    """Of its frames, the last four of ten are gone: in any other way it is a recording."""
    whole = write_video(path.with_suffix(".avi"), noisy_frames(10), "mpeg4")
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])
    whole.unlink()


def _cut_mp4(path: Path) -> None:
    """One whose index comes first, so that it can be played while it is sent."""
    write_video(path, noisy_frames(20), options={"movflags": "faststart"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])


def damage(path: Path, seed: int = 0) -> None:
    """Change 20 bytes in the middle."""
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 20] = np.random.default_rng(seed).bytes(20)
    path.write_bytes(data)


def _damaged(path: Path) -> None:
    write_video(path, noisy_frames(20), "mpeg4")
    damage(path)


VIDEOS: dict[str, tuple[Callable[[Path], object], str]] = {
    **ANY_FILE,
    "truncated": (
        lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
        "bytes): cut, ",
    ),
    "truncated (AVI)": (_cut_avi, "bytes): cut, "),
    "truncated (MP4, index first)": (_cut_mp4, "bytes): cut, "),
    "damaged": (_damaged, "bytes): damaged, frame "),
    "a playlist": (_playlist, "cannot read video"),
    "a list of files": (_concat, "cannot read video"),
    "sound only": (_instead(_sound), "has no video in it"),
    "few frames": (_instead(lambda path: write_video(path, clip(VICTIM, 5))), "has 5 frames; 8 are needed"),
}
