"""Results as a Markdown table and as plain values for JSON."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from benchmarks.work import Measured, Result, Work


def value(number: float, unit: str) -> str:
    """A value with its unit, three digits."""
    if unit != "s":
        return f"{number:.3g} {unit}"
    for limit, each, name in ((1e-3, 1e-6, "µs"), (1.0, 1e-3, "ms"), (120.0, 1.0, "s"), (7200.0, 60.0, "min")):
        if number < limit:
            return f"{number / each:.3g} {name}"
    return f"{number / 3600:.3g} h"


def asked(work: Work) -> str:
    """What a work is to show."""
    goals = [f"{work.at_least:g} x or more"] if work.at_least is not None else []
    if work.at_most is not None:
        goals.append(f"{value(work.at_most, work.unit)} or less")
    return ", ".join(goals)


def table(results: Sequence[Result]) -> str:
    """Markdown; the columns of a GPU are there when it was used."""
    gpu = any(result.ours.peak_share is not None for result in results)
    head = ["work", "published", "litemkd", "ratio", "asked", "reached", "peak memory, MiB", "measured"]
    head += ["GPU use", "share of matmul peak"] if gpu else []
    lines = [head, ["---"] * len(head)]
    for result in results:
        work, sides = result.work, (result.published, result.ours)
        cells = [
            f"`{work.name}`: {work.what}",
            *(value(side.median, work.unit) for side in sides),
            f"{result.ratio:.3g} x",
            asked(work),
            "yes" if result.reached else "**no**",
            " / ".join(f"{side.peak_mib:.0f}" for side in sides),
            work.measured,
        ]
        if gpu:
            cells.append(" / ".join(_percent(side.gpu_percent) for side in sides))
            cells.append(" / ".join(_percent(side.peak_share and 100 * side.peak_share) for side in sides))
        lines.append(cells)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _percent(number: float | None) -> str:
    return "" if number is None else f"{number:.0f} %"


def record(results: Sequence[Result], about: dict[str, Any]) -> dict[str, Any]:
    """Everything as plain values: when, where (`about`), and each work with both sides."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return {"date": now, **about, "works": [_entry(result) for result in results]}


def _entry(result: Result) -> dict[str, Any]:
    work = result.work
    fields = ("name", "what", "measured", "unit", "at_least", "at_most")
    return {
        **{key: getattr(work, key) for key in fields},
        "ratio": result.ratio,
        "reached": result.reached,
        "published": _side(result.published),
        "ours": _side(result.ours),
    }


def _side(side: Measured) -> dict[str, Any]:
    return {"median": side.median, **asdict(side)}
