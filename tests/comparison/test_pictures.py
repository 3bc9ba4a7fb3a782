"""What pictures show, and that nothing in them lies on something else."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from litemkd.comparison.classes import class_gains
from litemkd.comparison.comparison import Comparison
from litemkd.comparison.grouping import Column
from litemkd.comparison.pictures import accuracy_against_cost, curves_of_runs, per_class_gains, response
from litemkd.comparison.readings import readings_of
from litemkd.evaluation.accuracy import Interval
from tests.comparison.runs import record
from tests.comparison.test_formats import HOSTILE, compared, family


def boxes_apart(figure: Figure) -> None:
    """Titles, axis labels and the legend do not overlap, and lie inside the picture."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    texts = [text for axes in figure.axes for text in (axes.title, axes.xaxis.label, axes.yaxis.label)]
    boxes = [text.get_window_extent(renderer) for text in texts if text.get_text()]
    boxes += [legend.get_window_extent(renderer) for legend in figure.legends]
    for one, other in itertools.combinations(boxes, 2):
        assert not one.overlaps(other)
    whole = figure.bbox
    assert all(box.x0 >= whole.x0 - 1 and box.x1 <= whole.x1 + 1 for box in boxes)


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    return compared(*family())


def test_accuracy_against_cost(comparison: Comparison) -> None:
    figure = accuracy_against_cost(comparison)
    assert figure is not None
    assert [axes.get_title() for axes in figure.axes] == ["kinetics100 5-shot", "ucf101 5-shot"]
    (legend,) = figure.legends
    told = [text.get_text() for text in legend.get_texts()]
    assert told == ["mobilenet_v3_small", "resnet18", "labels only", "distilled", "Pareto front"]
    for axes in figure.axes:
        assert axes.get_xlabel() == "GMACs of a 5-shot episode, as thop counts"
        assert axes.get_ylabel() == "test accuracy, per cent"
        assert axes.get_xscale() == "log"
        assert len(axes.containers) == 4  # points with their bars
        front = axes.lines[-1].get_xydata()
        assert np.asarray(front)[:, 0].tolist() == [14.5, 450.0, 450.0]
    boxes_apart(figure)


def test_a_single_run_makes_a_picture_and_no_cost_makes_none() -> None:
    figure = accuracy_against_cost(compared([record()], []))
    assert figure is not None
    boxes_apart(figure)
    assert accuracy_against_cost(compared([record(gmacs=float("nan"))], [])) is None


def test_names_are_no_formulas() -> None:
    names = (HOSTILE, r"$\frac$", "a" * 300)
    figure = accuracy_against_cost(compared([record(head=name) for name in names], []))
    assert figure is not None
    boxes_apart(figure)
    curve = [{"episodes": 1, "accuracy": 50.0, "ci95": 2.0}]
    boxes_apart(curves_of_runs(dict.fromkeys(names, curve)))
    boxes_apart(per_class_gains({name: {name: Interval(1.0, 0.5)} for name in names}, "Gain", "bars"))


def test_many_unlike_rows_are_named_one_by_one() -> None:
    runs = [
        record(params={"loss.kd": kd, "loss.temperature": t}, accuracy={5: (70.0 + kd + t, 0.4)})
        for kd in (1.0, 2.0, 3.0)
        for t in (1.0, 2.0, 4.0, 8.0)
    ]
    figure = accuracy_against_cost(compared(runs, []))
    assert figure is not None
    told = [text.get_text() for text in figure.legends[0].get_texts()]
    assert told[0] == "resnet18, trx, distilled, loss.kd=1.0, loss.temperature=1.0"
    assert len(told) == 13
    x = [float(np.asarray(bars.lines[0].get_xdata())[0]) for bars in figure.axes[0].containers]  # type: ignore[attr-defined]
    assert len(set(x)) == 12
    boxes_apart(figure)


def test_gains_by_class(comparison: Comparison) -> None:
    rows = {
        name: [
            {"class": "run", "accuracy": low, "queries": 400},
            {"class": "jump", "accuracy": 50.0, "queries": 400},
        ]
        for name, low in (("labels", 40.0), ("distilled", 60.0))
    }
    distilled = {e.run_id for e in comparison.entries if e.distilled == "yes"}
    found = class_gains(
        comparison,
        Column("ucf101", 5),
        lambda run_id, shot: rows["distilled" if run_id in distilled else "labels"],
    )
    assert list(found.gains) == ["mobilenet_v3_small, trx, distilled", "resnet18, trx, distilled"]
    assert found.gains["resnet18, trx, distilled"]["run"] == Interval(20.0, 0.0)  # three seeds that agree
    assert "3 seeds" in found.note
    figure = per_class_gains(found.gains, "Gain", found.note)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["jump", "run"]
    assert "points" in figure.axes[0].get_xlabel()
    boxes_apart(figure)
    runs = [record(0, distilled=kind) for kind in (True, False)]
    job = record(0, stage="distill", metrics={"gain/accuracy_5shot": 2.0})
    single = compared([type(r)(**{**vars(r), "parent_run_id": job.run_id}) for r in runs], [job])
    (gains,) = class_gains(
        single,
        Column("ucf101", 5),
        lambda run_id, shot: rows["distilled" if run_id == runs[0].run_id else "labels"],
    ).gains.values()
    assert gains["run"].half == pytest.approx(1.96 * (60 * 40 / 400 + 40 * 60 / 400) ** 0.5)


def test_curves_and_response() -> None:
    points = [{"episodes": 100 * i, "accuracy": 50.0 + i, "ci95": 2.0} for i in range(1, 5)]
    figure = curves_of_runs(
        {f"ucf101: distilled: resnet18 + trx, seed {seed} (0c2b08)": points for seed in range(6)}
    )
    assert figure.axes[0].get_xlabel() == "training episodes seen"
    boxes_apart(figure)
    metrics = {"val/accuracy": 70.0, "val/accuracy_ci95": 2.0}
    runs = [
        record(params={"loss.temperature": t, "loss.kd": 3.0}, metrics=metrics, stage=stage)
        for t, stage in ((1.0, "trial"), (2.0, "student"), (16.0, "trial"))
    ]
    others = [
        record(status="KILLED", stage="trial", metrics=metrics, params={"loss.kd": 9.0}),
        record(distilled=False, metrics=metrics, params={"loss.kd": 9.0}),
    ]
    readings = readings_of([*runs, *others])
    assert [reading.settings["loss.temperature"] for reading in readings] == [1.0, 2.0, 16.0]
    shown = response(readings)
    assert shown is not None
    assert [axes.get_xlabel() for axes in shown.axes] == ["temperature (no unit)"]
    assert shown.axes[0].get_ylabel() == "val accuracy, per cent"
    boxes_apart(shown)
    assert response(readings[:1]) is None
