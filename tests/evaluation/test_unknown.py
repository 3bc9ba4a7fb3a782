"""Strangers: scores, what is measured of them, and episodes that ask for classes that no support shows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from litemkd.data.episodes import Episodes, EpisodeSampler
from litemkd.errors import CheckpointError, DataError
from litemkd.evaluation.calibration import FILE, Calibration, Temperature, read_calibration, save_calibration
from litemkd.evaluation.unknown import SCORES, OpenSet, auroc, false_positives, stranger_logits, threshold_of
from litemkd.stages.calibrate import with_thresholds
from tests.helpers import split_of

SPLIT = split_of([4, 4, 4, 4, 4], "test")


def test_scores_of_two_logits_by_hand() -> None:
    logits = np.array([np.log(3.0), 0.0])
    assert SCORES["logit"](logits, 1.0) == pytest.approx(np.log(3))
    assert SCORES["probability"](logits, 1.0) == pytest.approx(0.75)
    assert SCORES["energy"](logits, 1.0) == pytest.approx(np.log(4))
    assert SCORES["probability"](logits, 0.5) == pytest.approx(0.9)
    assert SCORES["energy"](logits, 0.5) == pytest.approx(np.log(10) / 2)


def test_auroc_counts_pairs() -> None:
    rng = np.random.default_rng(0)
    known, unknown = rng.integers(0, 9, 40) + 2.0, rng.integers(0, 9, 30) + 0.0
    pairs = (known[:, None] > unknown).mean() + (known[:, None] == unknown).mean() / 2
    assert auroc(known, unknown) == pytest.approx(100 * pairs)


def test_a_threshold_keeps_19_of_20() -> None:
    known = np.random.default_rng(0).permutation(100.0 + np.arange(200))
    assert (known >= threshold_of(known)).mean() == 0.95
    assert false_positives(known, np.array([0.0, 109.0, 110.0, 500.0])) == 50.0


def test_strangers_are_of_classes_that_no_support_shows_and_a_function_of_the_number() -> None:
    sampler = EpisodeSampler(SPLIT, way=3, shot=2, queries=2, seed=1)
    seen: list[Episodes] = []

    def classify(episodes: Episodes) -> torch.Tensor:
        seen.append(episodes)
        return torch.zeros(*episodes.query.shape, episodes.way)

    assert stranger_logits(classify, sampler, range(6), batch=4).shape == (6, 6, 3)
    for episodes in seen:
        for classes, support, query in zip(episodes.classes, episodes.support, episodes.query, strict=True):
            assert set(SPLIT.labels[query]) == set(range(5)) - set(classes)  # both others are there
            assert set(SPLIT.labels[support]) == set(classes)
    stranger_logits(classify, sampler, [5])
    assert np.array_equal(seen[-1].query[0], seen[1].query[1])
    stranger_logits(classify, sampler, [0], strangers=np.array([20, 21]))
    assert set(seen[-1].query[0]) <= {20, 21}
    with pytest.raises(DataError, match="each 5-way one has all 5 classes of test"):
        stranger_logits(classify, EpisodeSampler(SPLIT, way=5, shot=1, queries=1, seed=1), [0])


def test_the_score_that_tells_best_is_taken_and_kept(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    known = rng.normal(0, 1, (50, 3, 3)) + 9 * np.eye(3)  # sure of one class, at any level
    unknown = rng.normal(20, 1, (50, 3, 3))
    found = [Temperature(way, 1, 1.0, 50) for way in (3, 4)]
    made = with_thresholds(found, {0: OpenSet(known, unknown)})
    assert made.score == "probability"
    assert made.temperatures[1].threshold is None
    save_calibration(tmp_path, made)
    kept = read_calibration(tmp_path)
    assert kept == made
    assert kept is not None
    passed = kept.known(known, 1)
    assert passed is not None
    assert passed.mean() == pytest.approx(0.95, abs=0.01)
    refused = kept.known(np.zeros((2, 4)), 1)  # of the nearest kind that has one
    assert refused is not None
    assert not refused.any()
    assert Calibration((Temperature(3, 1, 1.0, 50),)).known(known, 1) is None
    told = json.loads((tmp_path / FILE).read_text(encoding="utf-8")) | {"score": "mood"}
    (tmp_path / FILE).write_text(json.dumps(told), encoding="utf-8")
    with pytest.raises(CheckpointError, match="score 'mood'; one of logit, energy, probability"):
        read_calibration(tmp_path)
