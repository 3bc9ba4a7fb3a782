"""Pictures of a comparison; the colours can be told apart by everyone."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from litemkd.comparison.comparison import Comparison, Line, typical
from litemkd.comparison.grouping import Column
from litemkd.comparison.readings import Reading
from litemkd.comparison.sheets import COSTS
from litemkd.comparison.styles import Style, numbered, styles_of
from litemkd.evaluation.intervals import Interval
from litemkd.report.figures import legend_below, panels, spread
from litemkd.report.labels import class_labels, label

PANELS = 6
CLASSES = 40
GREY = "0.45"


def accuracy_against_cost(comparison: Comparison, name: str = "gmacs_per_episode") -> Figure | None:
    """Accuracy with its interval against a cost, GMACs if not given, a panel a column, with the front.

    None where no run has it.
    """
    shown = [line for line in comparison.lines if line.cost.get(name)]
    columns = [c for c in comparison.columns if any(c in line.cells for line in shown)][:PANELS]
    if not columns:
        return None
    styles, legend = styles_of([line.row for line in shown])
    figure, every = panels(len(columns), 3, (4.2, 3.6), (1.2, 1.2))
    shots = "/".join(map(str, comparison.main_shots))
    for axes, column in zip(every, columns, strict=True):
        _cost_panel(axes, column, [*zip(shown, styles, strict=True)], name)
        counted = name == "gmacs_per_episode"
        axes.set(
            xlabel=f"GMACs of a {shots}-shot episode, as thop counts" if counted else COSTS[name],
            ylabel="test accuracy, per cent",
            title=str(column),
        )
    figure.suptitle("Mean and 95 % interval; points of nearly equal cost stand side by side", fontsize=9)
    front = Line2D([], [], color=GREY, linestyle="--", label="Pareto front")
    legend_below(figure, [*legend, front])
    return figure


def _cost_panel(axes: Axes, column: Column, lines: Sequence[tuple[Line, Style]], name: str) -> None:
    there = [(line, style) for line, style in lines if column in line.cells]
    costs = [typical(line.cost[name]) or 0.0 for line, _ in there]
    figures = [line.cells[column].accuracy for line, _ in there]
    for (_, style), x, figure in zip(there, _side_by_side(costs, spread(axes, costs)), figures, strict=True):
        _points(axes, [x], [Interval(figure.mean, figure.half)], markersize=6, capsize=2.5, **style.drawn())
    best = pareto([(x, figure.mean) for x, figure in zip(costs, figures, strict=True)])
    line = np.array([(costs[place], figures[place].mean) for place in best])
    line = np.vstack([line, (max(costs), line[-1, 1])])
    axes.step(line[:, 0], line[:, 1], where="post", color=GREY, linestyle="--", linewidth=1, zorder=1)
    axes.grid(alpha=0.3)
    axes.margins(0.08)
    if len(set(costs)) == 1:
        axes.set_xlim(0.8 * costs[0], 1.2 * costs[0])


def pareto(points: Sequence[tuple[float, float]]) -> list[int]:
    """Places of the points (cost, accuracy) that no other one beats: none is as cheap and more accurate, or
    cheaper and as accurate. By cost, rising; of equal points the first.
    """
    order = sorted(range(len(points)), key=lambda place: (points[place][0], -points[place][1], place))
    front: list[int] = []
    for place in order:
        if not front or points[place][1] > points[front[-1]][1]:
            front.append(place)
    return front


def _points(
    axes: Axes, places: Iterable[float], values: Sequence[Interval], *, across: bool = False, **given: Any
) -> None:
    """Means with their bars, where these are known; `across`: the values lie along the horizontal axis."""
    at, means = list(places), [value.mean for value in values]
    bars = [value.half if math.isfinite(value.half) else 0.0 for value in values]
    style: dict[str, Any] = {"linestyle": "none", "markersize": 4, "elinewidth": 1} | given
    if across:
        axes.errorbar(means, at, xerr=bars, **style)
    else:
        axes.errorbar(at, means, yerr=bars, **style)


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
        there = {place: row[class_] for place, class_ in enumerate(kept) if class_ in row}
        heights = [place - offset for place in there]
        style: dict[str, Any] = {"label": label(name), "capsize": 2, **numbered(number).drawn()}
        _points(axes, heights, [*there.values()], across=True, **style)
    axes.axvline(0, color=GREY, linewidth=1)
    axes.set_yticks(range(len(kept)), class_labels(kept), fontsize=8)
    axes.set_ylim(-0.7, len(kept) - 0.3)
    axes.set(xlabel="gain of the class, points (distilled minus labels only)", ylabel="test class")
    cut = f", the {CLASSES} that change most" if len(classes) > CLASSES else ""
    axes.set_title(f"{label(title)}{cut}\n{label(note)}", fontsize=10)
    axes.grid(alpha=0.3, axis="x")
    legend_below(figure, axes.get_legend_handles_labels()[0])
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
        style = numbered(number)
        axes.plot(steps, means, markersize=4, linewidth=1.3, label=label(name), **style.drawn())
        axes.fill_between(steps, means - halves, means + halves, color=style.colour, alpha=0.12, linewidth=0)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.set(xlabel="training episodes seen", ylabel="val accuracy, per cent")
    axes.set_title("Learning curves; bands: 95 % interval over the val episodes", fontsize=10)
    axes.grid(alpha=0.3)
    legend_below(figure, axes.get_legend_handles_labels()[0])
    return figure


def response(readings: Sequence[Reading]) -> Figure | None:
    """Val accuracy against temperature and each weight of the loss that varies; None where none does."""
    keys = list(dict.fromkeys(key for reading in readings for key in reading.settings))
    varying = [k for k in keys if len({r.settings[k] for r in readings if k in r.settings}) > 1][:PANELS]
    if not varying:
        return None
    figure, every = panels(len(varying), 3, (3.8, 3.2), (1.0, 1.2))
    names = list(dict.fromkeys(reading.name for reading in readings))
    for axes, key in zip(every, varying, strict=True):
        there = [reading for reading in readings if key in reading.settings]
        values = [reading.settings[key] for reading in there]
        moved = _side_by_side(values, spread(axes, values))
        for number, name in enumerate(names):
            mine = [(x, one.accuracy) for x, one in zip(moved, there, strict=True) if one.name == name]
            if mine:
                _points(axes, *zip(*mine, strict=True), label=label(name), **numbered(number).drawn())
        axes.set(xlabel=f"{key.removeprefix('loss.')} (no unit)", ylabel="val accuracy, per cent")
        axes.grid(alpha=0.3)
    figure.suptitle(
        "Distilled students, one point a training\nbars: 95 % interval over the val episodes", fontsize=9
    )
    handles = {h.get_label(): h for axes in every for h in axes.get_legend_handles_labels()[0]}
    legend_below(figure, list(handles.values()))
    return figure
