"""How rows are told apart in pictures: by colour, marker and filling, and the legend that says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.lines import Line2D

from litemkd.comparison.grouping import Row
from litemkd.report.labels import label

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


def numbered(place: int) -> Style:
    """A style by place alone: neighbours differ in colour and marker, and 64 are unlike."""
    marker = (place + place // len(COLOURS)) % len(MARKERS)
    return Style(COLOURS[place % len(COLOURS)], MARKERS[marker], True)


def styles_of(rows: Sequence[Row]) -> tuple[list[Style], list[Line2D]]:
    """A style a row, and the legend.

    What `distilled` says is the filling. What else differs between rows is colour and marker, where that is no
    more than two things of few values; else each row has a style of its own.
    """
    words = _words_by_look(rows)
    if words is None:
        styles = [numbered(place) for place in range(len(rows))]
        named = [_entry(row.title, style) for row, style in zip(rows, styles, strict=True)]
        more = [Line2D([], [], linestyle="none", label=f"… {len(rows) - LEGEND} more")] * (len(rows) > LEGEND)
        return styles, [*named[:LEGEND], *more]
    colours, markers, filled = (list(dict.fromkeys(values)) for values in words)
    styles = [
        Style(COLOURS[colours.index(colour)], MARKERS[markers.index(marker)], fill != "labels only")
        for colour, marker, fill in zip(*words, strict=True)
    ]
    legend = [_entry(name, Style(COLOURS[place], "o", True)) for place, name in enumerate(colours)]
    legend += [_entry(name, Style(INK, MARKERS[place], True)) for place, name in enumerate(markers)]
    legend += [_entry(name, Style(INK, "o", name != "labels only")) for name in filled]
    return styles, [entry for entry in legend if entry.get_label()]


def _words_by_look(rows: Sequence[Row]) -> tuple[list[str], list[str], list[str]] | None:
    """What colour, marker and filling say of each row; None where they cannot say all of it."""
    words = [dict(zip(row.by, row.key_words, strict=True)) for row in rows]
    filled = [found.pop("distilled", "") for found in words]
    for found, row in zip(words, rows, strict=True):
        found["settings"] = ", ".join(row.setting_words)
    names = list(words[0])
    differing = [name for name in names if len({found[name] for found in words}) > 1] or names[:1]
    if len(differing) > 2 or len(set(filled)) > 2 or (len(set(filled)) == 2 and "labels only" not in filled):
        return None
    shown = [[found[name] for found in words] for name in differing] + [[""] * len(rows)] * (2 - len(differing))
    colours, markers = shown
    if len(set(colours)) > len(COLOURS) or len(set(markers)) > len(MARKERS):
        return None
    return colours, markers, filled


def _entry(name: str, style: Style) -> Line2D:
    return Line2D([], [], linestyle="none", label=label(name), **style.drawn())
