"""Depth as a picture: near is bright, in one range for the whole clip.

Maps that others made are 16-bit PNG or NumPy arrays, as AdaBins (Bhat et al., CVPR 2021) gives them. They hold
distances, in any unit (AdaBins writes metres times 1000 or 256), larger being farther; 0 is no reading.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from litemkd.errors import DataError
from litemkd.modalities.files import files_of, made_size, of_one_size
from litemkd.modalities.record import Estimated, Imported, Modality
from litemkd.recordings.times import sample_times
from litemkd.recordings.videos import count_frames
from litemkd.storage.arrays import read_array
from litemkd.storage.files import not_a_file
from litemkd.storage.pictures import MAX_PIXELS, upright

# Share of a clip's readings left out at both ends when its range is found: single wrong ones do not set it.
OUTLIERS = 1.0  # per cent
DEPTH_SUFFIXES = (".png", ".npy")
PUBLISHED = "depth-anything/Depth-Anything-V2-Small-hf"


def encode_depth(nearness: np.ndarray, known: np.ndarray | None = None) -> np.ndarray:
    """How near things are, as pictures: near is bright, and 0 is no reading.

    One range for the whole clip, so that the pictures do not flicker where a frame's nearest thing comes and
    goes: from the 1st to the 99th per cent of all its readings, which become 1 and 255; what lies beyond is
    clipped.

    Args:
        nearness: (T, H, W) float, larger is nearer, in any unit (inverse depth, or what Depth Anything
            predicts).
        known: (T, H, W) bool, where there are readings; None is everywhere.

    Returns:
        (T, H, W, 3) uint8, three equal channels.

    Raises:
        DataError: a wrong shape, no reading at all, or readings that are not numbers.
    """
    if nearness.ndim != 3:
        raise DataError(f"depth to encode has shape {nearness.shape}; (T, H, W) is needed")
    known = np.ones(nearness.shape, bool) if known is None else known
    readings = nearness[known]
    if not readings.size:
        raise DataError("there is no depth reading in any of its frames")
    if not np.isfinite(readings).all():
        raise DataError("depth has values that are not numbers")
    low, high = np.percentile(readings, [OUTLIERS, 100.0 - OUTLIERS])
    share = (nearness - low) / (high - low) if high > low else np.full(nearness.shape, 0.5)
    grey = np.where(known, 1.0 + 254.0 * np.clip(share, 0.0, 1.0), 0.0)
    return np.repeat(np.rint(grey).astype(np.uint8)[..., None], 3, axis=-1)


def resize_map(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A map (H, W) in another size (H', W'), float32: area means to shrink, bilinear to grow."""
    if values.shape == tuple(size):
        return values.astype(np.float32)
    how = cv2.INTER_AREA if size[0] < values.shape[0] else cv2.INTER_LINEAR
    smaller: np.ndarray = cv2.resize(values.astype(np.float32), (size[1], size[0]), interpolation=how)
    return smaller


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


def depth_map_frames(source: Path, video: Path | None, T: int, short_side: int) -> np.ndarray:
    """Pictures of the depth maps in a folder, (T, H, W, 3) uint8; see `encode_depth`.

    There is one map for each frame, or one for each of the T sampled frames.
    """
    files = files_of(source, DEPTH_SUFFIXES)
    n = count_frames(video) if video else len(files)
    if len(files) not in (n, T) or len(files) < T:
        raise DataError(
            f"{source} has {len(files)} depth maps; "
            + (
                f"one for each of the video's {n} frames, or for the {T} sampled ones,"
                if video
                else f"{T} or more"
            )
            + " would do"
        )
    times = sample_times(len(files), T).tolist()
    maps = of_one_size([files[t] for t in times], read_depth_map)
    size = made_size(source, maps[0].shape[:2], short_side)
    near, known = (np.stack(part) for part in zip(*(nearness_of(one, size) for one in maps), strict=True))
    return encode_depth(near, known)


def _depth_anything() -> type[Any]:
    from litemkd.modalities.depth_anything import DepthAnything

    return DepthAnything


class Depth(Modality):
    """How near things are, as grey pictures."""

    ways = (
        Estimated("depth_anything", "Depth Anything V2", PUBLISHED, _depth_anything),
        Imported("adabins", "depth maps of AdaBins", depth_map_frames, "depth_maps", folders=True),
    )
    asked = True
    encoding = "near_bright"
