"""Episodes: which videos support and query a few-shot task.

An episode is a record of rows of a split's list of videos, so the same record serves training from frames,
training from features and evaluation from cached embeddings. Episode number i is a pure function of
(seed, split, way, shot, queries, i): a run can go on anywhere, workers need no coordination, and every model is
tested on the very same episodes.
"""

from __future__ import annotations

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
        self._members = [np.flatnonzero(split.labels == label) for label in range(len(split.classes))]

    def __getitem__(self, numbers: int | Iterable[int]) -> Episodes:
        """The episodes of these numbers."""
        chosen = [numbers] if isinstance(numbers, int) else list(numbers)
        drawn = [self._draw(number) for number in chosen]
        fields = (np.stack(field) for field in zip(*drawn, strict=True))
        return Episodes(np.asarray(chosen), *fields)

    def _draw(self, number: int) -> tuple[np.ndarray, ...]:
        rng = numpy_generator(self.seed, "episode", self.split.name, self.way, self.shot, self.queries, number)
        classes = rng.choice(len(self._members), self.way, replace=False)
        each = self.shot + self.queries
        videos = np.stack([rng.choice(self._members[c], each, replace=False) for c in classes])  # (W, K + q)
        labels = np.repeat(np.arange(self.way), each).reshape(self.way, each)
        support, query = rng.permutation(self.way * self.shot), rng.permutation(self.way * self.queries)
        return (
            classes,
            videos[:, : self.shot].ravel()[support],
            labels[:, : self.shot].ravel()[support],
            videos[:, self.shot :].ravel()[query],
            labels[:, self.shot :].ravel()[query],
        )
