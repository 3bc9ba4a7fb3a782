"""Honest evaluation: episodes to an accuracy with its interval, two models on the same ones to a difference.

Every video's code is computed once; an episode is then a look-up of rows and one pass of the head.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from litemkd.data.episodes import Episodes, EpisodeSampler
from litemkd.evaluation.intervals import Interval
from litemkd.evaluation.look_up import LookUp
from litemkd.runtime.distributed import gather, group
from litemkd.runtime.progress import Bar

# Logits (B, Q, W) of a batch of episodes.
Classifier = Callable[[Episodes], Tensor]
InputsT = TypeVar("InputsT")


@dataclass(frozen=True)
class Evaluation:
    """What a model does on a list of episodes.

    Attributes:
        shot: K.
        accuracies: (n,) accuracy of each episode, per cent, in the episodes' order.
        confusion: (C, C) counts of queries by true class and predicted class.
        classes: names of the C classes.
        episodes_per_second: of the head on cached codes.
        logits: (n, Q, W) float32, empty where they were not kept.
        labels: (n, Q), the true classes' places in the episodes.
    """

    shot: int
    accuracies: np.ndarray
    confusion: np.ndarray
    classes: tuple[str, ...]
    episodes_per_second: float
    logits: np.ndarray = field(default_factory=lambda: np.zeros((0, 0, 0), np.float32), repr=False)
    labels: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.int64), repr=False)

    @property
    def accuracy(self) -> Interval:
        """Mean accuracy, per cent."""
        return Interval.of(self.accuracies)

    @property
    def per_class(self) -> dict[str, float]:
        """Accuracy of the queries of each class, per cent; NaN for a class that was never asked for."""
        asked = self.confusion.sum(1)
        with np.errstate(invalid="ignore"):
            shares = 100.0 * np.diag(self.confusion) / asked
        return {name: float(share) for name, share in zip(self.classes, shares, strict=True)}


def evaluate(
    classify: Classifier,
    sampler: EpisodeSampler,
    numbers: Sequence[int],
    *,
    batch: int = 64,
    progress: str | None = None,
) -> Evaluation:
    """Classify the queries of the episodes `numbers` of `sampler`.

    Several processes share the work, each a part of the episodes in a row; all get the whole, in the episodes'
    order, and speeds add up.

    Args:
        classify: logits of a batch of episodes.
        sampler: makes the episodes.
        numbers: of the episodes, for instance range(10_000).
        batch: episodes at once, on a GPU as often as `LookUp` says.
        progress: label of a progress bar; none is shown without it.
    """
    if isinstance(classify, LookUp):
        batch *= classify.held.scale
        classify = classify.for_many(len(numbers), sampler.way, sampler.shot, sampler.way * sampler.queries)
    if len(numbers) < group().size:
        return _evaluate_part(classify, sampler, numbers, batch, progress)
    share = group().share(len(numbers))
    parts = gather(_evaluate_part(classify, sampler, numbers[share.start : share.stop], batch, progress))
    return Evaluation(
        sampler.shot,
        np.concatenate([part.accuracies for part in parts]),
        np.sum([part.confusion for part in parts], axis=0),
        sampler.split.classes,
        sum(part.episodes_per_second for part in parts),
        np.concatenate([part.logits for part in parts]),
        np.concatenate([part.labels for part in parts]),
    )


def _evaluate_part(
    classify: Classifier, sampler: EpisodeSampler, numbers: Sequence[int], batch: int, progress: str | None
) -> Evaluation:
    classes = sampler.split.classes
    accuracies, told, labels = [], [], []
    confusion = np.zeros((len(classes), len(classes)), dtype=np.int64)
    begun = time.perf_counter()
    with Bar(total=len(numbers), desc=progress, unit="episode", disable=progress is None) as bar:
        for start in range(0, len(numbers), batch):
            episodes = sampler[numbers[start : start + batch]]
            with torch.inference_mode():
                logits = classify(episodes).float()
                predicted = logits.argmax(-1).cpu().numpy()  # (B, Q)
            told.append(logits.cpu().numpy())
            labels.append(episodes.query_labels)
            accuracies.append(100.0 * (predicted == episodes.query_labels).mean(1))
            rows = np.take_along_axis(episodes.classes, episodes.query_labels, axis=1)
            columns = np.take_along_axis(episodes.classes, predicted, axis=1)
            np.add.at(confusion, (rows.ravel(), columns.ravel()), 1)
            bar.state(f"accuracy {100 * np.trace(confusion) / confusion.sum():.2f} %")
            bar.update(len(episodes))
    speed = len(numbers) / (time.perf_counter() - begun)
    return Evaluation(
        sampler.shot,
        np.concatenate(accuracies),
        confusion,
        classes,
        speed,
        np.concatenate(told),
        np.concatenate(labels),
    )


@dataclass(frozen=True)
class ValEpisodes(Generic[InputsT]):
    """The fixed list of val episodes by which checkpoints are chosen.

    Attributes:
        inputs: what the model reads of all val videos: clips, or features by modality.
        sampler: makes the episodes.
        count: the list is those numbered from 0 to count - 1.
    """

    inputs: InputsT
    sampler: EpisodeSampler
    count: int

    def evaluate(self, classify: Classifier) -> Evaluation:
        """What a classifier of the val videos does on the list."""
        return evaluate(classify, self.sampler, range(self.count))


def paired_difference(first: Evaluation | np.ndarray, second: Evaluation | np.ndarray) -> Interval:
    """Mean and interval of `first` minus `second`, episode by episode, in points.

    Raises:
        ValueError: the two were not run on equally many episodes.
    """
    a, b = (x.accuracies if isinstance(x, Evaluation) else x for x in (first, second))
    if a.shape != b.shape:
        raise ValueError(f"paired comparison needs the same episodes: {a.shape[0]} against {b.shape[0]}")
    return Interval.of(a - b)
