"""None of these: whether logits are below the threshold that a student has learned on val."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np


def is_known(logits: np.ndarray, about: Mapping[str, Any], shot: int) -> bool:
    """Whether a query of logits (W,) is of one of the classes; always where the student has no threshold.

    Args:
        logits: of W classes.
        about: the description of the exported student, with its `calibration`.
        shot: examples of a class.
    """
    calibration = about.get("calibration") or {}
    kinds = [one for one in calibration.get("temperatures") or () if one.get("threshold") is not None]
    if calibration.get("score") is None or not kinds:
        return True
    near = min(
        kinds, key=lambda one: abs(math.log(one["way"] / len(logits))) + abs(math.log(one["shot"] / shot))
    )
    warm = logits.astype(np.float64) / near["temperature"]
    above = warm - warm.max()
    score = {
        "logit": float(logits.max()),
        "energy": near["temperature"] * (float(warm.max()) + math.log(float(np.exp(above).sum()))),
        "probability": 1 / float(np.exp(above).sum()),
    }[calibration["score"]]
    return bool(score >= near["threshold"])
