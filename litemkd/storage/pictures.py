"""Pictures of any kind: which way up they are, and how large they may be."""

from __future__ import annotations

import struct
import warnings
from pathlib import Path

import numpy as np
from PIL import Image

from litemkd.errors import DataError

MAX_PIXELS = 40_000_000  # of a picture, read or made; 8K video has 33 million
_TAG = 0x0112  # of the orientation, in EXIF
# Pillow looks for the density of a picture in its EXIF data, and warns where they are damaged: no matter here.
warnings.filterwarnings("ignore", "(Possibly c|C)orrupt EXIF data", UserWarning)
# What a camera that was held otherwise wrote, and how its picture is turned upright.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def is_turned(image: Image.Image) -> bool:
    """Whether the EXIF data of an open picture say that it is not stored upright.

    For a JPEG the header is read, a PNG (which may say it at its end) is read whole.
    """
    return _orientation(image) in _TURNS


def upright(image: Image.Image) -> np.ndarray:
    """The pixels of a picture, turned as its EXIF data say."""
    turn = _TURNS.get(_orientation(image))
    return np.asarray(image if turn is None else image.transpose(turn))


def upright_size(image: Image.Image) -> tuple[int, int]:
    """(H, W) of a picture turned as its EXIF data say."""
    lies = _orientation(image) in (5, 6, 7, 8)
    return (image.width, image.height) if lies else (image.height, image.width)


def check_made(name: Path | str, before: tuple[int, int], after: tuple[int, int]) -> None:
    """Refuse to make a picture beyond `MAX_PIXELS` of a thin one; sizes are (H, W), before and after resizing.

    Raises:
        DataError: it would be larger; `name` says which it is made of.
    """
    if after[0] * after[1] > MAX_PIXELS:
        raise DataError(
            f"{name} is {before[1]}x{before[0]} pixels, and would be {after[1]}x{after[0]} with a short side "
            f"of {min(after)}; at most {MAX_PIXELS // 10**6} million pixels are made"
        )


def _orientation(image: Image.Image) -> int:
    """What EXIF says of how a picture was taken, 1 to 8; 1 where it says nothing that can be read.

    Read here, in a few bytes: Pillow's own reader ends in errors of all kinds where the data are damaged.
    """
    if image.format == "PNG":
        image.load()
    data = image.info.get("exif", b"")
    data = data[6:] if data[:6] == b"Exif\0\0" else data
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(f"{order}I", data, 4)
        (count,) = struct.unpack_from(f"{order}H", data, start)
        for place in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind, number, value = struct.unpack_from(f"{order}HHIH", data, place)
            if tag == _TAG:
                return int(value) if (kind, number) == (3, 1) else 1
    except struct.error:
        pass
    return 1
