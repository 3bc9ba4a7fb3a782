"""Reading depth maps that others made: 16-bit PNG or NumPy arrays, as AdaBins (Bhat et al., CVPR 2021) gives
them.

A map holds distances, in any unit (AdaBins writes metres times 1000 or 256), larger being farther; 0 is no
reading.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from litemkd.arrays import read_array
from litemkd.errors import DataError
from litemkd.files import not_a_file
from litemkd.modalities.depth import resize_map
from litemkd.pictures import MAX_PIXELS, upright

DEPTH_SUFFIXES = (".png", ".npy")


def read_depth_map(path: Path) -> np.ndarray:
    """A map of distances, (H, W) float32; 0 where there is no reading (0, negative, or not a number in the
    file).

    Raises:
        DataError: unreadable, damaged, not 16-bit, or not one map.
    """
    path = Path(path)
    values = read_array(path) if path.suffix.lower() == ".npy" else _read_png(path)
    if values.ndim > 2:  # AdaBins keeps the axes of batch and channel
        values = values.reshape([side for side in values.shape if side != 1] or (1,))
    if values.ndim != 2 or 0 in values.shape or values.dtype.kind not in "iuf":
        raise DataError(f"{path} has shape {values.shape}, {values.dtype}; (H, W) numbers are needed")
    values = values.astype(np.float32)
    return np.where(np.isfinite(values) & (values > 0), values, np.float32(0.0))


def _read_png(path: Path) -> np.ndarray:
    if wrong := not_a_file(path):
        raise DataError(f"cannot read depth map {path}: {wrong}")
    try:
        with Image.open(io.BytesIO(path.read_bytes()), formats=("PNG",)) as image:
            if image.width * image.height > MAX_PIXELS:
                size, most = f"{image.width}x{image.height}", MAX_PIXELS // 10**6
                raise DataError(f"{path} has {size} pixels; at most {most} million are read")
            if not image.mode.startswith("I"):
                raise DataError(
                    f"{path} is a picture of kind {image.mode}; a depth map is a 16-bit grey PNG, or .npy"
                )
            return upright(image)
    except DataError:
        raise
    except Exception as error:  # of a damaged file Pillow raises nearly everything
        raise DataError(f"cannot read depth map {path}: {error or type(error).__name__}") from error


def nearness_of(distances: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """How near things are, 1 / distance, in another size, and where there are readings.

    Inverse distance is what Depth Anything predicts up to scale and shift, so both make pictures of one kind.
    Pixels without a reading take no part in the means; a new pixel has one when most of it has.

    Args:
        distances: (H, W) float, 0 is no reading.
        size: (H', W').

    Returns:
        (H', W') float32 and (H', W') bool.
    """
    known = distances > 0
    near = np.divide(1.0, distances, out=np.zeros_like(distances), where=known)
    share = resize_map(known.astype(np.float32), size)
    near = resize_map(near, size)
    return np.divide(near, share, out=np.zeros_like(near), where=share > 0), share > 0.5
