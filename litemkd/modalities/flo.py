"""Reading `.flo` files, the form in which FlowNet2 and the Middlebury benchmark write optical flow.

Little-endian: the float 202021.25 (the bytes `PIEH`), width and height as int32, then dx and dy of each pixel,
row by row, as float32. A component above 1e9 says that the flow of its pixel is not known.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from litemkd.errors import DataError

MAGIC = b"PIEH"
UNKNOWN = 1e9
_LARGEST_SIDE = 20_000  # a header beyond it is damage: no video has such frames


def read_flo(path: Path) -> np.ndarray:
    """The flow in a file, (H, W, 2) float32, dx and dy in pixels of that picture. Where it is unknown, it is 0.

    Raises:
        DataError: unreadable, not of this form, cut off or too long, or values that are not numbers.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read flow {path}: {error.strerror}") from error
    if content[:4] != MAGIC or len(content) < 12:
        raise DataError(
            f"{path} is no .flo file: it begins with {content[:4]!r}, not {MAGIC!r}"
            if content[:4] != MAGIC
            else f"{path} is cut off: {len(content)} bytes, fewer than the 12 of its header"
        )
    width, height = struct.unpack("<ii", content[4:12])
    if not (0 < width <= _LARGEST_SIDE and 0 < height <= _LARGEST_SIDE):
        raise DataError(f"{path} is damaged: its header says {width}x{height} pixels")
    expected = 12 + 8 * width * height
    if len(content) != expected:
        raise DataError(f"{path} has {len(content)} bytes; flow of {width}x{height} pixels has {expected}")
    flow = np.frombuffer(content, "<f4", offset=12).reshape(height, width, 2)
    if not np.isfinite(flow).all():
        raise DataError(f"{path} has values that are not numbers (NaN or infinite)")
    unknown = (np.abs(flow) > UNKNOWN).any(-1, keepdims=True)
    return np.where(unknown, 0.0, flow).astype(np.float32)
