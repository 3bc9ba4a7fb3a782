"""Square crops of packed clips: the centre, or a place, a scale and a mirroring that chance decides."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from litemkd.data.packs.encoded import pool
from litemkd.data.packs.pack import FramePack
from litemkd.errors import DataError
from litemkd.recordings.videos import centre_corner


def crop_clips(
    pack: FramePack,
    rows: Sequence[int] | np.ndarray,
    size: int,
    rng: np.random.Generator | None = None,
    *,
    flip: bool = True,
    scale: tuple[float, float] | None = None,
) -> np.ndarray:
    """Square crops of clips: one place, scale and mirroring for all frames of a clip.

    Args:
        pack: where the clips are.
        rows: (V,) rows of the pack, see `FramePack.rows`.
        size: side of the crops in pixels.
        rng: None takes the centre, unmirrored. Else four numbers a clip are drawn whatever the options, so the
            same generator state crops every modality of a clip alike.
        flip: with `rng`, mirror every second clip or so (half the chance), as its modality's record does.
        scale: with `rng`, cut a square of this share of the short side, (smallest, largest), and resize it to
            `size`; None or (1, 1) cuts `size` pixels as they are.

    Returns:
        (V, T, size, size, 3) uint8.

    Raises:
        DataError: frames smaller than the crop.
    """
    for row in rows:
        height, width = pack.size(row)
        if min(height, width) < size:
            raise DataError(
                f"{pack.names[row]} ({pack.modality}) has frames of {width}x{height} in the pack, too small "
                f"for a crop of {size}; prepare with a short side of {size} or more, or crop less"
            )
    out = np.empty((len(rows), pack.T, size, size, 3), np.uint8)
    if rng is None:

        def centre(clip: np.ndarray, row: int) -> None:
            _cut(pack, row, clip, *centre_corner(*pack.size(row), size), size)

        list((pool().map if pack.encoded else map)(centre, out, rows))
        return out

    smallest, largest = scale or (1, 1)
    resizing = (smallest, largest) != (1, 1)

    def augment(clip: np.ndarray, row: int, draws: np.ndarray) -> None:
        height, width = pack.size(row)
        by_scale, down, across, by_flip = draws.tolist()
        side = size
        if resizing:
            side = max(1, round((smallest + (largest - smallest) * by_scale) * min(height, width)))
        _cut(pack, row, clip, int(down * (height - side + 1)), int(across * (width - side + 1)), side)
        if flip and by_flip < 0.5:
            pack.mirror(clip)

    draws = rng.random((len(rows), 4))
    # Resizing and decoding compute; copying alone is as fast as memory is, whatever the number of threads.
    list((pool().map if resizing or pack.encoded else map)(augment, out, rows, draws))
    return out


def _cut(pack: FramePack, row: int, out: np.ndarray, top: int, left: int, side: int) -> None:
    """Copy a square of a clip's frames to `out` (T, size, size, 3), resized where `side` is another."""
    piece = pack.clip(row)[:, top : top + side, left : left + side]
    size = out.shape[1]
    if side == size:
        out[:] = piece
        return
    how = cv2.INTER_AREA if side > size else cv2.INTER_LINEAR
    for frame, place in zip(piece, out, strict=True):
        cv2.resize(frame, (size, size), dst=place, interpolation=how)
