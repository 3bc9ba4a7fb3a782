"""Differences of neighbouring frames."""

from __future__ import annotations

import numpy as np

from litemkd.modalities.registry import modality
from litemkd.modalities.rgb_difference import rgb_difference
from litemkd.recordings.videos import ClipFrames


def test_each_place_is_half_of_what_changed_and_the_last_frame_has_the_last_change() -> None:
    frames = np.array([10, 200, 90], np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    following = np.array([30, 255, 95], np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    clip = ClipFrames(frames, following, 10, np.array([0, 4, 9]))  # the last one's neighbour comes before it
    assert rgb_difference(clip, 2)[:, 0, 0, 0].tolist() == [128 + 10, 128 + 27, 128 - 3]
    record = modality("rgb_difference")
    assert record.unasked is None
    assert [way.name for way in record.ways] == ["difference"]
    assert not record.mirrored(record.encoding)
