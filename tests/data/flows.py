"""The flow in pictures of it, for tests."""

from __future__ import annotations

import numpy as np


def decode_flow(image: np.ndarray, bound: float) -> np.ndarray:
    """The flow, (..., H, W, 2) pixels a frame, in pictures made by `encode_flow` with this bound."""
    return (image[..., :2].astype(np.float32) - 128.0) * np.float32(bound / 127.0)
