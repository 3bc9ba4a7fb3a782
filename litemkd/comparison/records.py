"""The comparison as data: JSON with every run, and CSV with one line a row and column."""

from __future__ import annotations

import json
import math
from typing import Any

import pandas as pd

from litemkd.comparison.comparison import Cell, Comparison, Line, typical
from litemkd.comparison.grouping import Column
from litemkd.comparison.ledger import Entry, ledger
from litemkd.comparison.published import PUBLISHED, QUOTED
from litemkd.comparison.sheets import GAINS, INTERVALS, cost_names
from litemkd.comparison.statistics import Figure

Record = dict[str, Any]


def as_json(comparison: Comparison, published: bool = False) -> str:
    """All figures with their runs; unknown ones are null."""
    groups = comparison.groups
    values: Record = {
        "by": list(groups.by),
        "columns": [
            {"dataset": c.dataset, "shot": c.shot, "unit": "%", "protocol": dict(groups.protocols[c.dataset])}
            for c in groups.columns
        ],
        "rows": [_line(line, groups.by) for line in comparison.lines],
        "costs": cost_names(comparison),
        "notes": [INTERVALS, GAINS],
        "left_out": [
            {"run_id": one.run_id, "name": one.name, "reason": one.reason} for one in comparison.left_out
        ],
    }
    if published:
        values["published"] = {
            "note": QUOTED,
            "rows": [
                {
                    **{"method": row.method, "backbone": row.backbone, "head": row.head},
                    **{"distilled": row.distilled, "gmacs_per_episode": row.gmacs, "source": row.source},
                    **{"where": row.where, "trust": row.trust, "apart": row.apart, "run": row.run},
                    "cells": [
                        {"dataset": name, "shot": shot, "accuracy": value}
                        for (name, shot), value in row.accuracy.items()
                    ],
                }
                for row in PUBLISHED
            ],
        }
        values["ledger"] = [_ledger(entry) for entry in ledger(comparison)]
    return json.dumps(values, indent=2, allow_nan=False) + "\n"


def _ledger(entry: Entry) -> Record:
    cell, claimed = entry.cell, entry.row.accuracy[entry.column]
    return {
        **{"method": entry.row.method, "backbone": entry.row.backbone, "trust": entry.row.trust},
        **{"dataset": entry.column.dataset, "shot": entry.column.shot, "claimed": claimed},
        "rerun": None if cell is None else _figure(cell.accuracy),
        "difference": None if cell is None else cell.accuracy.mean - claimed,
        "run": entry.row.command(*entry.column),
    }


def _line(line: Line, by: tuple[str, ...]) -> Record:
    return {
        "keys": dict(zip(by, line.row.keys, strict=True)),
        "settings": dict(line.row.settings),
        "cells": [_cell(column, cell) for column, cell in line.cells.items()],
        "cost": {
            name: {
                "median": _number(typical(values)),
                "min": min(values),
                "max": max(values),
                "runs": len(values),
            }
            for name, values in line.cost.items()
        },
    }


def _cell(column: Column, cell: Cell) -> Record:
    return {
        "dataset": column.dataset,
        "shot": column.shot,
        "accuracy": _figure(cell.accuracy),
        "gain": None if cell.gain is None else _figure(cell.gain) | _tested(cell.gain),
        "runs": [
            {
                "run_id": entry.run_id,
                "seed": entry.seed,
                "fold": entry.fold or None,
                "accuracy": _number(entry.accuracy[column.shot].mean),
                "accuracy_ci95": _number(entry.accuracy[column.shot].half),
                "gain": None if gain is None else _number(gain.points.mean),
                "gain_ci95": None if gain is None else _number(gain.points.half),
                "baseline_run_id": None if gain is None else gain.baseline,
            }
            for entry, gain in zip(cell.entries, cell.gains, strict=True)
        ],
    }


def _figure(figure: Figure) -> Record:
    return {
        "mean": _number(figure.mean),
        "half_width": _number(figure.half),
        "seeds": figure.runs,
        "folds": figure.folds,
        "interval_over": figure.over,
        "episodes_half_width": _number(figure.episodes),
        "needed": figure.needed,
    }


def _tested(gain: Figure) -> Record:
    p = None if gain.corrected is None else _number(gain.corrected)
    return {"leaves_zero": gain.leaves_zero, "p": _number(gain.p), "p_holm": p}


def _number(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def flat_rows(comparison: Comparison, published: bool = False) -> list[Record]:
    """One record a row and column, with numbers as numbers; quoted ones say so."""
    costs = cost_names(comparison)
    records: list[Record] = []
    for line in comparison.lines:
        for column, cell in line.cells.items():
            gain = cell.gain
            records.append(
                {
                    **dict(zip(comparison.groups.by, line.row.keys, strict=True)),
                    "settings": line.row.settings_in_one,
                    "dataset": column.dataset,
                    "shot": column.shot,
                    "accuracy_percent": cell.accuracy.mean,
                    "accuracy_half_width": _number(cell.accuracy.half),
                    "seeds": cell.accuracy.runs,
                    "folds": cell.accuracy.folds,
                    "interval_over": cell.accuracy.over,
                    "accuracy_episodes_half_width": _number(cell.accuracy.episodes),
                    "gain_points": gain.mean if gain else None,
                    "gain_half_width": _number(gain.half) if gain else None,
                    "gain_seeds": gain.runs if gain else None,
                    "gain_leaves_zero": gain.leaves_zero if gain else None,
                    "gain_episodes_half_width": _number(gain.episodes) if gain else None,
                    "gain_p_holm": _tested(gain)["p_holm"] if gain else None,
                    **{name: typical(line.cost.get(name, ())) for name in costs},
                    "quoted_from": "",
                }
            )
    for row in PUBLISHED if published else ():
        keys = {"backbone": row.backbone, "head": row.head, "distilled": row.distilled}
        records += [
            {
                **{key: keys.get(key, "") for key in comparison.groups.by},
                "settings": row.method,
                "dataset": name,
                "shot": shot,
                "accuracy_percent": value,
                "gmacs_per_episode_plain": row.gmacs,
                "quoted_from": row.source,
            }
            for (name, shot), value in row.accuracy.items()
        ]
    return records


def as_csv(comparison: Comparison, published: bool = False) -> str:
    """The flat rows."""
    records = flat_rows(comparison, published)
    names = list(dict.fromkeys(name for record in records for name in record)) or list(comparison.groups.by)
    return pd.DataFrame(records, columns=names, dtype=object).to_csv(index=False, lineterminator="\n")
