"""What every few-shot head is: frame features of support and query videos in, one logit a class out.

A head works in two steps so that evaluation can do the first one once a video:

    encode   (..., T, D) frame features of each video -> its code, a tensor whose leading axes are the same
    match    codes of support and query, support labels -> logits

Both take a leading axis of episodes: B episodes with S supports, Q queries, W classes each. A head may judge
in several parts, each with logits of its own (`match_parts`); the prediction is their weighted sum (`match`). A
head that looks at the places of a frame's map takes features with one more axis: (..., T, places, D).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from litemkd.errors import EpisodeError
from litemkd.models.heads.checking import check_features, checked_labels
from litemkd.models.heads.known import on_device, on_host

FRAME, PATCH = "frame", "patch"  # names of parts

Code = tuple[Tensor, ...]  # of videos in evaluation; leading axes are the videos'


class Head(nn.Module, ABC):
    """Base of all heads. Subclasses implement `_encode` and `_match_parts`; both are batched over episodes.

    The settings of a head are the keyword arguments of its constructor: their types, their defaults, and what
    `litemkd.extending.About` says of them. It is called with D first, with `frames`, T, and where it has such
    an argument with `places`, the places of a frame's map that there are: 1 for a teacher.

    Attributes:
        name: of a head that comes with litemkd. It is written out, like the constructor's arguments: the
            configuration reads them in the head's file, without running it.
        place: in the order of their settings among the configuration's keys.
        parts: weight in the prediction of each part that `match_parts` gives; `frame` is the main one. They
            have the same weight in the loss.
        training_parts: weight in the loss of parts that `match_parts` gives beside these in training mode, and
            which the prediction leaves out.
        places: places of a frame's map that the head wants; 1: one feature a frame.
        wants: T and D where the head's weights are for these alone.
    """

    name: ClassVar[str] = ""
    place: ClassVar[int] = 100
    parts: ClassVar[Mapping[str, float]] = {FRAME: 1.0}
    training_parts: ClassVar[Mapping[str, float]] = {}
    places: int = 1
    wants: tuple[int, int] | None = None

    def encode(self, features: Tensor) -> Tensor:
        """(..., T, D) features, or (..., T, places, D) -> (..., *code) what matching needs of each video.

        Raises:
            EpisodeError: features of another form.
        """
        check_features(features, self.places, self.wants)
        return self._encode(features)

    def encode_with_text(self, features: Tensor, text: Tensor) -> Tensor:
        """`encode` of supports whose classes have names; this head has no use for them.

        Args:
            features: (..., T, D) of the frames.
            text: (..., D), for each video the feature of its class's name.
        """
        return self.encode(features)

    def match_parts(self, support: Tensor, labels: Tensor, query: Tensor, way: int) -> dict[str, Tensor]:
        """Logits of the queries by part, each (B, Q, W); higher is more similar.

        Args:
            support: (B, S, *code).
            labels: (B, S) whole numbers, the classes 0 … way - 1 of the supports in any order.
            query: (B, Q, *code).
            way: W.

        Raises:
            EpisodeError: a class has no support, or inputs of another form.
        """
        return self._match_parts(support, checked_labels(support, labels, query, way), query, way)

    @property
    def loss_parts(self) -> Mapping[str, float]:
        """Weight in the loss of each part that `match_parts` gives in training mode."""
        return {**self.parts, **self.training_parts}

    @abstractmethod
    def _encode(self, features: Tensor) -> Tensor:
        """`encode` of features that are in order."""

    @abstractmethod
    def _match_parts(self, support: Tensor, labels: Tensor, query: Tensor, way: int) -> dict[str, Tensor]:
        """`match_parts` of inputs that are in order; labels are int64."""

    def match(self, support: Tensor, labels: Tensor, query: Tensor, way: int) -> Tensor:
        """The prediction, (B, Q, W): the weighted sum of the parts. Arguments and errors as `match_parts`."""
        return self.predict(self.match_parts(support, labels, query, way))

    def predict(self, logits: Mapping[str, Tensor]) -> Tensor:
        """The weighted sum of logits by part, (B, Q, W)."""
        first, *others = (
            logits[part] if weight == 1 else weight * logits[part] for part, weight in self.parts.items()
        )
        return sum(others, first)

    def relate(self, support: Tensor, labels: Tensor, query: Tensor, way: int) -> Tensor:
        """How the classes of an episode look to one another for each query: (B, Q, W²) cosines of prototypes.

        Arguments and errors as `match_parts`.
        """
        return self._relate(support, checked_labels(support, labels, query, way), query, way)

    def _relate(self, support: Tensor, labels: Tensor, query: Tensor, way: int) -> Tensor:
        """`relate` of inputs that are in order.

        Here a class's prototype is the mean of its supports' codes, the same for every query; a head whose
        prototypes depend on the query overrides this.
        """
        prototypes = class_prototypes(support, labels, way).flatten(2)  # (B, W, code)
        return cosines(prototypes)[:, None].expand(-1, query.shape[1], -1, -1).flatten(2)

    def meet(self, support: Tensor, labels: Tensor, query: Tensor, way: int) -> Tensor | None:
        """How much each frame of a query is matched with each frame of each support, (B, Q, S, T, T).

        Arguments and errors as `match_parts`. None of a head that does not match frames with one another.
        """
        return self._meet(support, checked_labels(support, labels, query, way), query, way)

    def _meet(self, support: Tensor, labels: Tensor, query: Tensor, way: int) -> Tensor | None:
        """`meet` of inputs that are in order."""
        return None

    def forward(self, support: Tensor, labels: Tensor, query: Tensor, way: int) -> Tensor:
        """Logits (B, Q, W) from features (B, S, T[, places], D) and (B, Q, T[, places], D).

        Errors as `encode` and `match_parts`.
        """
        for features in (support, query):
            check_features(features, self.places, self.wants, ("B", "V"))
        checked_labels(support, labels, query, way)
        supports = support.shape[1]
        codes = self.encode(torch.cat([support, query], dim=1))
        return self.match(codes[:, :supports], labels, codes[:, supports:], way)

    def folded(self, branch: nn.Module) -> Folded:
        """A branch and this head behind it, in eval mode, as one; overridden where that takes less work."""
        return Folded(branch, self)


class Folded(nn.Module):
    """A branch and a head for evaluation: codes are tuples of tensors, and the prediction is all it gives.

    Args:
        branch: the backbone's features (..., T[, places], C) to the head's, (..., T[, places], D).
        head: what it equals; weights are shared with both, nothing is copied.
    """

    def __init__(self, branch: nn.Module, head: Head) -> None:
        super().__init__()
        self.branch, self.head = branch, head

    def encode(self, features: Tensor) -> Code:
        """(..., T[, places], C) features of the backbone -> codes of the videos."""
        return (self.head.encode(self.branch(features)),)

    def match(self, support: Code, labels: Tensor, query: Code, way: int) -> Tensor:
        """The prediction, (B, Q, W), of codes with leading axes (B, S) and (B, Q); errors as `Head.match`."""
        return self._match(support, checked_labels(support[0], labels, query[0], way), query, way)

    def _match(self, support: Code, labels: Tensor, query: Code, way: int) -> Tensor:
        """`match` of inputs that are in order."""
        return self.head.predict(self.head._match_parts(support[0], labels, query[0], way))


_TABLE: ContextVar[Tensor | None] = ContextVar("table of supports", default=None)


@contextmanager
def in_a_table(present: Tensor) -> Iterator[None]:
    """For the time of the block supports stand class after class, K places each, and labels are not looked at.

    What is computed then has the same operations for any number of classes and shots, as a graph needs that
    is made once for all of them.

    Args:
        present: (B, W, K), True where a place is a support of its class; the others are not counted.
    """
    token = _TABLE.set(present)
    try:
        yield
    finally:
        _TABLE.reset(token)


def table_there() -> Tensor | None:
    """Which places of the table are taken, (B, W, K), within `in_a_table`; None elsewhere."""
    return _TABLE.get()


def support_counts(labels: Tensor, way: int) -> np.ndarray:
    """Supports per class, (B, W). EpisodeError if a class has none or a label lies outside 0 … way - 1."""
    known = on_host(labels)
    if known.size == 0 or known.min() < 0 or known.max() >= way:
        raise EpisodeError(
            f"support labels must lie in 0 … {way - 1} for {way}-way episodes, got {known.tolist()}"
        )
    counts: np.ndarray = (known[..., None] == np.arange(way)).sum(1)
    if not (counts > 0).all():
        episode, missing = (int(i) for i in np.argwhere(counts == 0)[0])
        raise EpisodeError(
            f"class {missing} of episode {episode} in the batch has no support video; "
            "every class needs at least one"
        )
    return counts


def group_by_class(labels: Tensor, way: int) -> tuple[Tensor, Tensor]:
    """Where the supports of each class stand, as a padded table.

    Returns:
        Index (B, W, K), positions in 0 … S - 1, K = the largest number of supports of a class; places past a
        class's supports hold its first support. And present (B, W, K), True where a place is a support of the
        class.

    Raises:
        EpisodeError: as `support_counts`.
    """
    if (table := _TABLE.get()) is not None:
        places = torch.arange(table[0].numel(), device=table.device)
        return places.view(1, *table.shape[1:]).expand(table.shape), table
    counts = support_counts(labels, way)  # (B, W)
    order = on_host(labels).argsort(axis=1, kind="stable")  # (B, S), supports sorted by class
    start = counts.cumsum(1) - counts  # (B, W)
    place = np.arange(counts.max())
    present = place < counts[..., None]  # (B, W, K)
    position = start[..., None] + np.where(present, place, 0)
    index = np.take_along_axis(order, position.reshape(len(order), -1), axis=1).reshape(position.shape)
    return on_device(index, labels.device), on_device(present, labels.device)


def take_supports(codes: Tensor, index: Tensor) -> Tensor:
    """(B, S, *code) and (B, W, K) positions -> (B, W, K, *code); a view where supports are sorted by class."""
    if _TABLE.get() is not None:
        return codes.unflatten(1, index.shape[1:])
    known = on_host(index)
    if known[0].size == codes.shape[1] and (np.diff(known.reshape(len(known), -1)) == 1).all():
        return codes.unflatten(1, index.shape[1:])
    batch = torch.arange(codes.shape[0], device=codes.device)[:, None, None]
    return codes[batch, index]


def _members(labels: Tensor, way: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Which support is of which class, (B, S, W) of 0 and 1, and supports per class, (B, W)."""
    counts = on_device(support_counts(labels, way), labels.device)
    return (labels[..., None] == torch.arange(way, device=labels.device)).to(like.dtype), counts


def mean_over_supports(scores: Tensor, labels: Tensor, way: int) -> Tensor:
    """Mean of each query's scores over the supports of each class: (B, Q, S), (B, S) -> (B, Q, W)."""
    if (table := _TABLE.get()) is not None:
        return scores.unflatten(-1, table.shape[1:]).where(table[:, None], 0).sum(-1) / table.sum(-1)[:, None]
    member, counts = _members(labels, way, scores)
    return scores @ member / counts[:, None]


def cosines(vectors: Tensor) -> Tensor:
    """(..., N, D) -> (..., N, N) cosines of all pairs."""
    unit = torch.nn.functional.normalize(vectors, dim=-1)
    return unit @ unit.transpose(-2, -1)


def class_prototypes(features: Tensor, labels: Tensor, way: int) -> Tensor:
    """Mean over each class's supports: (B, S, *code), (B, S) -> (B, W, *code); any order, unequal shots."""
    if (table := _TABLE.get()) is not None:
        rows = features.flatten(2).unflatten(1, table.shape[1:])  # (B, W, K, code)
        total = rows.where(table[..., None], 0).sum(2)
        return (total / table.sum(-1, keepdim=True)).unflatten(2, features.shape[2:])
    member, counts = _members(labels, way, features)
    total = torch.einsum("bsw,bsf->bwf", member, features.flatten(2))
    return (total / counts[..., None]).unflatten(2, features.shape[2:])
