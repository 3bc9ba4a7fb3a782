"""Frames on disk: `<modality>_l<T>/<class>/<video>/*.jpg`, the layout of the original release."""

from __future__ import annotations

import io
import os
import re
from pathlib import Path

import numpy as np
from PIL import Image

from litemkd.errors import DataError
from litemkd.files import whole_folder

FRAME_SUFFIXES = (".jpg", ".jpeg", ".png")


def frame_folder_path(dataset_dir: Path, modality: str, T: int) -> Path:
    """Where the frames of a modality are written: `<dataset>/<modality>_l<T>`."""
    return Path(dataset_dir) / f"{modality}_l{T}"


def frame_folder(dataset_dir: Path, modality: str, T: int) -> Path | None:
    """Where the frames of a modality are, or None. For rgb `l<T>` is taken when there is no `rgb_l<T>`."""
    usual = frame_folder_path(dataset_dir, modality, T)
    if usual.is_dir():
        return usual
    plain = Path(dataset_dir) / f"l{T}"
    return plain if modality == "rgb" and plain.is_dir() else None


def natural_key(name: str) -> tuple[tuple[int, str], ...]:
    """Sorts names with numbers in them as people do: 2.jpg before 10.jpg."""
    return tuple((int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name))


def frame_entries(clip_folder: Path, T: int) -> list[os.DirEntry[str]]:
    """The T frame files of a clip in natural order of their names, as the folder lists them.

    Raises:
        DataError: no such folder, or another number of frames.
    """
    try:
        with os.scandir(clip_folder) as listing:
            entries = list(listing)
    except OSError as error:
        raise DataError(f"no frames: cannot open the folder {clip_folder} ({error.strerror})") from error
    entries = [e for e in entries if e.name.lower().endswith(FRAME_SUFFIXES) and not e.name.startswith(".")]
    if len(entries) != T:
        raise DataError(f"{clip_folder} has {len(entries)} frames; exactly {T} are needed")
    return sorted(entries, key=lambda entry: natural_key(entry.name))


def frame_files(clip_folder: Path, T: int) -> list[Path]:
    """The paths of the T frames of a clip, see `frame_entries`."""
    return [Path(entry.path) for entry in frame_entries(clip_folder, T)]


def read_frame(path: Path) -> np.ndarray:
    """One picture, (H, W, 3) uint8 RGB. A truncated one is an error, never a picture that is half grey.

    Raises:
        DataError: not a picture, or damaged.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise DataError(f"cannot read frame {path}: {error}") from error
    return decode_frame(data, path)


def decode_frame(data: bytes, name: Path | str) -> np.ndarray:
    """The picture in a file's bytes, see `read_frame`; `name` says in messages which one it is."""
    try:
        # From memory: Pillow's own file handling would seek and read in small pieces.
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"cannot read frame {name}: {error}") from error


def encode_frame(frame: np.ndarray, quality: int = 95) -> bytes:
    """A frame (H, W, 3) uint8 as the JPEG that `write_frames` writes."""
    file = io.BytesIO()
    # Chroma at full resolution: flow lives in it, and thin coloured bones too.
    Image.fromarray(frame).save(file, "JPEG", quality=quality, subsampling=0 if quality >= 90 else 2)
    return file.getvalue()


def frame_size(path: Path) -> tuple[int, int]:
    """(H, W) of a picture from its header alone.

    Raises:
        DataError: not a picture.
    """
    try:
        with Image.open(path) as image:
            return image.height, image.width
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"cannot read frame {path}: {error}") from error


def read_frames(clip_folder: Path, T: int) -> np.ndarray:
    """The frames of a clip, (T, H, W, 3) uint8 RGB, in natural order of their names.

    Raises:
        DataError: no such folder, fewer or more than T frames, a damaged one, or different sizes.
    """
    return read_files(frame_files(clip_folder, T))


def read_files(paths: list[Path]) -> np.ndarray:
    """The frames in files, (T, H, W, 3) uint8 RGB.

    Raises:
        DataError: a damaged frame, or different sizes.
    """
    frames = [read_frame(path) for path in paths]
    for path, frame in zip(paths, frames, strict=True):
        if frame.shape != frames[0].shape:
            (height, width), (first_height, first_width) = frame.shape[:2], frames[0].shape[:2]
            raise DataError(
                f"{path} is {width}x{height}, but {paths[0].name} beside it is {first_width}x{first_height}; "
                "the frames of a clip must be of one size"
            )
    return np.stack(frames)


def write_frames(clip_folder: Path, frames: np.ndarray, quality: int = 95) -> None:
    """Write a clip as 1.jpg, 2.jpg, ...: all of it or nothing. A clip that is there already is replaced.

    Args:
        clip_folder: `<modality>_l<T>/<class>/<video>`; made with its parents.
        frames: (T, H, W, 3) uint8 RGB.
        quality: of the JPEGs, 1 to 100; from 90 on, colour is stored at full resolution.

    Raises:
        DataError: a wrong shape.
    """
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or 0 in frames.shape:
        raise DataError(
            f"frames for {clip_folder} are {frames.shape} {frames.dtype}; (T, H, W, 3) uint8 is needed"
        )
    with whole_folder(Path(clip_folder)) as beside:
        digits = len(str(len(frames)))
        for t, frame in enumerate(frames, 1):
            (beside / f"{t:0{digits}}.jpg").write_bytes(encode_frame(frame, quality))
