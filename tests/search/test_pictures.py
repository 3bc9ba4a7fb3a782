"""Pictures and tables of studies of every size and fate: no exception, no warning, what is told is so."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import optuna
import pytest
from matplotlib import pyplot
from matplotlib.figure import Figure

from litemkd.config import load_config
from litemkd.config.shipped import SPACES
from litemkd.search.axes import scales
from litemkd.search.pictures import study_pictures
from litemkd.search.ranges import Choice, Numbers
from litemkd.search.space import Parameter, Space, read_space
from litemkd.search.tables import DEFAULT, complete, short_names, study_tables
from tests.helpers import usual_first
from tests.search.studies import ONE, TWO, study_of

TOY = Path(__file__).parents[2] / "experiments" / "toy" / "default.yaml"
ALWAYS = {"history", "timeline", "slices", "parallel", "importances"}


def drawn(study: optuna.Study, names: list[str]) -> dict[str, Figure]:
    """The pictures, laid out as they are on a run; this is where legends and ticks would warn."""
    pictures = study_pictures(study, names)
    for figure in pictures.values():
        figure.draw_without_rendering()
    return pictures


@pytest.mark.parametrize(
    ("settings", "expected"),
    usual_first(
        [
            ({"trials": 0}, set()),
            ({"trials": 5, "failing": 0, "pruning": 0}, ALWAYS | {"curves"}),
            ({"trials": 5, "failing": 0, "pruning": 1}, {"history", "timeline", "curves"}),
            ({"trials": 30, "objectives": 2}, ALWAYS | {"slices_2", "pareto"}),
        ],
        [
            ({"trials": 1, "failing": 0, "pruning": 0}, {"history", "timeline", "curves"}),
            ({"trials": 30}, ALWAYS | {"curves"}),
            ({"trials": 5, "failing": 1}, {"history", "timeline"}),
            ({"trials": 0, "objectives": 2}, set()),
            ({"trials": 1, "objectives": 2, "failing": 0, "pruning": 0}, {"history", "timeline", "pareto"}),
            ({"trials": 5, "objectives": 2, "failing": 1}, {"history", "timeline"}),
        ],
    ),
)
def test_pictures_of_every_study(settings: dict[str, Any], expected: set[str]) -> None:
    names = TWO[: settings.get("objectives", 1)]
    study = study_of(**settings)
    assert set(drawn(study, names)) == expected
    tables = study_tables(study, names)
    assert len(tables["trials"]) == settings["trials"]
    assert bool(tables["importances"]) == ("importances" in expected)
    assert bool(tables["pareto"]) == ("pareto" in expected)


@pytest.mark.parametrize("name", ["default", "loss", "architecture"])
def test_the_default_is_marked(name: str) -> None:
    space = read_space(SPACES.find(name))
    study = study_of(12, space=space, default=space.default(load_config(TOY)))
    pictures = drawn(study, ONE)
    for picture in ("history", "slices", "parallel", "curves"):
        (legend,) = pictures[picture].legends
        assert any("default settings" in text.get_text() for text in legend.get_texts()), picture
    assert [row[DEFAULT] for row in study_tables(study, ONE)["trials"]] == [True] + [False] * 11


def test_a_setting_of_one_value_is_left_out() -> None:
    space = Space(
        (
            Parameter("loss.kd", Numbers("float", 2.0, 2.0), {}),
            Parameter("student.train.lr", Numbers("float", 1e-4, 1e-2, log=True), {}),
            Parameter("student.head.name", Choice(("trx",)), {}),
        )
    )
    study = study_of(12, space=space, failing=0, pruning=0)
    assert [row["parameter"] for row in study_tables(study, ONE)["importances"]] == ["student.train.lr"]
    assert list(scales(complete(study))) == ["student.train.lr"]
    assert set(drawn(study, ONE)) == ALWAYS | {"curves"}
    constant = study_of(6, space=Space(space.parameters[:1]), failing=0, pruning=0)
    assert set(drawn(constant, ONE)) == {"history", "timeline", "curves"}
    assert study_tables(constant, ONE)["importances"] == []


def test_objectives_that_are_all_the_same_or_infinite() -> None:
    study = optuna.create_study(direction="maximize")
    for number in range(6):
        trial = study.ask()
        trial.suggest_float("loss.kd", 0.1, 10, log=True)
        study.tell(trial, math.inf if number == 5 else 20.0)
    assert {"history", "timeline", "slices", "parallel"} <= set(drawn(study, ONE))
    assert len(complete(study)) == 5


def test_running_and_waiting_trials_are_no_matter() -> None:
    study = study_of(6, failing=0, pruning=0)
    study.enqueue_trial({})
    study.add_trial(optuna.trial.create_trial(state=optuna.trial.TrialState.WAITING))
    study.ask().report(40.0, 60)
    assert set(drawn(study, ONE)) == ALWAYS | {"curves"}
    assert {row["state"] for row in study_tables(study, ONE)["trials"]} == {"complete", "running", "waiting"}


def test_the_table_of_trials_holds_what_the_study_holds() -> None:
    study = study_of(30)
    rows = study_tables(study, ONE)["trials"]
    for row, trial in zip(rows, study.trials, strict=True):
        assert row["number"] == trial.number
        assert row[ONE[0]] == (None if trial.values is None else trial.values[0])
        assert {key: row[key] for key in trial.params} == trial.params
        assert row["student.head.smoothing"] == trial.params.get("student.head.smoothing")
        assert row["seconds"] >= 0
        assert (row["reason"] is not None) == (row["state"] == "failed")
    assert {row["state"] for row in rows} == {"complete", "pruned", "failed"}


def test_importances_are_shares_of_what_matters() -> None:
    space = read_space(SPACES.find("default"))
    rows = study_tables(study_of(60, space=space, failing=0, pruning=0), ONE)["importances"]
    assert sum(row[ONE[0]] for row in rows) == pytest.approx(1)
    assert {row["parameter"] for row in rows[:2]} == {"student.train.lr", "loss.temperature"}  # see studies.py


def test_settings_that_few_trials_have_are_not_judged() -> None:
    rows = study_tables(study_of(60, objectives=2, failing=0, pruning=0), TWO)["importances"]
    judged = {row["parameter"] for row in rows}
    assert "student.head.width" in judged
    assert "student.head.scale" not in judged
    for name in TWO:
        assert sum(row[name] for row in rows) == pytest.approx(1)
    by_cost = sorted(rows, key=lambda row: row[TWO[1]])[-2:]
    assert {"student.backbone.name", "student.backbone.weights"} & {row["parameter"] for row in by_cost}


def test_the_front_is_what_nothing_beats() -> None:
    study = study_of(30, objectives=2)
    done = [(trial.number, *trial.values) for trial in complete(study)]
    slow = {
        number
        for number, accuracy, cost in done
        if not any(a >= accuracy and c <= cost and (a, c) != (accuracy, cost) for _, a, c in done)
    }
    rows = study_tables(study, TWO)["pareto"]
    assert {row["number"] for row in rows} == slow
    assert [row[TWO[0]] for row in rows] == sorted((row[TWO[0]] for row in rows), reverse=True)


def test_names_without_what_is_common() -> None:
    keys = ["loss.kd", "student.width", "student.head.width", "student.head.name", "student.backbone.name"]
    assert list(short_names(keys).values()) == [
        "kd",
        "student.width",
        "head.width",
        "head.name",
        "backbone.name",
    ]


def test_pictures_have_units_and_no_overlapping_ticks() -> None:
    study = study_of(30, objectives=2)
    for name, figure in drawn(study, TWO).items():
        labels = [axes.get_xlabel() + axes.get_ylabel() for axes in figure.axes]
        assert any(one in " ".join(labels) for one in (*TWO, "importance, per cent", "Datetime")), name
        for axes in figure.axes if name.startswith("slices") else []:
            low, high = axes.get_xlim()
            boxes = [
                tick.label1.get_window_extent()
                for tick in axes.xaxis.get_major_ticks()
                if low <= tick.get_loc() <= high and not tick.label1.get_rotation()
            ]
            assert all(one.x1 <= other.x0 for one, other in itertools.pairwise(boxes)), axes.get_xlabel()


def test_what_optuna_draws_leaves_pyplot_as_it_was() -> None:
    style, open_before = dict(pyplot.rcParams), pyplot.get_fignums()
    drawn(study_of(12, objectives=2), TWO)
    assert dict(pyplot.rcParams) == style
    assert pyplot.get_fignums() == open_before


def test_trials_that_are_all_alike_are_drawn_without_a_warning() -> None:
    study = optuna.create_study(directions=["maximize", "minimize"])
    for rate in (0.1, 0.2):
        distributions = {"loss.kd": optuna.distributions.FloatDistribution(0.1, 1.0)}
        given = {"loss.kd": rate}
        study.add_trial(optuna.create_trial(values=[40.0, 0.5], params=given, distributions=distributions))
    assert "parallel" in drawn(study, TWO)
