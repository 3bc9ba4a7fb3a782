"""How results are logged to a run: what a training did, and tests, as metrics, tables and figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from litemkd.evaluation.accuracy import Evaluation, Interval
from litemkd.evaluation.calibration import FILE, Calibration, Reliability, as_dict
from litemkd.report.plots import accuracies, confusion_matrix, learning_curves, reliability_diagram
from litemkd.tracking import Run
from litemkd.training.loop import Progress

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# By number of shots how reliable probabilities are, as they come and calibrated.
Reliabilities = dict[int, tuple[Reliability, Reliability]]

RESULT = "accuracy.png"  # the first of a run's pictures, which stand in the order of their names


class Recorder:
    """A tracker of a training: passes metrics on, keeps them for the learning curves, and tells how it ended.

    Args:
        run: takes metrics and pictures.
        title: of the learning curves.
    """

    def __init__(self, run: Run, title: str) -> None:
        self.run, self.title = run, title
        self.points: dict[str, list[tuple[int, float]]] = {}

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Record values at a step."""
        self.run.log_metrics(metrics, step)
        for name, value in metrics.items():
            self.points.setdefault(name, []).append((step, value))

    def finish(self, progress: Progress) -> None:
        """Log the learning curves, the validations, and the accuracy the run stands for.

        MLflow shows the last value of a metric as the run's. The model that is kept is the best one on val, so
        where that is an earlier one its accuracy becomes the last point, after the curves are drawn.
        """
        reached = Interval(progress.best_accuracy, progress.best_ci95)
        title = f"{self.title}: {reached} % on val after {progress.best_episode} episodes"
        curves = partial(learning_curves, progress.history, self.points, title)
        self.run.log_figure(curves, "learning_curves.png")
        self.run.log_table([dict(record) for record in progress.history], "validations.json")
        accuracy, half = progress.best_accuracy, progress.best_ci95
        best = {"val/best_accuracy": accuracy, "val/best_accuracy_ci95": half}
        self.run.log_metrics(best, progress.best_episode)
        last = progress.history[-1]
        pairs = (("val/accuracy", last["accuracy"], accuracy), ("val/accuracy_ci95", last["ci95"], half))
        changed = {name: best for name, read, best in pairs if repr(read) != repr(best)}
        if changed:
            self.run.log_metrics(changed, progress.episodes)
        if progress.speed:
            self.run.log_metrics(progress.speed, progress.episodes)
        self.run.set_tags({"best_episode": progress.best_episode})
        self.run.describe(
            f"Best on val: **{Interval(accuracy, half)} %** after {progress.best_episode} of "
            f"{progress.episodes} training episodes."
        )


def accuracy_metrics(tests: Mapping[int, Interval]) -> dict[str, float]:
    """Metrics `test/…` of accuracies by number of shots; the first one has the plain names too."""
    metrics: dict[str, float] = {}
    for place, (shot, accuracy) in enumerate(tests.items()):
        for suffix in (f"_{shot}shot", *([""] if place == 0 else [])):
            metrics |= {f"test/accuracy{suffix}": accuracy.mean, f"test/accuracy_ci95{suffix}": accuracy.half}
    return metrics


def gain_metrics(gains: Mapping[int, Interval]) -> dict[str, float]:
    """Metrics `gain/…` of paired differences by number of shots."""
    metrics: dict[str, float] = {}
    for shot, gain in gains.items():
        metrics |= {f"gain/accuracy_{shot}shot": gain.mean, f"gain/accuracy_ci95_{shot}shot": gain.half}
    return metrics


def _reliabilities(evaluations: Mapping[int, Evaluation], calibration: Calibration | None) -> Reliabilities:
    if calibration is None:
        return {}
    found: Reliabilities = {}
    for shot, one in evaluations.items():
        warmth = calibration.nearest(one.logits.shape[-1], shot).temperature
        found[shot] = Reliability.of(one.logits, one.labels), Reliability.of(one.logits, one.labels, warmth)
    return found


def calibration_metrics(found: Reliabilities) -> dict[str, float]:
    """Metrics `test/ece…`, in per cent; those of the first number of shots have the plain names too."""
    metrics: dict[str, float] = {}
    for place, (shot, (before, after)) in enumerate(found.items()):
        for suffix in (f"_{shot}shot", *([""] if place == 0 else [])):
            metrics |= {f"test/ece{suffix}": after.ece, f"test/ece_uncalibrated{suffix}": before.ece}
    return metrics


def difference_metrics(differences: Mapping[int, Interval]) -> dict[str, float]:
    """Metrics `difference/…` of an exported student's accuracy to its own, by number of shots, in points."""
    metrics: dict[str, float] = {}
    for shot, found in differences.items():
        metrics |= {
            f"difference/accuracy_{shot}shot": found.mean,
            f"difference/accuracy_ci95_{shot}shot": found.half,
        }
    return metrics


def accuracy_words(evaluations: Mapping[int, Evaluation]) -> str:
    """Test results in a sentence, Markdown."""
    results = ", ".join(f"**{one.accuracy} %** {shot}-shot" for shot, one in evaluations.items())
    counts = sorted({len(one.accuracies) for one in evaluations.values()})
    return f"On the test classes: {results}, over {' and '.join(f'{count:,}' for count in counts)} episodes."


def log_test(
    run: Run,
    evaluations: Mapping[int, Evaluation],
    label: str,
    calibration: Calibration | None = None,
    also: Sequence[Run] = (),
) -> Reliabilities:
    """Log test results: metrics by number of shots (the first is the main one), tables, figures, raw values.

    With a calibration also what its temperatures are, and how reliable probabilities are with and without them,
    which is given back. Other runs, `also`, get the same: figures take longer to draw than all else.
    """
    metrics = accuracy_metrics({shot: evaluation.accuracy for shot, evaluation in evaluations.items()})
    pictures: dict[str, Callable[[], Figure]] = {}
    found = _reliabilities(evaluations, calibration)
    metrics |= calibration_metrics(found)
    for shot, (before, after) in found.items():
        title = f"{label}, {shot}-shot"
        pictures[f"reliability_{shot}shot.png"] = partial(reliability_diagram, before, after, title)
    ways = next(iter(evaluations.values())).logits.shape[-1]
    found_out = {shot: evaluation.accuracy for shot, evaluation in evaluations.items()}
    title = f"{label}: {', '.join(f'{one} % {shot}-shot' for shot, one in found_out.items())}"
    chance = 100 / ways if ways else None
    pictures[RESULT] = partial(accuracies, {label.partition(":")[0]: found_out}, title, chance)
    for shot, evaluation in evaluations.items():
        title = f"{label}, {shot}-shot: {evaluation.accuracy} %"
        pictures[f"confusion_{shot}shot.png"] = partial(confusion_matrix, evaluation, title)
    for file, draw in pictures.items():
        run.log_figure(draw, file, also)
    metrics["speed/episodes_per_second"] = float(
        np.mean([evaluation.episodes_per_second for evaluation in evaluations.values()])
    )
    for one in (run, *also):
        if calibration is not None:
            one.log_dict(as_dict(calibration), FILE)
        for shot, evaluation in evaluations.items():
            one.log_table(_per_class(evaluation), f"per_class_{shot}shot.json")
            one.log_array(evaluation.accuracies.astype(np.float32), f"episode_accuracy_{shot}shot.npy")
        one.describe(accuracy_words(evaluations))
        one.log_metrics(metrics, 0)
    return found


def _per_class(evaluation: Evaluation) -> list[dict[str, object]]:
    return [
        {"class": name, "accuracy": round(value, 3), "queries": int(asked)}
        for (name, value), asked in zip(evaluation.per_class.items(), evaluation.confusion.sum(1), strict=True)
    ]
