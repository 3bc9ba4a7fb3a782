"""What distillation does to each class."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from litemkd.comparison.comparison import Classes, Comparison
from litemkd.comparison.grouping import Column
from litemkd.comparison.statistics import figure_of
from litemkd.evaluation.intervals import Z95, Interval

ROWS = 4  # that are shown


@dataclass(frozen=True)
class ClassGains:
    """Gains by class.

    Attributes:
        gains: row in words -> class -> gain in points.
        note: what the intervals are about.
    """

    gains: dict[str, dict[str, Interval]]
    note: str


def class_gains(comparison: Comparison, column: Column, classes: Classes) -> ClassGains:
    """Gains of the first rows of a column that have a baseline.

    Of several seeds the interval is Student's t over them. Of one it is that of a difference of two shares of
    the class's queries, as if these were independent, which makes it too wide rather than too narrow.
    """
    gains: dict[str, dict[str, Interval]] = {}
    most = 1
    for line in comparison.lines:
        cell = line.cells.get(column)
        if cell is None or len(gains) == ROWS:
            continue
        by_class: dict[str, list[Interval]] = {}
        for entry, gain in zip(cell.entries, cell.gains, strict=True):
            mine = classes(entry.run_id, column.shot) if gain else None
            theirs = classes(gain.baseline, column.shot) if gain and gain.baseline else None
            if mine and theirs:
                for name, value in _differences(mine, theirs).items():
                    by_class.setdefault(name, []).append(value)
        if by_class:
            found = {name: figure_of(values) for name, values in by_class.items()}
            gains[line.row.title] = {name: Interval(figure.mean, figure.half) for name, figure in found.items()}
            most = max(most, *(figure.runs for figure in found.values()))
    seeds = f"95 % interval over up to {most} seeds"
    return ClassGains(gains, f"bars: {seeds if most > 1 else '95 % interval over the queries of one seed'}")


def _differences(mine: Sequence[Mapping[str, Any]], theirs: Sequence[Mapping[str, Any]]) -> dict[str, Interval]:
    others = {row["class"]: row for row in theirs}
    found = {}
    for row in mine:
        other = others.get(row["class"])
        if other is not None and row["accuracy"] is not None and other["accuracy"] is not None:
            half = Z95 * math.sqrt(_variance(row) + _variance(other))
            found[str(row["class"])] = Interval(row["accuracy"] - other["accuracy"], half)
    return found


def _variance(row: Mapping[str, Any]) -> float:
    """Of the share of right answers among the class's queries, per cent squared."""
    return row["accuracy"] * (100 - row["accuracy"]) / max(row["queries"], 1)
