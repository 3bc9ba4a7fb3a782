"""Small recordings made for the tests."""

from pathlib import Path

import av
import numpy as np


def numbered_frames(n: int, height: int = 48, width: int = 64) -> np.ndarray:
    """(n, height, width, 3) uint8: frame i is grey of 20 + 4 i, with a white mark in its top left corner."""
    frames = np.empty((n, height, width, 3), np.uint8)
    frames[:] = (20 + 4 * np.arange(n, dtype=np.uint8))[:, None, None, None]
    frames[:, : height // 4, : width // 4] = 255
    return frames


def frame_numbers(frames: np.ndarray) -> list[int]:
    """Which of `numbered_frames` these are, read off their grey."""
    height, width = frames.shape[1:3]
    grey = frames[:, height // 2 :, width // 2 :].astype(float).mean((1, 2, 3))
    return [round((value - 20) / 4) for value in grey]


def write_video(path: Path, frames: np.ndarray, codec: str = "libx264") -> Path:
    """Encode (n, H, W, 3) uint8 RGB as a real video file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=15)
        stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], "yuv420p"
        if codec == "libx264":
            stream.options = {"crf": "10", "preset": "veryfast"}
        else:
            stream.bit_rate = 4_000_000
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path
