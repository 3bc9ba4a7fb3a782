"""Files that others wrote, one for each frame of a clip: listed, read, and the size of what is made of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from litemkd.errors import DataError
from litemkd.recordings.endings import is_litter, natural_key
from litemkd.recordings.videos import resized
from litemkd.storage.pictures import check_made


def made_size(source: Path, before: tuple[int, ...], short_side: int) -> tuple[int, int]:
    """(H, W) of the pictures that are made of frames (H, W). DataError: beyond all bounds."""
    size = resized(before[0], before[1], short_side)
    check_made(source, (before[0], before[1]), size)
    return size


def files_of(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """Files of a clip's folder in natural order."""
    try:
        names = [path.name for path in folder.iterdir()]
    except OSError as error:
        raise DataError(f"cannot open the folder {folder}: {error.strerror}") from error
    names = [name for name in names if name.lower().endswith(suffixes) and not is_litter(name)]
    if not names:
        raise DataError(f"{folder} has no {' or '.join(suffixes)} files")
    return [folder / name for name in sorted(names, key=natural_key)]


def of_one_size(paths: list[Path], read: Callable[[Path], np.ndarray]) -> list[np.ndarray]:
    """The contents of files that must have one shape; a file that is named twice is read once."""
    by_path = {path: read(path) for path in dict.fromkeys(paths)}
    first = by_path[paths[0]].shape[:2]
    for path, values in by_path.items():
        if values.shape[:2] != first:
            height, width = values.shape[:2]
            raise DataError(
                f"{path} is {width}x{height}, but {paths[0].name} beside it is {first[1]}x{first[0]}; "
                "the files of a clip must be of one size"
            )
    return [by_path[path] for path in paths]
