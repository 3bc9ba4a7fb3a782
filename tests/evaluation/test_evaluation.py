"""Evaluation: intervals by hand, accuracies and confusion of classifiers whose answers are known."""

import math

import numpy as np
import pytest
import torch

from litemkd.data.episodes import EpisodeSampler
from litemkd.evaluation.accuracy import Interval, evaluate, paired_difference
from tests.helpers import split_of

SPLIT = split_of([7, 8, 9, 7, 7, 10], "val")


def sampler_of(way=5, shot=2, queries=3, split=SPLIT):
    return EpisodeSampler(split, way=way, shot=shot, queries=queries, seed=0)


def one_hot(labels, way):
    return torch.nn.functional.one_hot(torch.as_tensor(labels), way).float()


def perfect(episodes):
    return one_hot(episodes.query_labels, episodes.way)


def test_interval_by_hand():
    interval = Interval.of(np.array([60.0, 80.0, 100.0, 40.0]))
    # mean 70, sample variance (100 + 100 + 900 + 900) / 3
    assert interval.mean == 70
    assert interval.half == pytest.approx(1.96 * math.sqrt(2000 / 3) / 2, rel=1e-12)
    assert str(interval) == "70.00 ± 25.30"


def test_interval_of_one_value_is_unknown():
    interval = Interval.of(np.array([60.0]))
    assert interval.mean == 60
    assert math.isnan(interval.half)


def test_paired_difference_by_hand():
    one, two = np.array([80.0, 60.0, 100.0]), np.array([60.0, 60.0, 60.0])
    difference = paired_difference(one, two)
    assert difference.mean == 20
    assert difference.half == pytest.approx(1.96 * 20 / math.sqrt(3), rel=1e-12)
    assert paired_difference(two, one).mean == -20
    assert paired_difference(one, one) == Interval(0.0, 0.0)


def test_pairing_is_narrower_than_two_separate_intervals():
    rng = np.random.default_rng(0)
    hard = rng.normal(60, 15, 500)  # episodes differ much, models little
    one, two = hard + rng.normal(2, 2, 500), hard
    assert paired_difference(one, two).half < 0.2 * Interval.of(one).half


def test_paired_difference_needs_equally_many():
    with pytest.raises(ValueError, match="4 against 3"):
        paired_difference(np.zeros(4), np.zeros(3))


@pytest.mark.parametrize("batch", [1, 7, 64])
def test_a_perfect_classifier(batch):
    sampler = sampler_of()
    result = evaluate(perfect, sampler, range(20), batch=batch)
    assert result.accuracy == Interval(100.0, 0.0)
    assert result.accuracies.shape == (20,)
    assert (result.confusion == np.diag(np.diag(result.confusion))).all()
    assert result.confusion.sum() == 20 * 15
    asked = np.bincount(sampler[range(20)].classes.ravel(), minlength=6) * 3
    np.testing.assert_array_equal(np.diag(result.confusion), asked)
    assert set(result.per_class.values()) == {100.0}
    assert tuple(result.per_class) == SPLIT.classes == result.classes
    assert result.shot == 2
    assert result.episodes_per_second > 0


@pytest.mark.parametrize("way", [2, 5])
def test_a_random_classifier_is_right_once_in_way(way):
    generator = torch.Generator().manual_seed(0)

    def guess(episodes):
        return torch.rand(*episodes.query.shape, way, generator=generator)

    result = evaluate(guess, sampler_of(way=way), range(400))
    assert abs(result.accuracy.mean - 100 / way) < 2 * result.accuracy.half
    assert 0.5 < result.accuracy.half < 3
    assert abs(np.mean(list(result.per_class.values())) - 100 / way) < 5


def test_confusion_and_classes_of_a_known_mistake():
    """Every query of class 2 is taken for class 4 where both are in the episode, and nothing else is wrong."""
    sampler = sampler_of()

    def confuse(episodes):
        logits = perfect(episodes)
        for i in range(len(episodes)):
            classes = episodes.classes[i].tolist()
            if 2 in classes and 4 in classes:
                wrong = torch.from_numpy(episodes.query_labels[i] == classes.index(2))
                logits[i, wrong] = one_hot(classes.index(4), 5)
        return logits

    result = evaluate(confuse, sampler, range(30), batch=8)
    both = np.array([2 in c and 4 in c for c in sampler[range(30)].classes])
    asked = np.array([2 in c for c in sampler[range(30)].classes]).sum() * 3
    np.testing.assert_allclose(result.accuracies, np.where(both, 80.0, 100.0))
    expected = np.diag(np.bincount(sampler[range(30)].classes.ravel(), minlength=6) * 3)
    expected[2, 2] -= both.sum() * 3
    expected[2, 4] += both.sum() * 3
    np.testing.assert_array_equal(result.confusion, expected)
    shares = dict.fromkeys(SPLIT.classes, 100.0) | {"class02": 100 * (asked - both.sum() * 3) / asked}
    assert result.per_class == pytest.approx(shares)


def test_a_class_never_asked_for_is_nan():
    result = evaluate(perfect, sampler_of(way=2), [0])
    assert sum(math.isnan(share) for share in result.per_class.values()) == 4


def test_batches_numbers_and_order():
    sampler = sampler_of()
    seen = []

    def classify(episodes):
        seen.extend(episodes.number.tolist())
        assert torch.is_inference_mode_enabled()
        return one_hot((episodes.query_labels + (episodes.number[:, None] % 2)) % 5, 5)  # odd ones all wrong

    result = evaluate(classify, sampler, [5, 2, 9, 4], batch=3)
    assert seen == [5, 2, 9, 4]
    assert result.accuracies.tolist() == [0, 100, 0, 100]
