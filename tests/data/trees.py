"""Made-up data sets in the layouts of their archives: the real class folders, a few tiny videos in each."""

from __future__ import annotations

import functools
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from litemkd.data.published import Published, published
from tests.data.recordings import write_video

DATA_SETS = ("ucf101", "hmdb51", "kinetics100", "ssv2_small", "ssv2_full")  # whose published splits are known
CODECS = {".avi": "mpeg4", ".mp4": "libx264", ".webm": "libvpx"}
# What real HMDB51 clips are called like.
HMDB_NAMES = ("#20_Rhythm_clap_u_nm_np1_fr_goo_{}", "A_(Very)_Nice_[Day]_&_;-)_50_clap_f_cm_np2_ri_med_{}")


@functools.cache
def _videos(suffix: str) -> tuple[Path, ...]:
    """Three different videos of 12 frames of 32 x 24, made once."""
    folder = Path(tempfile.mkdtemp(prefix="litemkd-trees-"))
    rng = np.random.default_rng(0)
    made = []
    for number in range(3):
        still = rng.integers(0, 255, (24, 32, 3), np.uint8)
        frames = np.stack([np.roll(still, (number - 1) * t, 1) for t in range(12)])
        made.append(write_video(folder / f"{number}{suffix}", frames, CODECS[suffix]))
    return tuple(made)


def place(paths: Iterable[Path]) -> None:
    """A video at each path, a hard link to one of a few where the file system allows it."""
    for number, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        source = _videos(path.suffix)[number % 3]
        try:
            os.link(source, path)
        except OSError:
            path.write_bytes(source.read_bytes())


def facts(dataset: str) -> Published:
    known = published(dataset)
    assert known is not None
    return known


def classes(dataset: str) -> list[str]:
    return [one for split in facts(dataset).splits.values() for one in split.names]


def ucf101(folder: Path, clips: int) -> Path:
    """`UCF-101/<Class>/v_<Class>_g01_c01.avi`; the videos of one class are spelled otherwise, as in truth."""
    root = folder / "UCF-101"
    for one in classes("ucf101"):
        stem = "HandStandPushups" if one == "HandstandPushups" else one
        place(root / one / f"v_{stem}_g01_c{c:02}.avi" for c in range(1, clips + 1))
    return root


def hmdb51(folder: Path, clips: int) -> Path:
    """`<class>/<clip>.avi`, every second class as `<class>/<class>/<clip>.avi`."""
    root = folder / "hmdb51_org"
    for number, one in enumerate(classes("hmdb51")):
        inner = root / one / one if number % 2 else root / one
        place(inner / f"{HMDB_NAMES[c % 2].format(c)}.avi" for c in range(clips))
    return root


def kinetics(folder: Path, clips: int) -> tuple[Path, Path]:
    """Videos and lists of the 100 classes, and a class that is in no list; spelled in all ways there are."""
    root, lists = folder / "kinetics400", folder / "kinetics_CMN"
    lists.mkdir(parents=True)
    number = 0
    for split, about in facts("kinetics100").splits.items():
        lines = []
        for i, one in enumerate(about.names):
            for _ in range(clips):
                number += 1
                name, seconds = f"-aB_{number:07}", "_000012_000022"
                above = root / ("train", "val", "test")[number % 3] / (one.replace(" ", "_") if i % 2 else one)
                place([above / f"{name}{seconds if number % 2 else ''}.mp4"])
                listed = one if i % 3 else one.replace(" ", "_")
                lines.append(f"{listed}/{name}{seconds if number % 4 < 2 else ''}{'.mp4' if i % 2 else ''}")
        (lists / f"{split}list03.txt").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    place([root / "train" / "zumba" / "zzzzzzzzzzz.mp4"])
    return root, lists


def ssv2(folder: Path, dataset: str, clips: int) -> tuple[Path, Path]:
    """One folder of numbered videos, and lists that say of which class each is."""
    root, known = folder / "20bn-something-something-v2", facts(dataset)
    lists = folder / known.lists
    lists.mkdir(parents=True)
    number = 0
    for split, about in known.splits.items():
        lines = []
        for one in range(about.classes):
            for _ in range(clips):
                number += 1
                lines.append(f"Pushing [something] from {split} to {one}, slowly/{number}")
                place([root / f"{number}.webm"] if not (root / f"{number}.webm").exists() else [])
        (lists / f"{split}{known.files}").write_text("\n".join(lines) + "\n")
    return root, lists
