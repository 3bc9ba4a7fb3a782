"""Flow: how far every pixel moves to the next frame, and flow as a picture.

It is computed by OpenCV's DIS method (Kroeger et al., "Fast Optical Flow using Dense Inverse Search", ECCV
2016): patches are matched from coarse to fine and averaged into a dense field. It needs no weights and runs on
a CPU. As a picture, channel 0 is the movement in x and channel 1 in y, 128 meaning none: what a network made
for pictures can read, and reversible to within half a step of the encoding.

FlowNet2 and the Middlebury benchmark write `.flo` files. They are little-endian: the float 202021.25 (the bytes
`PIEH`), width and height as int32, then dx and dy of each pixel, row by row, as float32. A component above 1e9
says that the flow of its pixel is not known.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from litemkd.errors import DataError
from litemkd.modalities.files import files_of, made_size, of_one_size
from litemkd.modalities.record import Computed, Estimated, Imported, Modality, turn
from litemkd.recordings.times import sample_times
from litemkd.recordings.videos import ClipFrames, count_frames

# The smallest side OpenCV's DIS accepts with the medium preset's patches of 8 pixels.
_MIN_SIDE = 12
MAGIC = b"PIEH"
UNKNOWN = 1e9
_LARGEST_SIDE = 20_000  # a header beyond it is damage: no video has such frames


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
    if not bound > 0:
        raise DataError(f"the bound of the flow is {bound}; it must be above 0 pixels per frame")
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


def flo_frames(source: Path, video: Path | None, T: int, short_side: int) -> np.ndarray:
    """Pictures of the flow in a folder of .flo files, (T, H, W, 3) uint8; see `encode_flow`.

    There is one file for each frame or for each pair of neighbours; the last frame may have none of its own and
    then takes the one before, as flow that is computed here does.
    """
    files = files_of(source, (".flo",))
    n = count_frames(video) if video else len(files)
    if len(files) not in (n, n - 1):
        raise DataError(
            f"{source} has {len(files)} .flo files, but its video has {n} frames: one for each frame, or for "
            "each pair of neighbours, is needed"
        )
    if n < T:
        raise DataError(f"{source} has flow of {n} frames; {T} are needed")
    flows = of_one_size([files[min(t, len(files) - 1)] for t in sample_times(n, T).tolist()], read_flo)
    size = made_size(source, flows[0].shape[:2], short_side)
    return encode_flow(np.stack([resize_flow(flow, size) for flow in flows]), flow_bound(short_side))


def dis_frames(clip: ClipFrames, short_side: int) -> np.ndarray:
    """Pictures of the flow of a clip by DIS, (T, H, W, 3) uint8."""
    return encode_flow(dis_flow(*clip.flow_pairs()), flow_bound(short_side))


def _raft() -> type[Any]:
    from litemkd.modalities.raft import Raft

    return Raft


class Flow(Modality):
    """Movements as pictures. A mirror negates the one in x."""

    ways = (
        Computed("dis", "optical flow by DIS, from the RGB videos", dis_frames),
        Estimated("raft", "RAFT, the large network", "Raft_Large_Weights.C_T_SKHT_V2", _raft),
        Estimated("raft_small", "RAFT, the small network", "Raft_Small_Weights.C_T_V2", _raft),
        Imported("flownet2", ".flo files of FlowNet2", flo_frames, "flow_flo", folders=True),
    )
    asked = True
    encoding = "flow_xy"

    def mirror(self, clip: np.ndarray) -> None:
        """Turned, and channel 0 negated about 128."""
        turn(clip)
        dx = clip[..., 0]
        # 256 - dx in eight bits; 0, which only JPEG noise makes, becomes 255.
        clip[..., 0] = np.where(dx == 0, 255, np.negative(dx))
