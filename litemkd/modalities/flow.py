"""Optical flow: how far every pixel moves to the next frame, and flow as a picture.

Flow is computed by OpenCV's DIS method (Kroeger et al., "Fast Optical Flow using Dense Inverse Search", ECCV
2016): patches are matched from coarse to fine and averaged into a dense field. It needs no weights and runs on
a CPU. As a picture, channel 0 is the movement in x and channel 1 in y, 128 meaning none: what a network made
for pictures can read, and reversible to within half a step of the encoding.
"""

from __future__ import annotations

import cv2
import numpy as np

from litemkd.errors import DataError

# The smallest side OpenCV's DIS accepts with the medium preset's patches of 8 pixels.
_MIN_SIDE = 12


def flow_bound(short_side: int) -> float:
    """The movement, in pixels per frame, at which the picture saturates: 20 at a short side of 256."""
    return 20.0 * short_side / 256.0


def encode_flow(flow: np.ndarray, bound: float) -> np.ndarray:
    """Flow as a picture.

    Args:
        flow: (H, W, 2) or (T, H, W, 2) float, dx and dy in pixels per frame.
        bound: movement in pixels per frame that gives the darkest and the brightest value; more is clipped.

    Returns:
        (..., H, W, 3) uint8: 128 + d * 127 / bound for dx and dy, and a constant 128.

    Raises:
        DataError: a wrong shape, values that are not numbers, or a bound that is not positive.
    """
    flow = np.asarray(flow)
    _check_bound(bound)
    if flow.ndim not in (3, 4) or flow.shape[-1] != 2:
        raise DataError(f"flow to encode has shape {flow.shape}; (H, W, 2) or (T, H, W, 2) is needed")
    if not np.isfinite(flow).all():
        raise DataError("flow to encode has values that are not numbers (NaN or infinite)")
    image = np.full((*flow.shape[:-1], 3), 128, np.uint8)
    image[..., :2] = np.rint(128.0 + np.clip(flow, -bound, bound) * (127.0 / bound)).astype(np.uint8)
    return image


def dis_flow(frames: np.ndarray, following: np.ndarray) -> np.ndarray:
    """Flow from each frame to the one that follows it in the recording.

    The last frame of a recording has none after it: give its predecessor in `frames` and itself in `following`,
    as `ClipFrames.flow_pairs` does.

    Args:
        frames: (T, H, W, 3) uint8 RGB.
        following: (T, H, W, 3) uint8 RGB.

    Returns:
        (T, H, W, 2) float32, dx and dy in pixels. The same for any number of threads.

    Raises:
        DataError: shapes that differ or frames below 12 pixels a side.
    """
    if frames.shape != following.shape or frames.ndim != 4 or frames.shape[-1] != 3:
        raise DataError(
            f"flow needs two stacks of frames of one shape (T, H, W, 3); got {frames.shape}, {following.shape}"
        )
    if min(frames.shape[1:3]) < _MIN_SIDE:
        raise DataError(
            f"frames of {frames.shape[2]}x{frames.shape[1]} pixels are too small for flow ({_MIN_SIDE})"
        )
    method = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    # Zero, because what is passed as the result is also the first guess.
    flow = np.zeros((*frames.shape[:3], 2), np.float32)
    # A patch starts from its neighbour's result within a stripe, and every thread has its stripe: keep to one.
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        for t, (first, second) in enumerate(zip(frames, following, strict=True)):
            grey = (cv2.cvtColor(first, cv2.COLOR_RGB2GRAY), cv2.cvtColor(second, cv2.COLOR_RGB2GRAY))
            flow[t] = method.calc(*grey, flow[t])
    finally:
        cv2.setNumThreads(threads)
    return flow


def resize_flow(flow: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Flow (H, W, 2) for pictures of another size (H', W'): resized, and its movements with it, dx by W' / W.

    Area means to shrink, bilinear to grow, as frames are resized.
    """
    height, width = flow.shape[:2]
    if (height, width) == tuple(size):
        return flow
    how = cv2.INTER_AREA if size[0] < height else cv2.INTER_LINEAR
    resized = cv2.resize(flow.astype(np.float32), (size[1], size[0]), interpolation=how)
    scaled: np.ndarray = resized * np.array([size[1] / width, size[0] / height], np.float32)
    return scaled


def _check_bound(bound: float) -> None:
    if not bound > 0:
        raise DataError(f"the bound of the flow is {bound}; it must be above 0 pixels per frame")
