"""Intervals that count seeds, classes and episodes: worked out by other means, and how often they hold."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from benchmarks.coverage import BEYOND, STUDIES, Study, covered
from litemkd.evaluation.intervals import Interval
from litemkd.evaluation.studies import Estimate, Training, estimate, holm, needed


def trainings(values: np.ndarray, half: float = 0.4) -> list[Training]:
    """Of (F, S, C) values by fold, seed and class."""
    return [
        Training(Interval(float(row.mean()), half), str(f), {str(c): float(one) for c, one in enumerate(row)})
        for f, fold in enumerate(values)
        for row in fold
    ]


@pytest.mark.parametrize(
    "study", [*STUDIES[1:7:2], STUDIES[8], *STUDIES[11:14]], ids=lambda study: str(study.words)
)
def test_an_interval_holds_what_is_true_as_often_as_it_says(study: Study) -> None:
    """Of 300 studies 95 % are 285, give or take 3.8: four times that is allowed. The whole table has 1,000."""
    full, episodes, _ = covered(study, 300, seed=1)
    assert 0.90 <= full <= 0.99
    assert episodes < 0.75


def test_one_division_does_not_tell_of_others() -> None:
    """What the page says of what an interval cannot hold is so."""
    one_seed, one_division = (covered(study, 300, seed=1)[0] for study in BEYOND[1:])
    assert max(one_seed, one_division) < 0.93


def test_over_folds_it_is_students_t_over_their_means() -> None:
    values = np.random.default_rng(0).normal(70, 5, (4, 3, 5))
    found = estimate(trainings(values))
    expected = ttest_1samp(values.mean((1, 2)), 0)
    low, high = expected.confidence_interval(0.95)
    assert (found.runs, found.folds, found.over, found.df) == (12, 4, "folds", 3)
    assert (found.mean - found.half, found.mean + found.half) == pytest.approx((low, high))
    assert found.p == pytest.approx(expected.pvalue)
    assert found.episodes == pytest.approx(
        0.4 / 2
    )  # four folds err apart, three seeds on the same episodes do not


def test_variance_components_are_those_that_data_were_made_of() -> None:
    """Effects are made to have given variances, without rest: var = seed / S + class / C."""
    seeds, classes = np.array([-1.0, 0.0, 1.0]), np.array([-4.0, -2.0, 0.0, 2.0, 4.0])
    found = estimate(trainings((70 + seeds[:, None] + classes)[None]))
    assert (found.over, found.mean) == ("seeds and classes", 70.0)
    assert found.error == pytest.approx(math.sqrt(1.0 / 3 + 10.0 / 5))
    # Between the degrees of freedom of seeds and of all.
    assert 2 < found.df < 8


def test_without_classes_it_is_over_seeds_and_of_one_training_over_classes() -> None:
    values = np.random.default_rng(1).normal(70, 3, (1, 3, 6))
    bare = [Training(one.value) for one in trainings(values)]
    means = values[0].mean(1)
    assert estimate(bare).over == "seeds"
    assert estimate(bare).error == pytest.approx(means.std(ddof=1) / math.sqrt(3))
    # One that lacks a class is none of the table.
    odd = Training(bare[0].value, "0", dict(list(trainings(values)[0].by_class.items())[1:]))
    assert estimate([odd, *trainings(values)[1:]]).over == "seeds"
    (one,) = trainings(values[:, :1])
    assert estimate([one]).over == "classes"
    assert estimate([one]).half == pytest.approx(
        ttest_1samp(values[0, 0], 70).confidence_interval(0.95).high - values[0, 0].mean()
    )
    assert estimate(bare[:1]).half == pytest.approx(0.4)
    assert math.isnan(estimate([Training(Interval(70.0, math.nan))]).p)


def test_holm_is_the_step_down_correction() -> None:
    """The example of Holm's paper in numbers: 0.01, 0.02, 0.03, 0.04 -> 4, 3, 2 and 1 times, never falling."""
    assert holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.5, math.nan, 0.6])[:1] == [1.0]
    assert math.isnan(holm([0.5, math.nan])[1])
    assert holm([]) == []


def test_what_would_be_needed_would_do() -> None:
    """Of seeds alone with s = 1: the first n with t(n - 1) / sqrt(n) <= 1 is 7."""
    three = [Training(Interval(value, 0.1)) for value in (-1.0, 0.0, 1.0)]
    assert needed(three) == "4 more seeds would tell 1 point apart"
    assert needed(three, 2.0) == "1 more seed would tell 2 points apart"
    assert needed(three, 5.0) == "nothing more for 5 points"
    assert needed(three[:1]).startswith("one training says nothing of others")
    classes = np.array([-9.0, -3.0, 0.0, 3.0, 9.0]) + np.array([[0.1], [0.0], [-0.1]])
    assert needed(trainings(classes[None])) == (
        "no number of seeds for 1 point: 5 classes differ; folds would test others"
    )


def test_what_folds_would_need() -> None:
    once = trainings(np.array([[[70.0, 71.0]], [[74.0, 75.0]], [[66.0, 67.0]]]))
    assert needed(once).startswith("a second seed of each fold would tell what more of them bring; now ± 9.9")
    far = np.array([[60.0, 60.1], [70.0, 70.1], [80.0, 80.1]])[..., None] * np.ones(2)
    assert needed(trainings(far)).startswith("no number of seeds for 1 point: the folds differ;")
    near = np.array([[70.0, 72.0], [70.0, 72.2], [70.2, 72.4], [69.0, 73.6]])[..., None] * np.ones(2)
    assert estimate(trainings(near)).half < 1
    spread = np.array([[68.0, 73.0], [68.5, 74.0], [70.0, 70.6], [66.0, 75.0]])[..., None] * np.ones(2)
    now = estimate(trainings(spread))
    assert isinstance(now, Estimate)
    assert needed(trainings(spread), now.half * 0.9).endswith("in each fold")
