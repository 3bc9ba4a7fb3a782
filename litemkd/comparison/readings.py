"""Val accuracies under the settings of their loss."""

from __future__ import annotations

import math
from collections.abc import Iterable

from litemkd.comparison.pictures import Reading
from litemkd.intervals import Interval
from litemkd.tracking import RunRecord

RESPONSE = ("temperature", "kd", "ce", "ce_distill", "support", "support_temperature", "feature", "relation")


def readings_of(records: Iterable[RunRecord]) -> list[Reading]:
    """Finished distilled students, trials of a search among them: what they reached on val, never on test."""
    found = []
    for record in records:
        accuracy = record.metrics.get("val/accuracy", float("nan"))
        distilled = record.stage == "trial" or record.tags.get("litemkd.distilled") == "true"
        if record.status == "FINISHED" and distilled and math.isfinite(accuracy):
            half = record.metrics.get("val/accuracy_ci95", float("nan"))
            settings = {
                f"loss.{name}": float(record.params[f"loss.{name}"])
                for name in RESPONSE
                if f"loss.{name}" in record.params
            }
            told = [record.tags.get(f"litemkd.{key}", "") for key in ("dataset", "backbone", "head")]
            found.append(Reading(", ".join(word for word in told if word), settings, Interval(accuracy, half)))
    return found
