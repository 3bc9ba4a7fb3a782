"""Figures with names of classes: drawn without a warning, whatever the names are."""

from __future__ import annotations

import io

import numpy as np
import pytest

from litemkd.comparison.pictures import per_class_gains
from litemkd.evaluation.accuracy import Evaluation
from litemkd.evaluation.intervals import Interval
from litemkd.report.contact import WIDEST, contact_sheet
from litemkd.report.labels import class_labels, label
from litemkd.report.plots import accuracies, confusion_matrix

LONG = "Pretending to put something on a surface but not really doing it, and taking {} away from behind it"
KINDS = [LONG, "W" * 80 + "{}", "$a_{}$", "打篮球 {}", "c{}"]


@pytest.mark.parametrize("count", [2, 5, 24])
@pytest.mark.parametrize("name", KINDS)
def test_a_confusion_matrix_has_room_for_its_names(name: str, count: int) -> None:
    names = tuple(name.format(number) for number in range(count))
    evaluation = Evaluation(1, np.full(3, 100.0), np.eye(count, dtype=np.int64) * 7, names, 1.0)
    figure = confusion_matrix(evaluation, f"student of {name}: 100 %")
    figure.savefig(io.BytesIO(), format="png")  # warnings are errors
    shown = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert len(set(shown)) == count
    assert max(map(len, shown)) < 40
    assert evaluation.classes == names


@pytest.mark.parametrize("name", KINDS)
def test_gains_by_class_have_room_for_their_names(name: str) -> None:
    gains = {name.format("row"): {name.format(number): Interval(number, 1.0) for number in range(6)}}
    per_class_gains(gains, name, "note").savefig(io.BytesIO(), format="png")


def test_labels() -> None:
    assert label("run") == "run"
    assert label("$x$") == r"\$x\$"
    assert label("_hidden") == "hidden"
    assert label(LONG.format(3), 32) == "Pretending to put som… behind it"
    assert len(label("x" * 500)) == 90
    assert label("cafe\u0301 打") == "caf\u00e9 ?"
    assert class_labels(["打", "篮", "run"]) == ["1: ?", "2: ?", "run"]


def test_a_thin_clip_does_not_widen_the_contact_sheet() -> None:
    sheet = contact_sheet({"a/b": {"rgb": np.zeros((8, 10, 3000, 3), np.uint8)}})
    assert sheet.width < 8 * (WIDEST + 10) + 100


def test_the_result_is_seen_at_a_glance() -> None:
    student = {5: Interval(63.9, 0.4), 1: Interval(49.2, float("nan"))}
    figure = accuracies({"teacher": {5: Interval(95.9, 0.2)}, "student": student}, "it brings +4.12", 20.0)
    (axes,) = figure.axes
    assert [bar.get_width() for bar in axes.patches] == [95.9, 63.9, 49.2]
    assert [text.get_text() for text in axes.get_yticklabels()] == [
        "teacher, 5-shot",
        "student, 5-shot",
        "student, 1-shot",
    ]
    assert axes.get_title() == "it brings +4.12"
    figure.savefig(io.BytesIO(), format="png")  # warnings are errors
