"""Pictures of a study, made without pyplot's global state.

Optuna has pictures of its own (`optuna.visualization.matplotlib`), which are not used: beside a dozen settings
with choices and conditions their labels lie on one another, they leave out stopped and failed trials, mark
neither the default settings nor the trials of a front by number, and change the style of all later figures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import optuna
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator
from optuna.trial import FrozenTrial, TrialState

from litemkd.search.axes import Scale, scales
from litemkd.search.tables import (
    STATES,
    complete,
    front,
    importances,
    is_default,
    short_names,
    signs,
    study_tables,
    varying,
)

__all__ = ["study_pictures", "study_tables"]

BEST, PLAIN, PRUNED, FAILED, STAR = "tab:green", "tab:blue", "tab:orange", "tab:red", "black"
SIZE = 26  # of markers
WIDE = 8  # from this ratio of largest and smallest on, an axis is logarithmic
LABELS = 12  # trials of a front that are numbered


def study_pictures(
    study: optuna.Study, names: Sequence[str], steps: str = "training episodes seen"
) -> dict[str, Figure]:
    """The pictures of a study for which it has enough trials.

    Args:
        study: with one or two objectives.
        names: of the objectives, with their units.
        steps: what the steps of intermediate values count.

    Returns:
        `history`: objectives by trial; from the first finished trial on. `slices` (with two objectives also
        `slices_2`) and `parallel`: objectives by setting; two complete trials whose settings differ.
        `importances`: four of them. `curves`: intermediate values, where trials report any. `pareto`: with two
        objectives, from the first complete trial on.
    """
    done = complete(study)
    pictures: dict[str, Figure] = {}
    if study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)):
        pictures["history"] = _history(study, names)
    if len(done) > 1 and varying(done):
        for place, name in enumerate(names):
            pictures["slices" if place == 0 else f"slices_{place + 1}"] = _slices(done, place, name)
        pictures["parallel"] = _parallel(done, names, signs(study)[0])
    rows = importances(study, names)
    if any(row[name] for row in rows for name in names):
        pictures["importances"] = _importances(rows, names)
    if any(trial.intermediate_values for trial in study.get_trials(deepcopy=False)):
        pictures["curves"] = _curves(study, names[0], steps)
    if len(names) > 1 and done:
        pictures["pareto"] = _pareto(study, names)
    return pictures


def _history(study: optuna.Study, names: Sequence[str]) -> Figure:
    figure = Figure(figsize=(8, 1.2 + 2.8 * len(names)), layout="constrained")
    panels = figure.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0]
    done = complete(study)
    pruned = study.get_trials(deepcopy=False, states=(TrialState.PRUNED,))
    failed = study.get_trials(deepcopy=False, states=(TrialState.FAIL,))
    for place, (axes, name, sign) in enumerate(zip(panels, names, signs(study), strict=True)):
        values = np.array([trial.values[place] for trial in done])
        numbers = [trial.number for trial in done]
        if done:
            _dots(axes, list(zip(numbers, values, strict=True)), color=PLAIN, label="complete")
            best = sign * np.minimum.accumulate(sign * values)
            axes.step(numbers, best, where="post", color=BEST, label="best so far")
        stopped = [trial for trial in pruned if len(names) == 1 and trial.values is not None]
        if stopped:
            points = [(trial.number, trial.values[0]) for trial in stopped]
            _dots(axes, points, color=PRUNED, marker="x", label="pruned, at its last value")
        unseen = [trial.number for trial in pruned if trial not in stopped]
        _ticks(axes, unseen, PRUNED, "pruned")
        _ticks(axes, [trial.number for trial in failed], FAILED, "failed")
        _star(axes, [(trial.number, trial.values[place]) for trial in done if is_default(trial)])
        if not done and not stopped:
            axes.set_yticks([])
        axes.set(ylabel=name)
        axes.grid(alpha=0.3)
    panels[-1].set(xlabel="trial")
    panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    _legend(figure, panels[0])
    return figure


def _ticks(axes: Axes, numbers: Sequence[int], color: str, label: str) -> None:
    """Short strokes at the lower end of the axes, for trials without a value."""
    at = axes.get_xaxis_transform()
    _dots(
        axes,
        [(one, 0) for one in numbers],
        90,
        color=color,
        marker="|",
        label=label,
        transform=at,
        clip_on=False,
    )


def _star(axes: Axes, points: Sequence[tuple[Any, float]]) -> None:
    _dots(axes, points, 110, color=STAR, marker="*", label="default settings", zorder=5)


def _dots(axes: Axes, points: Sequence[tuple[Any, Any]], size: float = SIZE, **style: Any) -> None:
    if points:
        x, y = zip(*points, strict=True)
        axes.scatter(x, y, s=size, **{"zorder": 3} | style)


def _legend(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, fontsize=8, frameon=False)


def _slices(done: Sequence[FrozenTrial], place: int, name: str) -> Figure:
    found = scales(done)
    columns = min(4, len(found))
    rows = -(-len(found) // columns)
    figure = Figure(figsize=(1.2 + 2.6 * columns, 0.6 + 2.5 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False)
    short = short_names(found)
    shades = Normalize(0, max(trial.number for trial in done) or 1)
    for (key, scale), axes in zip(found.items(), panels.flat, strict=False):
        here = [trial for trial in done if key in trial.params]
        points = scale.places([trial.params[key] for trial in here])
        values = [trial.values[place] for trial in here]
        colours = [trial.number for trial in here]
        axes.scatter(points, values, s=SIZE, c=colours, cmap="viridis_r", norm=shades)
        _star(axes, [(x, y) for x, y, trial in zip(points, values, here, strict=True) if is_default(trial)])
        axes.tick_params("x", labelsize=8)
        _scaled(axes, scale)
        axes.set_xlabel(short[key])
        axes.grid(alpha=0.3)
    for axes in panels[:, 0]:
        axes.set_ylabel(name)
    used, unused = list(panels.flat)[: len(found)], list(panels.flat)[len(found) :]
    for axes in unused:
        axes.remove()
    bar = figure.colorbar(ScalarMappable(shades, "viridis_r"), ax=used, label="trial", aspect=30)
    bar.ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    if any(map(is_default, done)):
        _legend(figure, next(axes for axes in used if axes.get_legend_handles_labels()[0]))
    return figure


def _scaled(axes: Axes, scale: Scale) -> None:
    """The horizontal axis of a setting."""
    if scale.choices:
        axes.set_xticks(range(len(scale.choices)), scale.choices)
        axes.set_xlim(-0.6, len(scale.choices) - 0.4)
        if sum(map(len, scale.choices)) > 18:
            axes.tick_params("x", rotation=35)
            for label in axes.get_xticklabels():
                label.set(ha="right", rotation_mode="anchor")
    elif scale.log:
        _logarithmic(axes, scale.high / scale.low)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=scale.whole, min_n_ticks=1))


def _logarithmic(axes: Axes, ratio: float) -> None:
    axes.set_xscale("log")
    subs = (1.0,) if ratio > 100 else (1.0, 3.0) if ratio > 10 else (1.0, 2.0, 5.0)
    axes.xaxis.set_major_locator(LogLocator(subs=subs, numticks=6))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_minor_locator(NullLocator())


def _parallel(done: Sequence[FrozenTrial], names: Sequence[str], sign: int) -> Figure:
    """A line for each trial over an axis for each setting, objectives first; the best ones lie on top."""
    found = scales(done)
    short = short_names(found)
    columns: list[tuple[str, Scale, Callable[[FrozenTrial], Any]]] = [
        (name.replace(", ", ",\n"), Scale.of_numbers([trial.values[place] for trial in done]), _value(place))
        for place, name in enumerate(names)
    ]
    columns += [(short[key], scale, _param(key)) for key, scale in found.items()]
    figure = Figure(figsize=(1.8 + 1.25 * len(columns), 4.6), layout="constrained")
    axes = figure.subplots()
    values = [trial.values[0] for trial in done]
    shades = ScalarMappable(Normalize(min(values), max(values)), "viridis" if sign < 0 else "viridis_r")
    for trial in sorted(done, key=lambda trial: -sign * trial.values[0]):
        heights = [scale.height(given(trial)) for _, scale, given in columns]
        line: dict[str, Any] = {"color": shades.to_rgba(trial.values[0]), "alpha": 0.8}
        if is_default(trial):
            line = {"color": STAR, "linestyle": "--", "label": "default settings"}
        axes.plot(range(len(columns)), heights, **line)
    for place, (_, scale, _) in enumerate(columns):
        axes.axvline(place, color="0.3", linewidth=0.8)
        for height, label in scale.labels():
            axes.annotate(
                label,
                (place, height),
                (3, 0),
                textcoords="offset points",
                fontsize=7,
                va="center",
                bbox={"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.7},
            )
    axes.set_xticks(range(len(columns)), [label for label, _, _ in columns], fontsize=8)
    axes.set_xlim(-0.1, len(columns) - 0.4)
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    axes.tick_params("x", length=0)
    figure.colorbar(shades, ax=axes, label=names[0], aspect=30, pad=0.01)
    if any(map(is_default, done)):
        _legend(figure, axes)
    return figure


def _value(place: int) -> Callable[[FrozenTrial], Any]:
    return lambda trial: trial.values[place]


def _param(key: str) -> Callable[[FrozenTrial], Any]:
    return lambda trial: trial.params.get(key, Scale.ABSENT)


def _importances(rows: Sequence[dict[str, Any]], names: Sequence[str]) -> Figure:
    figure = Figure(figsize=(7, 1.3 + 0.32 * len(rows) * max(1, 0.7 * len(names))), layout="constrained")
    axes = figure.subplots()
    short = short_names([row["parameter"] for row in rows])
    thick = 0.8 / len(names)
    for place, name in enumerate(names):
        heights = np.arange(len(rows)) + (place - (len(names) - 1) / 2) * thick
        bars = axes.barh(heights, [100 * row[name] for row in rows], thick * 0.92, label=f"for {name}")
        axes.bar_label(bars, fmt="%.0f", padding=3, fontsize=8)
    axes.set_yticks(range(len(rows)), [short[row["parameter"]] for row in rows])
    axes.invert_yaxis()
    axes.margins(x=0.08)
    axes.set_xlabel("importance, per cent")
    axes.grid(axis="x", alpha=0.3)
    _legend(figure, axes)
    return figure


def _curves(study: optuna.Study, name: str, steps: str) -> Figure:
    figure = Figure(figsize=(8, 4.2), layout="constrained")
    axes = figure.subplots()
    done = complete(study)
    best = min(done, key=lambda trial: signs(study)[0] * trial.values[0], default=None)
    seen = set()
    for trial in study.get_trials(deepcopy=False):
        if not trial.intermediate_values:
            continue
        points = sorted(trial.intermediate_values.items())
        line: dict[str, Any]
        if best is not None and trial.number == best.number:
            more = ", default settings" if is_default(trial) else ""
            kind, line = f"best (trial {trial.number}{more})", {"color": BEST, "linewidth": 2.2, "zorder": 4}
        elif is_default(trial):
            kind, line = "default settings", {"color": STAR, "linestyle": "--", "zorder": 5}
        else:
            color = {TrialState.PRUNED: PRUNED, TrialState.FAIL: FAILED}.get(trial.state, PLAIN)
            kind, line = STATES[trial.state], {"color": color, "alpha": 0.4 if color == PLAIN else 0.7}
        if kind not in seen:
            line["label"] = kind
        seen.add(kind)
        line = {"linewidth": 1.2, "marker": "o", "markersize": 2.5, **line}
        axes.plot(*zip(*points, strict=True), **line)
        if kind in ("pruned", "failed"):
            _dots(axes, points[-1:], color=line["color"], marker="x")
    axes.set(xlabel=steps, ylabel=name)
    axes.grid(alpha=0.3)
    _legend(figure, axes)
    return figure


def _pareto(study: optuna.Study, names: Sequence[str]) -> Figure:
    figure = Figure(figsize=(7, 4.6), layout="constrained")
    axes = figure.subplots()
    done, unbeaten = complete(study), front(study)
    chosen = {trial.number for trial in unbeaten}
    others = [_cost_first(trial) for trial in done if trial.number not in chosen]
    _dots(axes, others, color="0.65", label="other trials", zorder=2)
    points = [_cost_first(trial) for trial in unbeaten]
    axes.plot(
        *zip(*points, strict=True), "o-", color=BEST, markersize=6, linewidth=1, label="Pareto front", zorder=3
    )
    every = max(1, -(-len(unbeaten) // LABELS))
    for trial in unbeaten[::every]:
        axes.annotate(
            str(trial.number), _cost_first(trial), (4, -10), textcoords="offset points", fontsize=8, color=BEST
        )
    _star(axes, [_cost_first(trial) for trial in done if is_default(trial)])
    costs = [trial.values[1] for trial in done]
    if min(costs) > 0 and max(costs) / min(costs) >= WIDE:
        _logarithmic(axes, max(costs) / min(costs))
    better = ["higher" if sign < 0 else "lower" for sign in signs(study)]
    axes.set(xlabel=f"{names[1]} ({better[1]} is better)", ylabel=f"{names[0]} ({better[0]} is better)")
    axes.set_title("Numbers are those of trials", fontsize=9)
    axes.grid(alpha=0.3)
    _legend(figure, axes)
    return figure


def _cost_first(trial: FrozenTrial) -> tuple[float, float]:
    return trial.values[1], trial.values[0]
