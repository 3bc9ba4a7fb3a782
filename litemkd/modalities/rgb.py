"""RGB: the recordings themselves, all that a student sees."""

from __future__ import annotations

from litemkd.modalities.record import Modality


class Rgb(Modality):
    """The frames of the videos as they are."""

    recordings = ("videos", "rgb_videos")
