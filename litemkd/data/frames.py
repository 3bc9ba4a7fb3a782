"""Frames on disk: `<modality>_l<T>/<class>/<video>/*.jpg`, the layout of the original release."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from litemkd.errors import DataError
from litemkd.recordings.endings import is_litter, is_picture, natural_key
from litemkd.recordings.times import same_recording, times_beside
from litemkd.storage.files import not_a_file, whole_folder
from litemkd.storage.pictures import MAX_PIXELS, is_turned, upright, upright_size

LARGEST = 64 * 1024 * 1024  # bytes of a frame's file
BLANK = ".blank"  # an empty file beside the frames of a clip that is black in all of them
_FORMATS = ("JPEG", "PNG")  # of all that Pillow reads; one of the others starts a program
_MODES = ("RGB", "L", "RGBA", "LA", "P", "1", "CMYK")  # 8 bits a channel or fewer


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


def frame_entries(clip_folder: Path) -> list[os.DirEntry[str]]:
    """All frame files of a clip in natural order of their names, as the folder lists them.

    Raises:
        DataError: no such folder.
    """
    try:
        with os.scandir(clip_folder) as listing:
            entries = list(listing)
    except OSError as error:
        raise DataError(f"no frames: cannot open the folder {clip_folder} ({error.strerror})") from error
    entries = [entry for entry in entries if is_picture(entry.name) and not is_litter(entry.name)]
    return sorted(entries, key=lambda entry: natural_key(entry.name))


def check_files(entries: Sequence[os.DirEntry[str]]) -> None:
    """Check that entries are files, which a name alone does not make.

    Raises:
        DataError: a pipe, a folder, a link that leads nowhere.
    """
    for entry in entries:
        # Asked of the listing first: it knows files without a look at each of them.
        if not entry.is_file(follow_symlinks=False) and (wrong := not_a_file(entry.path)):
            raise DataError(f"cannot read frame {entry.path}: {wrong}")


def sampled_entries(clip: Path, T: int, rgb: Path | None = None) -> list[os.DirEntry[str]]:
    """The T frames that stand for a clip, in natural order of their names.

    A folder of exactly T frames is taken as it is: that is the original release's form, and what `prepare`
    writes. Of more, T are taken as of a recording, those of other modalities at the times of the RGB frames.

    Args:
        clip: folder of frames.
        T: how many to take.
        rgb: folder of the RGB frames of the same clip, for another modality. Where that holds all frames of the
            recording, it gives the times.

    Raises:
        DataError: no such folder, fewer than T frames, so many more or fewer than of RGB that they are not of
            one recording, or a name that is not a file's.
    """
    entries = frame_entries(clip)
    if len(entries) < T:
        raise DataError(f"{clip} has {len(entries)} frames; at least {T} are needed")
    if len(entries) > T:
        of = len(frame_entries(rgb)) if rgb is not None and rgb.is_dir() else 0
        if of > T and not same_recording(len(entries), of):
            raise DataError(f"{clip} has {len(entries)} frames, but {rgb} has {of}: not one recording")
        times = times_beside(len(entries), of if of > T else len(entries), T)
        entries = [entries[time] for time in times.tolist()]
    check_files(entries)
    return entries


def frame_files(clip_folder: Path, T: int) -> list[Path]:
    """The paths of the frames of a clip that has exactly T, in natural order of their names.

    Raises:
        DataError: no such folder, another number of frames, or names that are not of files.
    """
    entries = frame_entries(clip_folder)
    if len(entries) != T:
        raise DataError(f"{clip_folder} has {len(entries)} frames; exactly {T} are needed")
    check_files(entries)
    return [Path(entry.path) for entry in entries]


def read_frame(path: Path) -> np.ndarray:
    """One picture, (H, W, 3) uint8 RGB, upright as its EXIF data say.

    A truncated one is an error, never a picture that is half grey.

    Raises:
        DataError: not a JPEG or PNG of 8 bits a channel, damaged, or larger than `MAX_PIXELS` or `LARGEST`.
    """
    with _file(path) as file:
        data = file.read()
    return decode_frame(data, path)


def decode_frame(data: bytes, name: Path | str) -> np.ndarray:
    """The picture in a file's bytes, see `read_frame`; `name` says in messages which one it is."""
    # From memory: Pillow's own file handling would seek and read in small pieces.
    with _picture(io.BytesIO(data), name) as image:
        return upright(image.convert("RGB"))


def encode_frame(frame: np.ndarray) -> bytes:
    """A frame (H, W, 3) uint8 as the JPEG that `write_frames` writes."""
    file = io.BytesIO()
    # Chroma at full resolution: flow lives in it, and thin coloured bones too.
    Image.fromarray(frame).save(file, "JPEG", quality=95, subsampling=0)
    return file.getvalue()


def frame_size(path: Path) -> tuple[int, int]:
    """(H, W) of a picture, upright, from its header alone.

    Raises:
        DataError: not a picture that `read_frame` would read, to judge by its header.
    """
    with _file(path) as file, _picture(file, path) as image:
        return upright_size(image)


def is_stored_turned(path: Path) -> bool:
    """Whether a picture is not stored upright. False as well for what is no picture."""
    try:
        with _file(path) as file, _picture(file, path) as image:
            return is_turned(image)
    except DataError:
        return False


@contextmanager
def _file(path: Path) -> Iterator[BinaryIO]:
    """A picture's file, if it is not too large to be one."""
    try:
        with Path(path).open("rb") as file:
            if (size := file.seek(0, io.SEEK_END)) > LARGEST:
                raise DataError(
                    f"cannot read frame {path}: it has {size} bytes; at most {LARGEST >> 20} MB are a frame's"
                )
            file.seek(0)
            yield file
    except OSError as error:
        raise DataError(f"cannot read frame {path}: {error}") from error


@contextmanager
def _picture(file: IO[bytes], name: Path | str) -> Iterator[Image.Image]:
    """A picture of bounded size; whatever goes wrong with it inside becomes a DataError."""
    try:
        with Image.open(file, formats=_FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise DataError(_too_large(name, f"{image.width}x{image.height} pixels"))
            if image.mode not in _MODES:
                raise DataError(
                    f"cannot read frame {name}: a picture of kind {image.mode}; 8 bits a channel, in colour or "
                    "grey, would do"
                )
            yield image
    except DataError:
        raise
    except UnidentifiedImageError as error:
        size = file.seek(0, io.SEEK_END)
        raise DataError(f"cannot read frame {name}: {size} bytes that are no JPEG or PNG picture") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(_too_large(name, str(error))) from error
    except Exception as error:  # of a damaged file Pillow raises nearly everything
        raise DataError(f"cannot read frame {name}: {error or type(error).__name__}") from error


def _too_large(name: Path | str, what: str) -> str:
    return f"cannot read frame {name}: {what}; at most {MAX_PIXELS // 10**6} million pixels are read"


def read_files(paths: list[Path]) -> np.ndarray:
    """The frames in files, (T, H, W, 3) uint8 RGB.

    Raises:
        DataError: a damaged frame, or different sizes.
    """
    return stacked([read_frame(path) for path in paths], paths)


def stacked(frames: Sequence[np.ndarray], paths: Sequence[Path]) -> np.ndarray:
    """Frames as (T, H, W, 3). DataError: of different sizes."""
    for path, frame in zip(paths, frames, strict=True):
        if frame.shape != frames[0].shape:
            (height, width), (first_height, first_width) = frame.shape[:2], frames[0].shape[:2]
            raise DataError(
                f"{path} is {width}x{height}, but {paths[0].name} beside it is {first_width}x{first_height}; "
                "the frames of a clip must be of one size"
            )
    return np.stack(frames)


def write_frames(clip_folder: Path, frames: np.ndarray) -> None:
    """Write a clip as 1.jpg, 2.jpg, ...: all of it or nothing. A clip that is there already is replaced.

    One that is black in all frames (a skeleton where nobody was found) gets an empty file `BLANK` beside them.

    Args:
        clip_folder: `<modality>_l<T>/<class>/<video>`; made with its parents.
        frames: (T, H, W, 3) uint8 RGB.

    Raises:
        DataError: a wrong shape.
        StorageError: no space for it.
    """
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or 0 in frames.shape:
        raise DataError(
            f"frames for {clip_folder} are {frames.shape} {frames.dtype}; (T, H, W, 3) uint8 is needed"
        )
    with whole_folder(Path(clip_folder)) as beside:
        digits = len(str(len(frames)))
        for t, frame in enumerate(frames, 1):
            (beside / f"{t:0{digits}}.jpg").write_bytes(encode_frame(frame))
        if not frames.any():
            (beside / BLANK).touch()
