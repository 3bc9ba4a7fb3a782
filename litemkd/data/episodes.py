"""Episodes: which videos support and query a few-shot task.

An episode is a record of rows of a split's list of videos, so the same record serves training from frames,
training from features and evaluation from cached embeddings. Episode number i is a pure function of
(seed, split, way, shot, queries, i): a run can go on anywhere, workers need no coordination, and every model is
tested on the very same episodes.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields

import numpy as np

from litemkd.data.splits import Split, check_enough
from litemkd.runtime.seeding import numpy_generator


@dataclass(frozen=True)
class Episodes:
    """A batch of B episodes of one kind.

    Attributes:
        number: (B,) the episodes' numbers.
        classes: (B, W) classes of the split, in the order of the labels.
        support, query: (B, S) and (B, Q) rows of the split's videos.
        support_labels, query_labels: (B, S) and (B, Q) in 0 … W - 1, in no particular order.
    """

    number: np.ndarray
    classes: np.ndarray
    support: np.ndarray
    support_labels: np.ndarray
    query: np.ndarray
    query_labels: np.ndarray

    @property
    def way(self) -> int:
        """W."""
        return int(self.classes.shape[1])

    def __len__(self) -> int:
        return len(self.number)

    def __getitem__(self, rows: slice | np.ndarray) -> Episodes:
        """Some of them."""
        return Episodes(*(getattr(self, one.name)[rows] for one in fields(self)))

    def parts(self, size: int) -> Iterator[Episodes]:
        """The same in order, `size` episodes at a time."""
        for start in range(0, len(self), size):
            yield self[start : start + size]

    def compact(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The distinct videos in use, (V,), and support and query as places in that list."""
        videos, place = np.unique(
            np.concatenate([self.support.ravel(), self.query.ravel()]), return_inverse=True
        )
        split = self.support.size
        return videos, place[:split].reshape(self.support.shape), place[split:].reshape(self.query.shape)


class EpisodeSampler:
    """Makes the episodes of one split.

    Args:
        split: the videos and classes to draw from.
        way: classes of an episode.
        shot: supports of each class.
        queries: queries of each class.
        seed: of the sequence of episodes.

    Raises:
        DataError: the split has too few classes, or a class too few videos.
    """

    def __init__(self, split: Split, *, way: int, shot: int, queries: int, seed: int) -> None:
        check_enough(split, shot, queries, way)
        self.split, self.way, self.shot, self.queries, self.seed = split, way, shot, queries, seed
        self.members = [np.flatnonzero(split.labels == label) for label in range(len(split.classes))]
        self._counts = [len(rows) for rows in self.members]
        self._table = np.zeros((len(self._counts), max(self._counts)), np.int64)  # (C, most videos of a class)
        for row, rows in zip(self._table, self.members, strict=True):
            row[: len(rows)] = rows

    def __getitem__(self, numbers: int | Iterable[int]) -> Episodes:
        """The episodes of these numbers."""
        chosen = [numbers] if isinstance(numbers, int) else list(numbers)
        drawn = zip(*(self._draw(number) for number in chosen), strict=True)
        classes, places, *orders = (np.array(one) for one in drawn)
        videos = self._table[classes[..., None], places]  # (B, W, K + q)
        labels = np.broadcast_to(np.arange(self.way)[:, None], videos.shape)
        parts = []
        for part, order in zip((slice(None, self.shot), slice(self.shot, None)), orders, strict=True):
            for given in (videos, labels):
                parts.append(np.take_along_axis(given[..., part].reshape(len(chosen), -1), order, 1))
        return Episodes(np.asarray(chosen), classes, *parts)

    def _draw(self, number: int) -> tuple[np.ndarray | list[np.ndarray], ...]:
        """Classes (W,), places of videos in them (W, K + q), and the orders of supports and queries."""
        rng = numpy_generator(self.seed, "episode", self.split.name, self.way, self.shot, self.queries, number)
        classes = rng.choice(len(self._counts), self.way, replace=False)
        each = self.shot + self.queries
        places = [rng.choice(self._counts[one], each, replace=False) for one in classes]
        return (
            classes,
            places,
            rng.permutation(self.way * self.shot),
            rng.permutation(self.way * self.queries),
        )


class FixedEpisodes(EpisodeSampler):
    """Episodes that several models are tested on: each part of a list is drawn once, and kept."""

    @functools.cached_property
    def _kept(self) -> dict[range, Episodes]:
        return {}

    def __getitem__(self, numbers: int | Iterable[int]) -> Episodes:
        """The episodes of these numbers; not to be written to."""
        if not isinstance(numbers, range):
            return super().__getitem__(numbers)
        if numbers not in self._kept:
            self._kept[numbers] = super().__getitem__(numbers)
        return self._kept[numbers]


@functools.lru_cache(maxsize=32)
def fixed_episodes(split: Split, way: int, shot: int, queries: int, seed: int) -> FixedEpisodes:
    """The episodes of a kind, the same object for the same arguments; see `EpisodeSampler` for these."""
    return FixedEpisodes(split, way=way, shot=shot, queries=queries, seed=seed)
