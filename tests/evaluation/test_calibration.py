"""Temperatures are those that made the labels, and change no name; errors are as worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litemkd.errors import CheckpointError
from litemkd.evaluation.calibration import (
    FILE,
    Calibration,
    Reliability,
    Temperature,
    fit_temperature,
    read_calibration,
    save_calibration,
)


def drawn(temperature: float, rows: int = 4000, ways: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels drawn from the probabilities that they give at a temperature."""
    rng = np.random.default_rng(3)
    logits = rng.normal(0, 4, (rows, ways))
    noise = rng.gumbel(size=logits.shape)  # the largest of logits and such noise is a draw of their softmax
    return logits, (logits / temperature + noise).argmax(-1)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.0, 30.0])
def test_the_temperature_that_made_the_labels_is_found(temperature: float) -> None:
    logits, labels = drawn(temperature)
    found = fit_temperature(logits.reshape(-1, 4, 5), labels.reshape(-1, 4))
    assert found == pytest.approx(temperature, rel=0.15)
    before, after = Reliability.of(logits, labels), Reliability.of(logits, labels, found)
    assert after.ece < 2.5
    if temperature > 1:
        assert before.ece > 3 * after.ece


def test_an_error_worked_out_by_hand() -> None:
    # Sure by 0.6, 0.6, 0.9 and 0.9; right, wrong, right, right: |60 - 50| and |90 - 100| of two queries each.
    chances = np.array([[0.6, 0.4], [0.6, 0.4], [0.9, 0.1], [0.1, 0.9]])
    found = Reliability.of(np.log(chances), np.array([0, 1, 0, 1]))
    assert found.ece == pytest.approx(10.0)
    assert sorted(found.counts[found.counts > 0]) == [2, 2]
    assert found.accuracy[found.counts > 0].tolist() == [50.0, 100.0]


@pytest.mark.parametrize("logits", [np.eye(3) * 50, np.array([[0, -np.inf, -np.inf]] * 3)])
def test_val_without_a_mistake_gives_a_usable_temperature(logits: np.ndarray) -> None:
    found = fit_temperature(logits, logits.argmax(-1))
    assert 0 < found < np.inf
    assert np.isfinite(Reliability.of(logits, logits.argmax(-1), found).ece)


@given(st.integers(0, 1000), st.integers(2, 7))
def test_no_temperature_changes_what_is_named(seed: int, ways: int) -> None:
    rng = np.random.default_rng(seed)
    logits, labels = rng.normal(0, 10, (6, ways)).astype(np.float32), rng.integers(0, ways, 6)
    assert np.array_equal((logits / fit_temperature(logits, labels)).argmax(-1), logits.argmax(-1))


KEPT = Calibration((Temperature(5, 1, 0.5, 9), Temperature(5, 5, 2.0, 9), Temperature(2, 5, 1.5, 9)))


def test_the_nearest_kind_of_episode_is_taken_and_said() -> None:
    assert KEPT.nearest(5, 5).temperature == 2.0
    assert KEPT.note(5, 5) is None
    assert KEPT.nearest(6, 4).temperature == 2.0
    assert KEPT.nearest(2, 2).temperature == 1.5
    assert "6-way 4-shot are calibrated as those of 5-way 5-shot" in str(KEPT.note(6, 4))


def test_it_is_kept_beside_a_model_and_read_back(tmp_path: Path) -> None:
    assert read_calibration(tmp_path) is None  # models of before
    save_calibration(tmp_path, KEPT)
    assert read_calibration(tmp_path) == KEPT


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "not readable as JSON"),
        ("[]", "not a calibration of format 1"),
        (json.dumps({"format": 1}), "KeyError: 'temperatures'"),
        (json.dumps({"format": 1, "temperatures": []}), "no temperature"),
        (
            json.dumps(
                {"format": 1, "temperatures": [{"way": 5, "shot": 1, "temperature": -1, "episodes": 3}]}
            ),
            "-1.0 of 5-way 1-shot; a positive number would do",
        ),
    ],
)
def test_a_damaged_one_is_told(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / FILE).write_text(text, encoding="utf-8")
    with pytest.raises(CheckpointError, match=FILE) as caught:
        read_calibration(tmp_path)
    assert told in str(caught.value)
