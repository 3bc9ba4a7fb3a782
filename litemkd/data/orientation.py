"""How a recording's pictures are to be turned and mirrored so that they stand upright.

A container's display matrix takes a stored place (x, y), y downwards, to (a x + c y, b x + d y). Of what such a
matrix may say, the eight ways to lay a picture on its sides are followed, as FFmpeg's own `-autorotate` does; a
matrix in between counts as the nearest of them, and its scale and offset do not matter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import av
import numpy as np


@dataclass(frozen=True)
class Orientation:
    """What is done to a stored picture, in this order.

    Attributes:
        transposed: rows become columns.
        mirrored: left and right change places.
        flipped: top and bottom change places.
    """

    transposed: bool = False
    mirrored: bool = False
    flipped: bool = False

    def size(self, height: int, width: int) -> tuple[int, int]:
        """(H, W) of a picture of that stored size once it is upright."""
        return (width, height) if self.transposed else (height, width)

    def upright(self, picture: np.ndarray) -> np.ndarray:
        """A stored picture (H, W, 3), upright."""
        if self.transposed:
            picture = picture.swapaxes(0, 1)
        return np.ascontiguousarray(
            picture[:: -1 if self.flipped else 1, :: -1 if self.mirrored else 1],
        )


def orientation_of(frame: av.VideoFrame) -> Orientation:
    """How a decoded frame lies: by its display matrix, which is upright where there is none."""
    beside: Any = frame.side_data
    matrix = beside.get("DISPLAYMATRIX")
    if matrix is None:
        return Orientation()
    a, b, _, c, d = np.frombuffer(matrix, np.int32)[:5].tolist()  # 9 whole numbers, row by row
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Orientation(mirrored=a < 0, flipped=d < 0)
    return Orientation(transposed=True, mirrored=c < 0, flipped=b < 0)
