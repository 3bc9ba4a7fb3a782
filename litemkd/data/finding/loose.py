"""Clips in folders that no list describes: found, and read as evaluation reads those of a data set.

A clip is a video file or a folder of pictures, its frames in the natural order of their names. A class is a
folder of clips. What is neither is passed over, and given back by name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from litemkd.data.frames import decode_frame, encode_frame, read_files
from litemkd.data.names import both, composed
from litemkd.errors import DataError, some
from litemkd.recordings.endings import FRAME_SUFFIXES, VIDEO_WORDS, is_litter, is_picture, is_video, natural_key
from litemkd.recordings.times import sample_times
from litemkd.recordings.videos import centre_corner, read_video, resize_short, resized
from litemkd.storage.pictures import check_made

_LISTED = 20  # clips that are told of when many cannot be read


@dataclass(frozen=True)
class LooseClip:
    """A clip in a folder.

    Attributes:
        path: of the video, or of the folder of pictures.
        claimed: the class folder it lies in, in composed letters; None where there is none. Nobody has checked
            it.
    """

    path: Path
    claimed: str | None

    @property
    def name(self) -> str:
        """As in lists, `class/clip`, with the extension of a video."""
        return self.path.name if self.claimed is None else f"{self.claimed}/{self.path.name}"


@dataclass(frozen=True)
class Found:
    """What a folder holds.

    Attributes:
        clips: class after class, both sorted by name.
        passed_over: files that are neither videos nor pictures of clips, by their paths from the folder.
    """

    clips: tuple[LooseClip, ...]
    passed_over: tuple[str, ...] = ()


def find_classes(folder: Path) -> Found:
    """The clips in the class folders of a folder, class after class, both sorted by name.

    Raises:
        DataError: no such folder, no class folders in it, one without clips, or two of one name.
    """
    classes, clips, others = _look(folder)
    if not classes:
        there = (
            f"clips ({some([one.name for one in clips], 3)}) and no folders of them" if clips else "no folders"
        )
        raise DataError(f"{folder} holds {there}; one folder of clips for each class would do: {_FORMS}")
    if clips:
        raise DataError(
            f"{folder} holds class folders and clips beside them ({some([one.name for one in clips], 3)}); "
            "move these into the folders of their classes"
        )
    by_name: dict[str, Path] = {}
    for one in classes:
        other = by_name.setdefault(composed(one.name), one)
        if other != one:
            raise DataError(
                f"{both(str(other), str(one), f'the class {composed(one.name)}')}; keep one or rename one"
            )
    within = [_clips_of(one) for one in classes]
    return Found(
        tuple(clip for found in within for clip in found.clips),
        _relative(folder, others) + tuple(name for found in within for name in found.passed_over),
    )


def find_queries(folder: Path) -> Found:
    """The clips to be named: those in a folder, or in its class folders; or the one clip that the path is.

    A file is a clip whatever it is called: reading it says whether it is a video.

    Raises:
        DataError: no such folder, nothing in it, or class folders with clips beside them.
    """
    if folder.is_file():
        return Found((LooseClip(folder, None),))
    classes, clips, others = _look(folder)
    if classes:
        return find_classes(folder)
    if not clips and _pictures(folder):
        return Found((LooseClip(folder, None),), _strange(folder, folder))
    if not clips:
        there = f", only {some(_relative(folder, others))}" if others else ""
        raise DataError(f"{folder} holds no clips{there}; {_FORMS}")
    inside = tuple(name for clip in clips if clip.is_dir() for name in _strange(clip, folder))
    return Found(tuple(LooseClip(path, None) for path in clips), _relative(folder, others) + inside)


def read_centre(path: Path, T: int, short_side: int, crop: int) -> np.ndarray:
    """The centre crops of T frames of a clip, (T, crop, crop, 3) uint8, as a prepared data set has them.

    Args:
        path: a video, or a folder of at least T pictures.
        T: frames, evenly spread.
        short_side: that frames are resized to, pixels.
        crop: side of the square, pixels.

    Raises:
        DataError: unreadable, fewer than T frames, or frames too small for the crop.
    """
    if path.is_dir():
        files = _pictures(path)
        if len(files) < T:
            raise DataError(f"{path} has {len(files)} pictures; {T} are needed")
        frames = read_files([files[t] for t in sample_times(len(files), T)])
        return centre_crops(list(frames), short_side, crop, path)
    clip = read_video(path, T, short_side)
    # Prepared frames of a video are JPEGs, and what a student has learned from are their pixels.
    stored = [decode_frame(encode_frame(frame), path) for frame in clip.frames]
    return centre_crops(stored, short_side, crop, path)


def centre_crops(frames: Sequence[np.ndarray], short_side: int, crop: int, name: Path | str) -> np.ndarray:
    """Frames (H, W, 3) of a clip with the short side resized, cut to squares: (T, crop, crop, 3).

    Raises:
        DataError: too small for the crop; `name` says which clip.
    """
    sizes = {frame.shape for frame in frames}
    if len(sizes) > 1:
        raise DataError(f"{name} has frames of {len(sizes)} sizes; the frames of a clip must be of one size")
    before = (frames[0].shape[0], frames[0].shape[1])
    check_made(name, before, resized(*before, short_side))
    shrunk = np.stack([resize_short(frame, short_side) for frame in frames])
    height, width = shrunk.shape[1:3]
    if min(height, width) < crop:
        raise DataError(
            f"{name} has frames of {width}x{height} for the model, too small for its crop of {crop}"
        )
    top, left = centre_corner(height, width, crop)
    return shrunk[:, top : top + crop, left : left + crop]


def read_all(
    clips: Sequence[LooseClip], read: Callable[[Path], np.ndarray], pool: Executor
) -> tuple[list[np.ndarray], list[str]]:
    """What `read`, such as `read_centre`, gives of clips, in order; and what is wrong with the others."""
    found, problems = [], []
    for future in [pool.submit(read, clip.path) for clip in clips]:
        try:
            found.append(future.result())
        except DataError as error:
            problems.append(str(error))
    return found, problems


def refuse_unreadable(problems: Sequence[str], total: int) -> None:
    """DataError: some of `total` clips cannot be read; each is named with the reason."""
    if problems:
        more = f"\n  and {len(problems) - _LISTED} more" if len(problems) > _LISTED else ""
        lines = "".join(f"\n  {problem}" for problem in problems[:_LISTED])
        raise DataError(
            f"{len(problems)} of {total} clips cannot be read:{lines}{more}\nmend them or take them out"
        )


_FORMS = f"a clip is a video ({VIDEO_WORDS}) or a folder of pictures ({', '.join(FRAME_SUFFIXES)})"


def _entries(folder: Path) -> list[Path]:
    if not folder.is_dir():
        what = "is no folder" if folder.exists() else "no such folder"
        raise DataError(f"{folder}: {what}; name a folder of clips")
    try:
        found = [path for path in folder.iterdir() if not is_litter(path.name)]
    except OSError as error:
        raise DataError(f"cannot read the folder {folder}: {error.strerror}") from error
    return sorted(found, key=lambda path: natural_key(path.name))


def _pictures(folder: Path) -> list[Path]:
    return [path for path in _entries(folder) if is_picture(path.name) and path.is_file()]


def _strange(clip: Path, root: Path) -> tuple[str, ...]:
    """What lies in a folder of pictures and is none, by its path from `root`."""
    return _relative(root, [path for path in _entries(clip) if not (is_picture(path.name) and path.is_file())])


def _relative(root: Path, paths: Sequence[Path]) -> tuple[str, ...]:
    return tuple(path.relative_to(root).as_posix() + "/" * path.is_dir() for path in paths)


def _look(folder: Path) -> tuple[list[Path], list[Path], list[Path]]:
    """What lies in a folder: class folders, clips, and what is neither."""
    entries = _entries(folder)
    folders = [path for path in entries if path.is_dir()]
    of_pictures = [path for path in folders if _pictures(path)]
    clips = [path for path in entries if (is_video(path.name) and path.is_file()) or path in of_pictures]
    others = [path for path in entries if path not in clips and path not in folders]
    return [path for path in folders if path not in of_pictures], clips, others


def _clips_of(folder: Path) -> Found:
    """The clips of a class. DataError: none, or folders without pictures among them."""
    folders, clips, others = _look(folder)
    if folders:
        raise DataError(
            f"{folders[0]}, in the class folder {folder.name}, holds no pictures, so it is no clip; {_FORMS}"
        )
    if not clips:
        there = f", only {some([path.name for path in others])}" if others else ""
        raise DataError(f"the class folder {folder} holds no clips{there}; {_FORMS}")
    root = folder.parent
    inside = tuple(name for clip in clips if clip.is_dir() for name in _strange(clip, root))
    claimed = composed(folder.name)
    return Found(tuple(LooseClip(path, claimed) for path in clips), _relative(root, others) + inside)
