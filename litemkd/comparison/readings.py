"""Val accuracies under the settings of their loss."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from litemkd.evaluation.intervals import Interval
from litemkd.losses import TERMS
from litemkd.tracking import RunRecord

RESPONSE = ("temperature", *(term.name for term in TERMS), "support_temperature")
_OUTSIDE = re.compile(r"loss\.terms\.\w+\.weight")  # of terms from outside


@dataclass(frozen=True)
class Reading:
    """What a training reached.

    Attributes:
        name: of what was trained: data set, backbone, head.
        settings: of its loss by key, such as `loss.temperature`.
        accuracy: on val, per cent.
    """

    name: str
    settings: Mapping[str, float]
    accuracy: Interval


def readings_of(records: Iterable[RunRecord]) -> list[Reading]:
    """Finished distilled students, trials of a search among them: what they reached on val, never on test."""
    found = []
    for record in records:
        accuracy = record.metrics.get("val/accuracy", float("nan"))
        distilled = record.stage == "trial" or record.tags.get("litemkd.distilled") == "true"
        if record.status == "FINISHED" and distilled and math.isfinite(accuracy):
            half = record.metrics.get("val/accuracy_ci95", float("nan"))
            keys = [f"loss.{name}" for name in RESPONSE if f"loss.{name}" in record.params]
            keys += sorted(filter(_OUTSIDE.fullmatch, record.params))
            settings = {key: float(record.params[key]) for key in keys}
            words = [record.tags.get(f"litemkd.{key}", "") for key in ("dataset", "backbone", "head")]
            found.append(Reading(", ".join(word for word in words if word), settings, Interval(accuracy, half)))
    return found
