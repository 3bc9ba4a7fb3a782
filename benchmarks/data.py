"""Made-up clips for the benchmarks, on disk as `litemkd prepare` writes them, made once a folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from benchmarks.sizes import Sizes, T
from litemkd.data.frames import frame_folder_path, write_frames
from litemkd.data.packs.pack import FramePack, build_pack
from litemkd.data.splits import Split, make_split
from litemkd.storage.files import locked, whole_folder


@dataclass(frozen=True)
class Clips:
    """Clips on disk: their folder of JPEGs, and a pack of them."""

    jpegs: Path
    pack: FramePack
    split: Split


def large_clips(folder: Path, sizes: Sizes) -> Clips:
    """Clips of full size, 8 classes."""
    return _clips(folder / "large", sizes.clips, 8, sizes.height, sizes.width)


def small_clips(folder: Path, sizes: Sizes) -> Clips:
    """As many clips as the test has, 10 classes, with frames so small that their codes cost little."""
    return _clips(folder / "small", sizes.test_clips, 10, sizes.small, sizes.small)


def _clips(root: Path, count: int, classes: int, height: int, width: int) -> Clips:
    names = [f"class{n * classes // count:02d}/clip{n:04d}" for n in range(count)]
    with locked(root.with_suffix(".lock")):
        if not root.exists():
            rng = np.random.default_rng(0)
            pictures = [texture(rng, height, width) for _ in range(16)]
            with whole_folder(root) as beside:
                for n, name in enumerate(names):
                    still = [pictures[(n + t // 4) % len(pictures)] for t in range(T)]
                    frames = np.stack([np.roll(x, 5 * t + n, 1) for t, x in enumerate(still)])
                    write_frames(frame_folder_path(beside, "rgb", T) / name, frames)
    pack = build_pack(root, "rgb", T, names, None)
    return Clips(frame_folder_path(root, "rgb", T), pack, make_split("train", names))


def texture(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A picture of noise, (H, W, 3) uint8, whose fine parts are faint, as in photographs."""
    picture = np.full((height, width, 3), 128, np.float32)
    for side, strength in ((4, 60), (16, 35), (64, 18), (170, 6)):
        noise = rng.standard_normal((side, side, 3), np.float32)
        picture += strength * cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    return picture.clip(0, 255).astype(np.uint8)
