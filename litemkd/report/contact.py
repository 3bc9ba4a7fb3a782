"""A contact sheet: a few clips of a data set, their frames side by side and their modalities below one another.

Whether flow, depth and skeletons were made of the right videos, at the right times and the right way round, is
seen at a glance and hardly otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from PIL import Image, ImageDraw, ImageFont

HEIGHT = 96  # of a frame, pixels
GAP = 3
TITLE = 20  # height of a line of words
LABEL = 76  # width of the modalities' names
WIDEST = 4 * HEIGHT  # of a frame, pixels; a wider one is shown less high


def contact_sheet(clips: Mapping[str, Mapping[str, np.ndarray]]) -> Image.Image:
    """The picture.

    Args:
        clips: by name; each its frames (T, H, W, 3) uint8 by modality. Sizes may differ.

    Returns:
        A white RGB picture with, for each clip, its name, the numbers of the frames, and a row for each
        modality, frames 96 pixels high.
    """
    words = ImageFont.load_default(13)
    widths = [
        [_shown(frames.shape[1], frames.shape[2])[0] for frames in rows.values()] for rows in clips.values()
    ]
    column = max((width for some in widths for width in some), default=HEIGHT) + GAP
    columns = max((len(frames) for rows in clips.values() for frames in rows.values()), default=0)
    heights = [2 * TITLE + len(rows) * (HEIGHT + GAP) + 3 * GAP for rows in clips.values()]
    sheet = Image.new("RGB", (LABEL + columns * column + GAP, max(1, sum(heights))), "white")
    draw = ImageDraw.Draw(sheet)
    top = 0
    for (name, rows), height in zip(clips.items(), heights, strict=True):
        draw.text((GAP, top + GAP), name, "black", words)
        for t in range(columns):
            draw.text((LABEL + t * column, top + TITLE + GAP), f"frame {t + 1}", "dimgrey", words)
        y = top + 2 * TITLE
        for modality, frames in rows.items():
            draw.text((GAP, y + HEIGHT // 2 - 8), modality, "black", words)
            for t, frame in enumerate(frames):
                small = Image.fromarray(frame).resize(_shown(*frame.shape[:2]), Image.Resampling.BILINEAR)
                sheet.paste(small, (LABEL + t * column, y))
            y += HEIGHT + GAP
        top += height
    return sheet


def _shown(height: int, width: int) -> tuple[int, int]:
    """Width and height at which a frame is shown."""
    scale = min(HEIGHT / height, WIDEST / width)
    return max(1, round(width * scale)), max(1, round(height * scale))
