"""None of these: queries of classes that no support shows, told from the others by a score of their logits.

The scores are known from open-set recognition: the nearest class's own logit, the free energy (Liu et al.,
NeurIPS 2020) and the greatest probability (Hendrycks and Gimpel, ICLR 2017). A query below a threshold is of no
class.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.special import logsumexp, softmax

from litemkd.data.episodes import EpisodeSampler
from litemkd.errors import DataError
from litemkd.evaluation.accuracy import Classifier
from litemkd.runtime.progress import Bar
from litemkd.runtime.seeding import numpy_generator

NONE = "none of these"
KEPT = 0.95  # share of queries of the episode's classes that a threshold lets pass, on val

# Of logits (..., W) and a temperature, higher where a query is of one of the classes.
SCORES: Mapping[str, Callable[[np.ndarray, float], np.ndarray]] = {
    "logit": lambda logits, _: logits.max(-1),
    "energy": lambda logits, warmth: warmth * logsumexp(logits / warmth, -1),
    "probability": lambda logits, warmth: softmax(logits / warmth, -1).max(-1),
}


@dataclass(frozen=True)
class OpenSet:
    """Logits of queries of the episodes' classes, and of others.

    Attributes:
        known: (n, Q, W).
        unknown: (n, U, W).
    """

    known: np.ndarray
    unknown: np.ndarray

    def scores(self, name: str, temperature: float) -> tuple[np.ndarray, np.ndarray]:
        """A score of all known and of all unknown queries, flat."""
        of = SCORES[name]
        return of(self.known, temperature).ravel(), of(self.unknown, temperature).ravel()


def auroc(known: np.ndarray, unknown: np.ndarray) -> float:
    """How often a known query scores above an unknown one, per cent; a tie counts half."""
    from scipy.stats import rankdata  # takes a second, which only this needs to wait for

    ranks = rankdata(np.concatenate([known, unknown]))
    above = ranks[: known.size].sum() - known.size * (known.size + 1) / 2
    return float(100 * above / (known.size * unknown.size))


def threshold_of(known: np.ndarray, kept: float = KEPT) -> float:
    """The greatest score that lets this share of known queries pass, those that reach it among them."""
    return float(np.sort(known)[int((1 - kept) * known.size + 1e-9)])


def false_positives(known: np.ndarray, unknown: np.ndarray) -> float:
    """Unknown queries that pass where 95 % of the known ones do, per cent."""
    return float(100 * (unknown >= threshold_of(known, 0.95)).mean())


def stranger_logits(
    classify: Classifier,
    sampler: EpisodeSampler,
    numbers: Sequence[int],
    *,
    strangers: np.ndarray | None = None,
    progress: str | None = None,
    batch: int = 64,
) -> np.ndarray:
    """Logits (n, W q, W) of queries of no class of their episode, as many as each has of its own.

    Args:
        classify: logits of a batch of episodes.
        sampler: makes the episodes; the strangers of one are a function of its number, too.
        numbers: of the episodes.
        strangers: rows of the classifier's videos to draw from; those of the split's other classes when None,
            one class after another as far as there are some.
        progress: label of a progress bar; none is shown without it.
        batch: episodes at once.

    Raises:
        DataError: all classes of the split are in every episode.
    """
    split, way = sampler.split, sampler.way
    if strangers is None and way >= len(split.classes):
        raise DataError(
            f"open-set episodes: each {way}-way one has all {len(split.classes)} classes of {split.name}; "
            f"episode.way={len(split.classes) - 1} or less would do"
        )
    found = []
    with Bar(total=len(numbers), desc=progress, unit="episode", disable=progress is None) as bar:
        for start in range(0, len(numbers), batch):
            episodes = sampler[numbers[start : start + batch]]
            rows = [
                _draw(sampler, int(number), classes, strangers)
                for number, classes in zip(episodes.number, episodes.classes, strict=True)
            ]
            with torch.inference_mode():
                found.append(classify(replace(episodes, query=np.stack(rows))).float().cpu().numpy())
            bar.update(len(episodes))
    return np.concatenate(found)


def _draw(
    sampler: EpisodeSampler, number: int, classes: np.ndarray, strangers: np.ndarray | None
) -> np.ndarray:
    split, count = sampler.split, sampler.way * sampler.queries
    rng = numpy_generator(sampler.seed, "strangers", split.name, sampler.way, sampler.shot, count, number)
    if strangers is not None:
        return rng.choice(strangers, count, replace=count > len(strangers))
    others = rng.permutation(np.setdiff1d(np.arange(len(split.classes)), classes))
    return np.array([rng.choice(sampler.members[one]) for one in np.resize(others, count)])
