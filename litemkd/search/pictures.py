"""Pictures of a study. Optuna draws what it can draw truly, docs/searching.md says why not all."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import optuna
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, TrialState
from optuna.visualization import matplotlib as drawn_by_optuna

from litemkd.report.figures import legend_below, logarithmic, panels, spread
from litemkd.search.axes import Scale, scales
from litemkd.search.tables import (
    STATES,
    complete,
    front,
    importances,
    is_default,
    short_names,
    signs,
    varying,
)

BEST, PLAIN, PRUNED, FAILED, STAR = "tab:green", "tab:blue", "tab:orange", "tab:red", "black"
SIZE = 26  # of markers
LABELS = 12  # trials of a front that are numbered


def study_pictures(study: optuna.Study, names: Sequence[str]) -> dict[str, Figure]:
    """The pictures of a study for which it has enough trials.

    Args:
        study: with one or two objectives.
        names: of the objectives, with their units.

    Returns:
        `history`: objectives by trial, and `timeline`: when each was run; from the first finished trial on.
        `slices` (with two objectives also `slices_2`) and `parallel`: objectives by setting; of two complete
        trials whose settings differ on. `importances`: of four of them on. `curves`: intermediate values, where
        trials report any. `pareto`: with two objectives, from the first complete trial on.
    """
    done = complete(study)
    pictures: dict[str, Figure] = {}
    if study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)):
        pictures["history"] = _history(study, names)
        pictures["timeline"], _ = _by_optuna(lambda: drawn_by_optuna.plot_timeline(study))
    if len(done) > 1 and varying(done):
        for place, name in enumerate(names):
            pictures["slices" if place == 0 else f"slices_{place + 1}"] = _slices(done, place, name)
        pictures["parallel"] = _parallel(study, done, names)
    rows = importances(study, names)
    if any(row[name] for row in rows for name in names):
        pictures["importances"] = _importances(rows, names)
    if any(trial.intermediate_values for trial in study.get_trials(deepcopy=False)):
        pictures["curves"] = _curves(study, names[0])
    if len(names) > 1 and done:
        pictures["pareto"] = _pareto(study, names)
    return pictures


def _by_optuna(draw: Callable[[], Axes]) -> tuple[Figure, Axes]:
    """What Optuna draws, without what it does to pyplot's state and style."""
    with pyplot.rc_context({"figure.constrained_layout.use": True}), warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        warnings.filterwarnings("ignore", "The figure layout has changed")  # the timeline sees to its own
        warnings.filterwarnings("ignore", "Attempting to set identical low and high")  # trials alike
        axes = draw()
    figure = axes.figure
    assert isinstance(figure, Figure)
    pyplot.close(figure)
    return figure, axes


def _history(study: optuna.Study, names: Sequence[str]) -> Figure:
    figure, every = panels(len(names), 1, (8, 2.8), (0, 1.2), sharex=True)
    done = complete(study)
    pruned = study.get_trials(deepcopy=False, states=(TrialState.PRUNED,))
    failed = study.get_trials(deepcopy=False, states=(TrialState.FAIL,))
    for place, (axes, name, sign) in enumerate(zip(every, names, signs(study), strict=True)):
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
    every[-1].set(xlabel="trial")
    every[-1].xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    _legend(figure, every[0])
    return figure


def _ticks(axes: Axes, numbers: Sequence[int], color: str, label: str) -> None:
    """Short strokes at the lower end of the axes, for trials without a value."""
    style = {"color": color, "label": label, "transform": axes.get_xaxis_transform()}
    _dots(axes, [(one, 0) for one in numbers], 90, marker="|", clip_on=False, **style)


def _star(axes: Axes, points: Sequence[tuple[Any, float]]) -> None:
    _dots(axes, points, 110, color=STAR, marker="*", label="default settings", zorder=5)


def _dots(axes: Axes, points: Sequence[tuple[Any, Any]], size: float = SIZE, **style: Any) -> None:
    if points:
        x, y = zip(*points, strict=True)
        axes.scatter(x, y, s=size, **{"zorder": 3} | style)


def _legend(figure: Figure, axes: Axes) -> None:
    legend_below(figure, axes.get_legend_handles_labels()[0])


def _slices(done: Sequence[FrozenTrial], place: int, name: str) -> Figure:
    found = scales(done)
    figure, every = panels(len(found), 4, (2.6, 2.5), (1.2, 0.6), sharey=True)
    short = short_names(found)
    shades = Normalize(0, max(trial.number for trial in done) or 1)
    for (key, scale), axes in zip(found.items(), every, strict=True):
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
    for axes in every[::4]:
        axes.set_ylabel(name)
    bar = figure.colorbar(ScalarMappable(shades, "viridis_r"), ax=every, label="trial", aspect=30)
    bar.ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    if any(map(is_default, done)):
        _legend(figure, next(axes for axes in every if axes.get_legend_handles_labels()[0]))
    return figure


def _scaled(axes: Axes, scale: Scale) -> None:
    """The horizontal axis of a setting."""
    if scale.choices:
        long = sum(map(len, scale.choices)) > 18
        turned: dict[str, Any] = {"rotation": 35, "ha": "right", "rotation_mode": "anchor"} if long else {}
        axes.set_xticks(range(len(scale.choices)), scale.choices, **turned)
        axes.set_xlim(-0.6, len(scale.choices) - 0.4)
    elif scale.log:
        logarithmic(axes, scale.high / scale.low)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=scale.whole, min_n_ticks=1))


def _parallel(study: optuna.Study, done: Sequence[FrozenTrial], names: Sequence[str]) -> Figure:
    """A line for each trial over an axis for each setting that varies; a second objective is an axis too."""
    short = short_names(varying(done))
    drawn = optuna.create_study(direction=study.directions[0])
    for trial in done:
        params = {short[key]: value for key, value in trial.params.items() if key in short}
        found = {short[key]: given for key, given in trial.distributions.items() if key in short}
        for place, name in enumerate(names[1:], 1):
            costs = [other.values[place] for other in done]
            params[name], found[name] = trial.values[place], FloatDistribution(min(costs), max(costs))
        drawn.add_trial(optuna.create_trial(value=trial.values[0], params=params, distributions=found))
    figure, axes = _by_optuna(lambda: drawn_by_optuna.plot_parallel_coordinate(drawn, target_name=names[0]))
    figure.set_size_inches(1.8 + 1.5 * (len(short) + len(names)), 4.6)
    axes.set_title("")
    for label in axes.get_xticklabels():
        label.set(ha="left", rotation_mode="anchor")
    (lines,) = (one for one in axes.collections if isinstance(one, LineCollection))
    for trial, line in zip(done, lines.get_segments(), strict=True):
        if is_default(trial):
            axes.plot(*np.asarray(line).T, color=STAR, linestyle="--", label="default settings")
            _legend(figure, axes)
    return figure


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


def _curves(study: optuna.Study, name: str) -> Figure:
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
    axes.set(xlabel="training episodes seen", ylabel=name)
    axes.grid(alpha=0.3)
    _legend(figure, axes)
    return figure


def _pareto(study: optuna.Study, names: Sequence[str]) -> Figure:
    better = ["higher" if sign < 0 else "lower" for sign in signs(study)]
    named = [f"{name} ({word} is better)" for name, word in zip(names, better, strict=True)]
    figure, axes = _by_optuna(
        lambda: drawn_by_optuna.plot_pareto_front(study, targets=_cost_first, target_names=named[::-1])
    )
    done, unbeaten = complete(study), front(study)
    for trial in unbeaten[:: max(1, -(-len(unbeaten) // LABELS))]:
        axes.annotate(
            str(trial.number),
            _cost_first(trial),
            (4, -10),
            textcoords="offset points",
            fontsize=8,
            color=FAILED,
        )
    _star(axes, [_cost_first(trial) for trial in done if is_default(trial)])
    spread(axes, [trial.values[1] for trial in done])
    axes.set_title("Numbers are those of trials", fontsize=9)
    axes.legend().remove()
    _legend(figure, axes)
    return figure


def _cost_first(trial: FrozenTrial) -> tuple[float, float]:
    return trial.values[1], trial.values[0]
