"""What pictures of many runs share: panels, logarithmic axes, a legend below."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

WIDE = 8  # from this ratio of largest and smallest on, an axis is logarithmic


def panels(
    count: int, across: int, size: tuple[float, float], margin: tuple[float, float], **subplots: Any
) -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels, at most `across` a row, each of `size` inches (width, height)."""
    across = min(across, count)
    down = math.ceil(count / across)
    inches = (margin[0] + size[0] * across, margin[1] + size[1] * down)
    figure = Figure(figsize=inches, layout="constrained")
    found = list(figure.subplots(down, across, squeeze=False, **subplots).flat)
    for axes in found[count:]:
        axes.remove()
    return figure, found[:count]


def logarithmic(axes: Axes, ratio: float) -> None:
    """Make the horizontal axis logarithmic, with few plain numbers for so large a ratio of its ends."""
    axes.set_xscale("log")
    subs = (1.0,) if ratio > 100 else (1.0, 3.0) if ratio > 10 else (1.0, 2.0, 5.0)
    axes.xaxis.set_major_locator(LogLocator(subs=subs, numticks=6))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_minor_locator(NullLocator())


def spread(axes: Axes, values: Sequence[float]) -> bool:
    """Make the horizontal axis logarithmic where values differ much; whether it is."""
    wide = min(values) > 0 and max(values) / min(values) >= WIDE
    if wide:
        logarithmic(axes, max(values) / min(values))
    else:
        axes.xaxis.set_major_locator(MaxNLocator(6))
    return wide


def legend_below(figure: Figure, handles: Sequence[Artist]) -> None:
    """A legend under the panels; the figure grows with it."""
    needed = (max(len(str(handle.get_label())) for handle in handles) + 8) / 14  # inches of the longest
    figure.set_figwidth(max(needed, figure.get_figwidth()))
    across = max(1, min(5, len(handles), int(figure.get_figwidth() / needed)))
    figure.set_figheight(figure.get_figheight() + 0.19 * math.ceil(len(handles) / across))
    figure.legend(handles=list(handles), loc="outside lower center", ncols=across, fontsize=8, frameon=False)
