"""Honest probabilities: a temperature for each kind of episode, learned on val, and how well chances come true.

Logits are divided by one positive number (Guo et al., On calibration of modern neural networks, ICML 2017), so
no class that was the most likely one becomes another.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import log_softmax, softmax

from litemkd.errors import CheckpointError
from litemkd.evaluation.unknown import SCORES
from litemkd.runtime.distributed import group
from litemkd.storage.files import write_text

FILE = "calibration.json"  # in the folder of a model
FORMAT = 1
BINS = 15  # of confidence, equally wide
LOWEST, HIGHEST = 1e-3, 1e3  # temperatures
_LEAST = -1e4  # difference of logits, so that none is infinitely wrong


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature under which the labels are most likely.

    The label counts a little less than whole, by Platt's rule (1999) as (n + 1) / (n + 2): on val episodes
    without a mistake the temperature would else go to zero.

    Args:
        logits: (..., W).
        labels: (...), classes 0 … W - 1.
    """
    from scipy.optimize import minimize_scalar  # half a second, which training need not wait for

    rows, ways = logits.reshape(-1, logits.shape[-1]).astype(np.float64), logits.shape[-1]
    rows = np.maximum(rows - rows.max(-1, keepdims=True), _LEAST)
    wanted = np.full(rows.shape, 1 / (len(rows) + 2) / (ways - 1))
    np.put_along_axis(wanted, labels.reshape(-1, 1), 1 - 1 / (len(rows) + 2), -1)

    def loss(sharpness: float) -> float:
        return -float((wanted * log_softmax(rows * math.exp(sharpness), -1)).sum(-1).mean())

    found = minimize_scalar(loss, bounds=(-math.log(HIGHEST), -math.log(LOWEST)), method="bounded")
    return math.exp(-found.x)


@dataclass(frozen=True)
class Reliability:
    """How often the named class was right, by how sure the model was.

    Attributes:
        counts: (BINS,) queries.
        confidence, accuracy: (BINS,) means, per cent; zero where there is no query.
    """

    counts: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray

    @classmethod
    def of(cls, logits: np.ndarray, labels: np.ndarray, temperature: float = 1.0) -> Reliability:
        """Of logits (..., W) and labels (...), divided by a temperature."""
        chances = softmax(logits.reshape(-1, logits.shape[-1]).astype(np.float64) / temperature, -1)
        sure, right = chances.max(-1), chances.argmax(-1) == labels.ravel()
        place = np.minimum((sure * BINS).astype(int), BINS - 1)
        counts = np.bincount(place, minlength=BINS)
        means = (100.0 * np.bincount(place, x, BINS) / np.maximum(counts, 1) for x in (sure, right))
        return cls(counts, *means)

    @property
    def ece(self) -> float:
        """Expected calibration error, per cent."""
        return float((self.counts * np.abs(self.confidence - self.accuracy)).sum() / self.counts.sum())


@dataclass(frozen=True)
class Temperature:
    """What was learned for one kind of episode.

    Attributes:
        way, shot: W and K.
        temperature: above 0; logits are divided by it.
        episodes: val episodes that it was learned on.
        threshold: of the calibration's score, below which a query is of none of the classes; None where all
            classes of val are in each episode.
    """

    way: int
    shot: int
    temperature: float
    episodes: int
    threshold: float | None = None

    @property
    def name(self) -> str:
        """The kind of episode in words."""
        return f"{self.way}-way {self.shot}-shot"


@dataclass(frozen=True)
class Calibration:
    """What was learned on val beside a model's weights.

    Attributes:
        temperatures: by kind of episode, at least one.
        score: what thresholds are of, a key of `SCORES`; None where there are none.
    """

    temperatures: tuple[Temperature, ...]
    score: str | None = None

    def nearest(self, way: int, shot: int) -> Temperature:
        """What was learned for so many ways and shots, or for the kind of episode that is nearest to it."""

        def distance(one: Temperature) -> float:
            return abs(math.log(one.way / way)) + abs(math.log(one.shot / shot))

        return min(self.temperatures, key=distance)

    def known(self, logits: np.ndarray, shot: int) -> np.ndarray | None:
        """Whether queries of logits (..., W) are of one of the classes, (...); None without a threshold.

        That of the nearest kind of episode that has one is taken.
        """
        if self.score is None:
            return None
        having = replace(self, temperatures=tuple(x for x in self.temperatures if x.threshold is not None))
        near = having.nearest(logits.shape[-1], shot)
        return np.asarray(SCORES[self.score](logits, near.temperature) >= near.threshold)

    def note(self, way: int, shot: int) -> str | None:
        """What to say where nothing was learned for just this kind of episode; None where it was."""
        near = self.nearest(way, shot)
        if (near.way, near.shot) == (way, shot):
            return None
        return (
            f"probabilities of {way}-way {shot}-shot are calibrated as those of {near.name}, the nearest known"
        )


UNCALIBRATED = (
    "the model keeps no temperature: its probabilities are not calibrated; one trained with this version has it"
)


def save_calibration(folder: Path, calibration: Calibration) -> None:
    """Keep a calibration in the folder of its model; of several processes the first one does."""
    if group().main:
        write_text(folder / FILE, json.dumps(as_dict(calibration), indent=2) + "\n")


def as_dict(calibration: Calibration) -> dict[str, Any]:
    """Plain values, as they are kept."""
    return {"format": FORMAT, **asdict(calibration)}


def read_calibration(folder: Path) -> Calibration | None:
    """The calibration of the model in a folder, None where it has none (those of before, and imported ones).

    Raises:
        CheckpointError: damaged, of another format, or a temperature that is no positive number.
    """
    path = folder / FILE
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as error:
        raise CheckpointError(f"{path}: not readable as JSON ({error})") from error
    if not isinstance(told, Mapping) or told.get("format") != FORMAT:
        raise CheckpointError(f"{path}: not a calibration of format {FORMAT}")
    try:
        return Calibration(_temperatures(told["temperatures"]), _score(told))
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: not a calibration ({type(error).__name__}: {error})") from error


def _temperatures(told: Iterable[Mapping[str, Any]]) -> tuple[Temperature, ...]:
    found = tuple(
        Temperature(
            int(x["way"]),
            int(x["shot"]),
            float(x["temperature"]),
            int(x["episodes"]),
            None if x.get("threshold") is None else float(x["threshold"]),
        )
        for x in told
    )
    for one in found:
        if not (one.temperature > 0 and math.isfinite(one.temperature) and one.way > 1 and one.shot > 0):
            raise ValueError(f"{one.temperature} of {one.name}; a positive number would do")
    if not found:
        raise ValueError("no temperature")
    return found


def _score(told: Mapping[str, Any]) -> str | None:
    score = told.get("score")
    if score is not None and (
        score not in SCORES or all(x.get("threshold") is None for x in told["temperatures"])
    ):
        raise ValueError(f"score {score!r}; one of {', '.join(SCORES)} with a threshold would do")
    return score
