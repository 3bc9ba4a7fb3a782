"""Infrared: what a second camera saw, as it recorded it. Nothing derives it."""

from __future__ import annotations

from litemkd.modalities.record import Modality


class Infrared(Modality):
    """Recordings of a thermal or near-infrared camera in `infrared_videos/`, or frames in `infrared_l8/`."""
