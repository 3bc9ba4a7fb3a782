"""RGB difference: how every place changes from a frame to the next one of the recording.

As TSN's stream of that name (Wang et al., ECCV 2016): the difference of neighbouring frames at the recording's
own rate, not of those that are sampled, which lie too far apart to show how something moves.
"""

from __future__ import annotations

import numpy as np

from litemkd.modalities.record import Computed, Modality
from litemkd.recordings.videos import ClipFrames

GREY = 128  # no change


def rgb_difference(clip: ClipFrames, short_side: int) -> np.ndarray:
    """(T, H, W, 3) uint8: the later frame less the earlier one, by colour, halved; 128 is no change."""
    before, after = clip.flow_pairs()
    return ((after.astype(np.int16) - before) // 2 + GREY).astype(np.uint8)


class RgbDifference(Modality):
    """Brighter than grey where a frame becomes brighter, darker where it becomes darker."""

    asked = True
    ways = (Computed("difference", "differences of neighbouring RGB frames", rgb_difference),)
