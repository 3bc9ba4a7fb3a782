"""The toy data set: action videos made by the software itself in seconds.

A jointed puppet performs one of the actions of `toy_actions`; every clip is written as real video files in four
modalities (RGB, true optical flow, depth, skeleton) plus joint positions and split lists, in the layout of any
other data set. Classes differ in movement only. RGB is made much harder to read than the other three, as real
film is, so that a teacher that sees them has something to teach.

A clip is a pure function of (seed, class, clip number, settings): any clip can be made alone, in any order.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from litemkd.data.preparing.making import each_of
from litemkd.data.toy.actions import ACTIONS, Action
from litemkd.data.toy.motion import perform
from litemkd.data.toy.render import (
    depth_pictures,
    flow_pictures,
    rgb_pictures,
    skeleton_pictures,
    surfaces,
)
from litemkd.errors import DataError
from litemkd.runtime.progress import Bar
from litemkd.runtime.seeding import numpy_generator
from litemkd.storage.files import write_text, write_whole

#: Frames a second of the videos.
RATE = 12
#: Goes up when the same settings come to give other pictures, so that old and new clips are never mixed.
VERSION = 1
# The folder of each modality's videos.
_FOLDERS = {"rgb": "videos", "flow": "flow_videos", "depth": "depth_videos", "skeleton": "skeleton_videos"}


@dataclass(frozen=True)
class ToySettings:
    """What decides the content of a toy data set.

    Attributes:
        clips_per_class: clips of each class, 1 or more.
        frames: frames of each clip, 4 or more.
        size: width and height of the videos in pixels, even, 32 or more.
        seed: 0 or more.
        clutter: 0 to 1: how much ground texture, distractors, weak contrast and noise make RGB hard to read.
        restlessness: 0 or more: strength of movements that do not belong to the action, in all modalities.
    """

    clips_per_class: int = 20
    frames: int = 16
    size: int = 72
    seed: int = 0
    clutter: float = 0.6
    restlessness: float = 1.0

    def __post_init__(self) -> None:
        wrong = [
            f"{name} is {getattr(self, name)!r}; it must be {need}"
            for name, fine, need in (
                ("clips_per_class", self.clips_per_class >= 1, "1 or more"),
                ("frames", self.frames >= 4, "4 or more"),
                ("size", self.size >= 32 and self.size % 2 == 0, "even and 32 or more"),
                ("seed", self.seed >= 0, "0 or more"),
                ("clutter", 0.0 <= self.clutter <= 1.0, "between 0 and 1"),
                ("restlessness", self.restlessness >= 0.0, "0 or more"),
            )
            if not fine
        ]
        if wrong:
            raise DataError("toy data set: " + "; ".join(wrong))


@dataclass(frozen=True)
class ToyClip:
    """One clip in memory.

    Attributes:
        pictures: (T, H, W, 3) uint8 RGB for each of "rgb", "flow", "depth", "skeleton".
        joints: (T, J, 4) float32: metres before the camera (x to the right, y up, z away), and confidence 1.
    """

    pictures: dict[str, NDArray[np.uint8]]
    joints: NDArray[np.float32]


def toy_classes(split: str) -> list[str]:
    """Names of the classes of "train", "val" or "test"."""
    return [action.name for action in ACTIONS if action.split == split]


def make_clip(action: Action, number: int, settings: ToySettings) -> ToyClip:
    """Clip `number` of class `action`, in memory."""
    rng = numpy_generator(settings.seed, "toy", action.name, number)
    shot = perform(action, rng, settings.frames, settings.size, settings.restlessness)
    surface = surfaces(shot, settings.size)
    pictures = {
        "rgb": rgb_pictures(surface, rng, settings.clutter),
        "flow": flow_pictures(shot, surface),
        "depth": depth_pictures(surface),
        "skeleton": skeleton_pictures(shot, settings.size),
    }
    joints = np.concatenate([shot.joints, np.ones((*shot.joints.shape[:2], 1), np.float32)], axis=2)
    return ToyClip(pictures, joints)


def make_toy(
    folder: Path, settings: ToySettings | None = None, *, workers: int | None = None, progress: bool = True
) -> int:
    """Write the toy data set into `folder`, or finish one that was begun with the same settings.

    Files that are there are kept; each new one appears whole or not at all. `workers` processes make the clips
    (None: one for each core; 1: in this process). Several processes import the calling script anew, so a script
    calls this under `if __name__ == "__main__":`.

    Returns:
        How many clips were made; the others were there.

    Raises:
        DataError: a folder that holds a toy data set of other settings or other videos.
    """
    settings = settings or ToySettings()
    clips = range(settings.clips_per_class)
    folder = Path(folder)
    _claim(folder, settings)
    for split in ("train", "val", "test"):
        lines = [f"{name}/{_stem(name, c)}\n" for name in toy_classes(split) for c in clips]
        write_text(folder / "splits" / "toy" / f"{split}list03.txt", "".join(lines))
    # Read by preparing: these pictures are movements, so that mirroring negates the one in x.
    write_text(folder / _FOLDERS["flow"] / "encoding.json", json.dumps({"encoding": "flow_xy"}) + "\n")
    jobs = [
        (folder, index, number, settings)
        for index, action in enumerate(ACTIONS)
        for number in clips
        if not all(path.exists() for path in _paths(folder, action.name, number).values())
    ]
    with Bar(total=len(jobs), desc="toy clips", unit="clip", disable=not progress or not jobs) as bar:
        chunks = [jobs[i : i + 8] for i in range(0, len(jobs), 8)]
        processes = min(workers or os.cpu_count() or 1, len(chunks))
        for _, done in each_of(_write_clips, chunks, processes, "make toy clips"):
            bar.update(done)
    return len(jobs)


_Job = tuple[Path, int, int, ToySettings]


def _write_clips(jobs: Iterable[_Job]) -> int:
    """Make the clips of `jobs` and write those of their files that are missing; returns how many clips."""
    count = 0
    for folder, index, number, settings in jobs:
        action = ACTIONS[index]
        clip = make_clip(action, number, settings)
        for kind, path in _paths(folder, action.name, number).items():
            if not path.exists():
                write_whole(path, functools.partial(_write_file, clip, kind))
        count += 1
    return count


def _write_file(clip: ToyClip, kind: str, path: Path) -> None:
    if kind == "joints":
        with path.open("wb") as file:
            np.save(file, clip.joints, allow_pickle=False)
    else:
        write_video(path, clip.pictures[kind], exact=kind != "rgb")


def write_video(path: Path, pictures: NDArray[np.uint8], exact: bool) -> None:
    """Encode (T, H, W, 3) as H.264; `exact` keeps every colour, for pictures whose colours are measurements."""
    codec, pixels, quality = ("libx264rgb", "rgb24", "0") if exact else ("libx264", "yuv420p", "14")
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream(codec, rate=RATE, options={"crf": quality, "preset": "ultrafast"})
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width = pictures.shape[1:3]
        stream.pix_fmt = pixels
        stream.codec_context.thread_count = (
            1  # one clip a process: more threads only cost, and bytes stay equal
        )
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def _stem(class_name: str, number: int) -> str:
    return f"{class_name}_{number:03d}"


def _paths(folder: Path, class_name: str, number: int) -> dict[str, Path]:
    """The files of one clip: its video in each modality, and its joints."""
    stem = _stem(class_name, number)
    paths = {kind: folder / name / class_name / f"{stem}.mp4" for kind, name in _FOLDERS.items()}
    return {**paths, "joints": folder / "skeleton_joints" / class_name / f"{stem}.npy"}


def _claim(folder: Path, settings: ToySettings) -> None:
    """Write the settings down in `folder`, or check that they are the ones written there."""
    path = folder / "toy.json"
    wanted = {"version": VERSION, **asdict(settings)}
    if not path.exists():
        if (folder / "videos").exists():
            raise DataError(
                f"{folder} has videos but no toy.json, so they are not a toy data set; choose another data root"
            )
        write_text(path, json.dumps(wanted, indent=2) + "\n")
        return
    try:
        found = json.loads(path.read_text())
    except ValueError as error:
        raise DataError(
            f"{path} is not readable JSON ({error}); remove {folder} or choose another data root"
        ) from error
    if not isinstance(found, dict):
        raise DataError(f"{path} does not hold toy settings; remove {folder} or choose another data root")
    other = [
        f"{key} {found.get(key)!r} (asked for: {value!r})"
        for key, value in wanted.items()
        if found.get(key) != value
    ]
    if other:
        raise DataError(
            f"{folder} holds a toy data set made with {', '.join(other)}; "
            "remove the folder or choose another data root"
        )
