"""Pictures of a comparison, made without pyplot's global state; the colours can be told apart by everyone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, NullLocator, StrMethodFormatter

from litemkd.comparison.comparison import Comparison, Line, typical
from litemkd.comparison.front import pareto
from litemkd.comparison.grouping import Column
from litemkd.comparison.styles import COLOURS, MARKERS, Style, styles_of
from litemkd.intervals import Interval
from litemkd.report.labels import class_labels, label

PANELS = 6
WIDE = 8  # from this ratio of largest and smallest on, an axis is logarithmic
CLASSES = 40
GREY = "0.45"


@dataclass(frozen=True)
class Reading:
    """A training's val accuracy under its loss settings, for the response.

    Attributes:
        name: of what was trained: data set, backbone, head.
        settings: by key, such as `loss.temperature`.
        accuracy: on val, per cent.
    """

    name: str
    settings: Mapping[str, float]
    accuracy: Interval


def accuracy_against_cost(comparison: Comparison) -> Figure | None:
    """Accuracy with its interval against GMACs, a panel a column, with the front; None without costs."""
    shown = [line for line in comparison.lines if line.cost.get("gmacs_per_episode")]
    columns = [c for c in comparison.columns if any(c in line.cells for line in shown)][:PANELS]
    if not columns:
        return None
    styles, legend = styles_of([line.row for line in shown])
    across = min(len(columns), 3)
    down = math.ceil(len(columns) / across)
    figure = Figure(figsize=(1.2 + 4.2 * across, 1.2 + 3.6 * down), layout="constrained")
    panels = figure.subplots(down, across, squeeze=False).ravel()
    shots = "/".join(map(str, comparison.main_shots))
    for axes, column in zip(panels, columns, strict=False):
        _cost_panel(axes, column, [(line, style) for line, style in zip(shown, styles, strict=True)])
        axes.set(
            xlabel=f"GMACs of a {shots}-shot episode, as thop counts",
            ylabel="test accuracy, per cent",
            title=str(column),
        )
    for axes in panels[len(columns) :]:
        axes.remove()
    figure.suptitle("Mean and 95 % interval; points of nearly equal cost stand side by side", fontsize=9)
    front = Line2D([], [], color=GREY, linestyle="--", label="Pareto front")
    _legend_below(figure, [*legend, front])
    return figure


def _cost_panel(axes: Axes, column: Column, lines: Sequence[tuple[Line, Style]]) -> None:
    there = [(line, style) for line, style in lines if column in line.cells]
    costs = [typical(line.cost["gmacs_per_episode"]) or 0.0 for line, _ in there]
    figures = [line.cells[column].accuracy for line, _ in there]
    wide = _spread(axes, costs)
    for (_, style), x, figure in zip(there, _side_by_side(costs, wide), figures, strict=True):
        axes.errorbar(
            x,
            figure.mean,
            yerr=figure.half if math.isfinite(figure.half) else None,
            **style.drawn(),
            markersize=6,
            capsize=2.5,
            elinewidth=1,
            linestyle="none",
        )
    best = pareto([(x, figure.mean) for x, figure in zip(costs, figures, strict=True)])
    line = np.array([(costs[place], figures[place].mean) for place in best])
    line = np.vstack([line, (max(costs), line[-1, 1])])
    axes.step(line[:, 0], line[:, 1], where="post", color=GREY, linestyle="--", linewidth=1, zorder=1)
    axes.grid(alpha=0.3)
    axes.margins(0.08)
    if len(set(costs)) == 1:
        axes.set_xlim(0.8 * costs[0], 1.2 * costs[0])


def _spread(axes: Axes, values: Sequence[float]) -> bool:
    """Make the axis of costs logarithmic where they differ much, and say whether it is."""
    wide = min(values) > 0 and max(values) / min(values) >= WIDE
    if wide:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        axes.xaxis.set_major_locator(MaxNLocator(6))
    return wide


def _side_by_side(values: Sequence[float], wide: bool) -> list[float]:
    """Values, with points that would lie on one another moved apart by about a marker's width."""
    at = [math.log(value) for value in values] if wide else list(values)
    span = (max(at) - min(at)) or abs(at[0]) or 1.0
    clusters: list[list[int]] = []
    for place in sorted(range(len(at)), key=lambda place: at[place]):
        if clusters and at[place] - at[clusters[-1][-1]] < 0.06 * span:
            clusters[-1].append(place)
        else:
            clusters.append([place])
    for cluster in clusters:
        middle = sum(at[place] for place in cluster) / len(cluster)
        step = min(0.02, 0.12 / len(cluster)) * span
        for number, place in enumerate(cluster if len(cluster) > 1 else ()):
            at[place] = middle + step * (number - (len(cluster) - 1) / 2)
    return [math.exp(value) for value in at] if wide else at


def per_class_gains(gains: Mapping[str, Mapping[str, Interval]], title: str, note: str) -> Figure:
    """Gain of each class in points, a colour a row of the comparison; classes by their mean gain.

    Args:
        gains: row in words -> class -> gain; at most `CLASSES` classes are shown, those that change most.
        title: above the picture.
        note: what the bars are intervals of.
    """
    classes = list(dict.fromkeys(name for row in gains.values() for name in row))
    mean = {name: float(np.mean([row[name].mean for row in gains.values() if name in row])) for name in classes}
    kept = sorted(sorted(classes, key=lambda name: -abs(mean[name]))[:CLASSES], key=lambda name: mean[name])
    figure = Figure(figsize=(7.5, 1.8 + 0.16 * len(kept) * (1 + 0.5 * len(gains))), layout="constrained")
    axes = figure.subplots()
    for number, (name, row) in enumerate(gains.items()):
        offset = 0.7 * ((number + 0.5) / len(gains) - 0.5)
        places = [place for place, name in enumerate(kept) if name in row]
        axes.errorbar(
            [row[kept[place]].mean for place in places],
            [place - offset for place in places],
            xerr=np.nan_to_num([row[kept[place]].half for place in places]),
            fmt=MARKERS[number % len(MARKERS)],
            color=COLOURS[number % len(COLOURS)],
            label=label(name),
            markersize=4,
            capsize=2,
            elinewidth=0.9,
        )
    axes.axvline(0, color=GREY, linewidth=1)
    axes.set_yticks(range(len(kept)), class_labels(kept), fontsize=8)
    axes.set_ylim(-0.7, len(kept) - 0.3)
    axes.set(xlabel="gain of the class, points (distilled minus labels only)", ylabel="test class")
    cut = f", the {CLASSES} that change most" if len(classes) > CLASSES else ""
    axes.set_title(f"{label(title)}{cut}\n{label(note)}", fontsize=10)
    axes.grid(alpha=0.3, axis="x")
    _legend_below(figure, axes.get_legend_handles_labels()[0])
    return figure


def curves_of_runs(curves: Mapping[str, Sequence[Mapping[str, float]]]) -> Figure:
    """Val accuracy over the training of several runs.

    Args:
        curves: run in words -> its validations, with `episodes`, `accuracy` and `ci95` (per cent).
    """
    figure = Figure(figsize=(7.5, 4.5), layout="constrained")
    axes = figure.subplots()
    for number, (name, points) in enumerate(curves.items()):
        steps, means, halves = (
            np.array([point[key] for point in points], dtype=float) for key in ("episodes", "accuracy", "ci95")
        )
        colour = COLOURS[number % len(COLOURS)]
        axes.plot(
            steps,
            means,
            color=colour,
            marker=MARKERS[number % len(MARKERS)],
            markersize=4,
            linewidth=1.3,
            label=label(name),
        )
        axes.fill_between(steps, means - halves, means + halves, color=colour, alpha=0.12, linewidth=0)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.set(xlabel="training episodes seen", ylabel="val accuracy, per cent")
    axes.set_title("Learning curves; bands: 95 % interval over the val episodes", fontsize=10)
    axes.grid(alpha=0.3)
    _legend_below(figure, axes.get_legend_handles_labels()[0])
    return figure


def response(readings: Sequence[Reading]) -> Figure | None:
    """Val accuracy against temperature and each weight of the loss that varies; None where none does."""
    keys = list(dict.fromkeys(key for reading in readings for key in reading.settings))
    varying = [k for k in keys if len({r.settings[k] for r in readings if k in r.settings}) > 1][:PANELS]
    if not varying:
        return None
    across = min(len(varying), 3)
    down = math.ceil(len(varying) / across)
    figure = Figure(figsize=(1.0 + 3.8 * across, 1.2 + 3.2 * down), layout="constrained")
    panels = figure.subplots(down, across, squeeze=False).ravel()
    names = list(dict.fromkeys(reading.name for reading in readings))
    for axes, key in zip(panels, varying, strict=False):
        there = [reading for reading in readings if key in reading.settings]
        wide = _spread(axes, [reading.settings[key] for reading in there])
        moved = _side_by_side([reading.settings[key] for reading in there], wide)
        for number, name in enumerate(names):
            mine = [
                (x, reading.accuracy) for x, reading in zip(moved, there, strict=True) if reading.name == name
            ]
            if mine:
                axes.errorbar(
                    [x for x, _ in mine],
                    [accuracy.mean for _, accuracy in mine],
                    np.nan_to_num([accuracy.half for _, accuracy in mine]),
                    fmt=MARKERS[number % len(MARKERS)],
                    color=COLOURS[number % len(COLOURS)],
                    markersize=4,
                    elinewidth=0.7,
                    label=label(name),
                )
        axes.set(xlabel=f"{key.removeprefix('loss.')} (no unit)", ylabel="val accuracy, per cent")
        axes.grid(alpha=0.3)
    for axes in panels[len(varying) :]:
        axes.remove()
    figure.suptitle(
        "Distilled students, one point a training\nbars: 95 % interval over the val episodes", fontsize=9
    )
    handles = {h.get_label(): h for axes in panels[: len(varying)] for h in axes.get_legend_handles_labels()[0]}
    _legend_below(figure, list(handles.values()))
    return figure


def _legend_below(figure: Figure, handles: Sequence[Artist]) -> None:
    needed = (max(len(str(handle.get_label())) for handle in handles) + 8) / 14  # inches of the longest
    figure.set_figwidth(max(needed, figure.get_figwidth()))
    across = max(1, min(4, len(handles), int(figure.get_figwidth() / needed)))
    figure.set_figheight(figure.get_figheight() + 0.19 * math.ceil(len(handles) / across))
    figure.legend(handles=list(handles), loc="outside lower center", ncols=across, fontsize=8, frameon=False)
