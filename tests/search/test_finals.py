"""The end of a search, on made-up finals: who wins, what is told where the untuned settings failed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState, create_trial

from litemkd.evaluation.accuracy import paired_difference
from litemkd.search.finals import GIVEN, Trained, Verdict, results, verdict_table
from litemkd.search.job import Finalists
from litemkd.search.study import Parameters

FINALISTS = Finalists((GIVEN, "trial 4"), (Parameters(), Parameters({"loss.temperature": 2.5})), (1, 2))


def finals(outcomes: Sequence[tuple[int, int, float | None]]) -> optuna.Study:
    """A study of finals from settings, seeds and accuracies; None for a training that failed."""
    study = optuna.create_study(direction="maximize")
    choices = {
        "setting": optuna.distributions.CategoricalDistribution((0, 1)),
        "seed": optuna.distributions.CategoricalDistribution((1, 2)),
    }
    for setting, seed, accuracy in outcomes:
        study.add_trial(
            create_trial(
                state=TrialState.FAIL if accuracy is None else TrialState.COMPLETE,
                value=accuracy,
                params={"setting": setting, "seed": seed},
                distributions=choices,
            )
        )
    return study


def verdict(trained: list[Trained], **tests: np.ndarray) -> Verdict:
    winner = max(trained, key=lambda one: one.mean)
    return Verdict(trained, winner, {label: {5: found} for label, found in tests.items()}, "m", 1, [])


def test_results_are_by_finalist_in_the_order_of_seeds() -> None:
    found = results(finals([(1, 2, 64.0), (0, 1, 60.0), (1, 1, 62.0), (0, 2, 61.0)]), FINALISTS)
    assert [(one.title, one.accuracies, one.mean) for one in found] == [
        (GIVEN, (60.0, 61.0), 60.5),
        ("trial 4", (62.0, 64.0), 63.0),
    ]
    assert found[1].numbers == {1: 2, 2: 0}


def test_the_gain_is_paired_by_episode() -> None:
    dice = np.random.default_rng(0)
    hard = dice.random(400)
    winner, untuned = (hard + shift > 0.5 for shift in (0.1, 0.0))
    trained = results(finals([(0, 1, 60.0), (0, 2, 61.0), (1, 1, 62.0), (1, 2, 64.0)]), FINALISTS)
    ended = verdict(trained, winner=winner.astype(float), untuned=untuned.astype(float))
    assert ended.gains == {5: paired_difference(winner.astype(float), untuned.astype(float))}
    _, rows = verdict_table(ended)
    assert [row[0] for row in rows] == [GIVEN, "trial 4: temperature 2.5 (winner)", "winner above untuned"]
    assert rows[-1][1] == "+2.50"


@pytest.mark.parametrize("failed", [[(0, 1, None), (0, 2, 61.0)], [(0, 1, None), (0, 2, None)]])
def test_untuned_settings_that_could_not_be_trained_leave_a_winner_without_a_gain(failed) -> None:
    trained = results(finals([*failed, (1, 1, 62.0), (1, 2, 64.0)]), FINALISTS)
    assert [one.title for one in trained] == ["trial 4"]
    ended = verdict(trained, winner=np.ones(10))
    assert ended.gains == {}
    _, rows = verdict_table(ended)
    assert [row[0] for row in rows] == ["trial 4: temperature 2.5 (winner)"]


def test_no_finalist_trained_is_no_result() -> None:
    assert results(finals([(0, 1, None), (1, 2, 64.0)]), FINALISTS) == []
