"""Pictures of a run: learning curves and confusion matrices. Figures are made without pyplot's global state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from litemkd.evaluation.accuracy import Evaluation
from litemkd.evaluation.calibration import BINS, Reliability
from litemkd.evaluation.intervals import Interval
from litemkd.report.labels import class_labels, label

_SHORT, _INCHES = 10, 0.075  # characters of a class for which there is room anyway; of each one more


def learning_curves(
    history: Sequence[Mapping[str, float]], records: Mapping[str, Sequence[tuple[int, float]]], title: str
) -> Figure:
    """Loss and accuracy over the episodes seen.

    Args:
        history: one record a validation with `episodes`, `accuracy` and `ci95` (per cent).
        records: metric name -> (episodes, value) of training.
        title: above the picture.
    """
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    losses, accuracies = figure.subplots(1, 2)
    figure.suptitle(label(title))
    for name in [one for one in records if one.startswith("train/loss")]:
        points = records[name]
        if points:
            steps, values = np.asarray(points, dtype=float).T
            losses.plot(steps, _smooth(values), label=name.removeprefix("train/"), linewidth=1.2)
    losses.set(xlabel="training episodes seen", ylabel="loss (smoothed)")
    if losses.lines:  # none where a finished training was only loaded
        losses.set(yscale="log")
        losses.legend(fontsize=8)
    points = records.get("train/accuracy", ())
    if points:
        steps, values = np.asarray(points, dtype=float).T
        accuracies.plot(steps, _smooth(values), color="0.6", linewidth=1.2, label="train (smoothed)")
    if history:
        steps, means, halves = (
            np.array([record[key] for record in history]) for key in ("episodes", "accuracy", "ci95")
        )
        accuracies.errorbar(
            steps, means, halves, marker="o", markersize=3, capsize=2, label="val, 95 % interval"
        )
    accuracies.set(xlabel="training episodes seen", ylabel="accuracy, per cent")
    accuracies.legend(fontsize=8, loc="lower right")
    for axes in (losses, accuracies):
        axes.grid(alpha=0.3)
    return figure


def _smooth(values: np.ndarray) -> np.ndarray:
    width = max(1, len(values) // 40)
    kernel = np.ones(width) / width
    padded = np.concatenate([np.repeat(values[:1], width - 1), values])
    return np.convolve(padded, kernel, mode="valid")


def confusion_matrix(evaluation: Evaluation, title: str) -> Figure:
    """Shares of predicted classes for each true class, per cent.

    Names of classes are shortened (`litemkd.report.labels`); whole ones are in the evaluation's own record.
    """
    asked = evaluation.confusion.sum(1, keepdims=True)
    shares = 100.0 * evaluation.confusion / np.maximum(asked, 1)
    count = len(evaluation.classes)
    names = class_labels(evaluation.classes)
    side = 2.6 + 0.42 * count + _INCHES * max(0, max(map(len, names)) - _SHORT)
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, vmin=0, vmax=100, cmap="Blues")
    figure.colorbar(image, ax=axes, label="share of the class's queries, per cent", shrink=0.8)
    axes.set_xticks(range(count), names, rotation=60, ha="right", fontsize=8)
    axes.set_yticks(range(count), names, fontsize=8)
    axes.set(xlabel="predicted class", ylabel="true class")
    axes.set_title(label(title), fontsize=10)
    if count <= 30:
        for row, column in np.ndindex(count, count):
            value = shares[row, column]
            if value >= 0.5:
                axes.text(
                    column,
                    row,
                    f"{value:.0f}",
                    ha="center",
                    va="center",
                    fontsize=7,
                    color="white" if value > 55 else "black",
                    in_layout=False,  # inside the axes, and slow to measure
                )
    return figure


def reliability_diagram(before: Reliability, after: Reliability, title: str) -> Figure:
    """Accuracy of queries by how sure the model was of them, as it comes and calibrated.

    Args:
        before: without a temperature.
        after: with one.
        title: above the picture.
    """
    figure = Figure(figsize=(8.4, 3.9), layout="constrained")
    figure.suptitle(label(title), fontsize=10)
    middles = (np.arange(BINS) + 0.5) * 100 / BINS
    panels = figure.subplots(1, 2, sharey=True)
    for axes, one, words in zip(panels, (before, after), ("uncalibrated", "calibrated"), strict=True):
        there = one.counts > 0
        sizes = one.counts[there] / one.counts.sum()
        axes.plot([0, 100], [0, 100], color="0.6", linewidth=1, linestyle="--")
        axes.bar(middles[there], one.accuracy[there], 90 / BINS, alpha=0.25)
        axes.scatter(one.confidence[there], one.accuracy[there], s=12 + 300 * sizes)
        axes.set(xlabel="probability of the named class, per cent", xlim=(0, 100), ylim=(0, 100))
        axes.set_title(f"{words}: expected calibration error {one.ece:.2f} %", fontsize=9)
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("accuracy, per cent; area: share of queries")
    return figure


def accuracies(
    results: Mapping[str, Mapping[int, Interval]], title: str, chance: float | None = None
) -> Figure:
    """Accuracies with their intervals as bars, a group for each number of shots: the result at a glance.

    Args:
        results: of each model, by number of shots, per cent.
        title: what came out, in words.
        chance: what guessing gives, per cent.
    """
    shots = list(dict.fromkeys(shot for one in results.values() for shot in one))
    rows = [(shot, name) for shot in shots for name in results if shot in results[name]]
    figure = Figure(figsize=(8, 1.5 + 0.42 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for place, (shot, name) in enumerate(rows):
        value, half = results[name][shot].mean, np.nan_to_num(results[name][shot].half)
        axes.barh(place, value, 0.72, xerr=half, capsize=3, color=f"C{list(results).index(name)}")
        axes.text(2, place, f"{value:.1f}", va="center", color="white", fontsize=10, fontweight="bold")
    axes.set_yticks(range(len(rows)), [f"{label(name, 48)}, {shot}-shot" for shot, name in rows], fontsize=10)
    if chance is not None:
        axes.axvline(chance, color="0.35", linestyle="--", linewidth=1.2)
    axes.invert_yaxis()
    words = "accuracy on the test classes, per cent, with 95 % interval"
    axes.set(xlim=(0, 100), xlabel=words + "; dashed: guessing" * (chance is not None))
    axes.set_title(label(title), fontsize=11)
    axes.grid(axis="x", alpha=0.3)
    return figure
