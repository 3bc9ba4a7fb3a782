"""Depth as a picture: near is bright, in one range for the whole clip."""

from __future__ import annotations

import cv2
import numpy as np

from litemkd.errors import DataError

# Share of a clip's readings left out at both ends when its range is found: single wrong ones do not set it.
OUTLIERS = 1.0  # per cent


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
