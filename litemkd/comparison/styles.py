"""How rows are told apart in pictures: by colour, marker and filling, and the legend that says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.lines import Line2D

from litemkd.comparison.grouping import Row

# Okabe and Ito's colours without the yellow, which is lost on white; grey in its place.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#7F7F7F")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
LEGEND = 24  # rows that are named when each has a style of its own
INK = "0.25"


@dataclass(frozen=True)
class Style:
    """Of one row; `filled` is whether its marker is."""

    colour: str
    marker: str
    filled: bool

    def drawn(self) -> dict[str, Any]:
        """Arguments of matplotlib."""
        return {
            "color": self.colour,
            "marker": self.marker,
            "markerfacecolor": self.colour if self.filled else "white",
        }


def styles_of(rows: Sequence[Row], by: Sequence[str]) -> list[Style]:
    """A style a row: by its keys where three tell all of it, else one after the other."""
    values = _values(rows, by)
    if values is None:
        count = len(COLOURS)
        return [
            Style(COLOURS[place % count], MARKERS[place // count % len(MARKERS)], True)
            for place in range(len(rows))
        ]
    colours, markers, filled = values
    return [
        Style(
            COLOURS[colours.index(_at(row, by, 0))],
            MARKERS[markers.index(_at(row, by, 1))],
            not filled or _at(row, by, 2) == filled[-1],
        )
        for row in rows
    ]


def _at(row: Row, by: Sequence[str], place: int) -> str:
    """The value shown by colour (0), marker (1) or filling (2): `distilled` fills, others come in order."""
    others = [key for key, name in zip(row.keys, by, strict=True) if name != "distilled"]
    if place == 2:
        return row.keys[list(by).index("distilled")] if "distilled" in by else ""
    return others[place] if place < len(others) else ""


def _values(rows: Sequence[Row], by: Sequence[str]) -> tuple[list[str], list[str], list[str]] | None:
    """Values shown by colour, marker and filling; None where these do not tell all rows apart."""
    if any(row.settings for row in rows) or len([key for key in by if key != "distilled"]) > 2:
        return None
    found = [list(dict.fromkeys(_at(row, by, place) for row in rows)) for place in range(3)]
    colours, markers, filled = found
    if len(colours) > len(COLOURS) or len(markers) > len(MARKERS) or len(filled) > 2:
        return None
    return colours, markers, sorted(value for value in filled if value)


def legend_of(rows: Sequence[Row], by: Sequence[str], styles: Sequence[Style]) -> list[Line2D]:
    """What colours, markers and filling mean, or the name of each row."""
    values = _values(rows, by)
    if values is None:
        entries = [_entry(row.title, style) for row, style in zip(rows, styles, strict=True)]
        more = len(entries) - LEGEND
        return (
            entries
            if more <= 0
            else [*entries[:LEGEND], Line2D([], [], linestyle="none", label=f"… {more} more")]
        )
    colours, markers, filled = values
    entries = [_entry(name, Style(COLOURS[i], "o", True)) for i, name in enumerate(colours) if name]
    entries += [_entry(name, Style(INK, MARKERS[i], True)) for i, name in enumerate(markers) if name]
    words = {"yes": "distilled", "no": "labels only"}
    return entries + [
        _entry(words.get(name, f"distilled: {name}"), Style(INK, "o", name == filled[-1])) for name in filled
    ]


def _entry(label: str, style: Style) -> Line2D:
    return Line2D([], [], linestyle="none", label=label.lstrip("_"), **style.drawn())
