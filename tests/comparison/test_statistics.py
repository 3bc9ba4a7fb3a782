"""One figure of several trainings."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from litemkd.comparison.pictures import pareto
from litemkd.comparison.statistics import Figure, corrected, figure_of
from litemkd.evaluation.accuracy import Interval


@pytest.mark.parametrize("count", [2, 3, 7])
def test_over_seeds_it_is_students_t_interval(count: int) -> None:
    values = np.random.default_rng(count).normal(70, 3, count)
    figure = figure_of([Interval(value, 0.4) for value in values])
    expected = ttest_1samp(values, 0).confidence_interval(0.95)
    assert (figure.runs, figure.over) == (count, "seeds")
    assert figure.mean - figure.half == pytest.approx(expected.low)
    assert figure.mean + figure.half == pytest.approx(expected.high)


def test_one_seed_keeps_its_interval_over_episodes() -> None:
    figure = figure_of([Interval(70.0, 0.4)])
    assert (figure.mean, figure.half, figure.runs, figure.over) == (70.0, pytest.approx(0.4), 1, "episodes")
    assert figure.episodes == 0.4


def test_what_is_tested_together_is_marked_after_correction() -> None:
    """Two of p = 0.03 and 0.04 alone are nothing together: Holm's p of both is 0.06."""
    alone = [Figure(1.0, 0.9, 3, "seeds", p=p) for p in (0.03, 0.04)]
    assert [one.is_found for one in alone] == [True, True]
    together = corrected(alone)
    assert [one.corrected for one in together] == pytest.approx([0.06, 0.06])
    assert together[0].words(signed=True) == "+1.00 ± 0.90 (3)"
    assert [one.is_found for one in corrected([*alone[:1], Figure(9.0, 1.0, 3, "seeds", p=1e-6)])] == [
        True,
        True,
    ]


def test_of_folds_the_count_says_so() -> None:
    assert Figure(65.789, 2.55, 12, "folds", folds=4).words() == "65.79 ± 2.55 (4 x 3)"
    assert Figure(65.789, 2.55, 11, "folds", folds=4).words() == "65.79 ± 2.55 (11 of 4 folds)"


def test_what_leaves_zero_is_marked() -> None:
    assert Figure(5.7, 3.87, 3, "seeds").words(signed=True) == "+5.70 ± 3.87 * (3)"
    assert Figure(-0.79, 0.4, 1, "episodes").words(signed=True) == "-0.79 ± 0.40 * (1)"
    assert Figure(0.17, 0.37, 1, "episodes").words(signed=True) == "+0.17 ± 0.37 (1)"
    assert Figure(65.789, 2.55, 3, "seeds").words() == "65.79 ± 2.55 (3)"
    unknown = Figure(60.0, math.nan, 1, "episodes")
    assert (unknown.words(), unknown.leaves_zero) == ("60.00 (1)", False)


def test_the_front_is_what_nothing_beats() -> None:
    points = [tuple(pair) for pair in np.random.default_rng(0).integers(0, 12, (60, 2)).astype(float)]
    beaten = [any(x <= a and y >= b and (x, y) != (a, b) for x, y in points) for a, b in points]
    front = pareto(points)
    assert {points[place] for place in front} == {
        point for point, lost in zip(points, beaten, strict=True) if not lost
    }
    assert [points[place] for place in front] == sorted({points[place] for place in front})
    assert pareto([]) == []
