"""What every few-shot head is: frame features of support and query videos in, one logit a class out.

A head works in two steps so that evaluation can do the first one once a video:

    encode   (..., T, D) frame features of each video -> its code, a tensor whose leading axes are the same
    match    codes of support and query, support labels -> logits

Both take a leading axis of episodes: B episodes with S supports, Q queries, W classes each.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from litemkd.errors import EpisodeError


class Head(nn.Module, ABC):
    """Base of all heads. Subclasses implement `encode` and `match`; both are batched over episodes."""

    @abstractmethod
    def encode(self, features: Tensor) -> Tensor:
        """(..., T, D) frame features -> (..., *code) what matching needs of each video."""

    @abstractmethod
    def match(self, support: Tensor, labels: Tensor, query: Tensor, way: int) -> Tensor:
        """Logits of the queries, (B, Q, W); higher is more similar.

        Args:
            support: (B, S, *code).
            labels: (B, S), the classes 0 … way - 1 of the supports in any order.
            query: (B, Q, *code).
            way: W.

        Raises:
            EpisodeError: a class has no support.
        """

    def forward(self, support: Tensor, labels: Tensor, query: Tensor, way: int) -> Tensor:
        """Logits (B, Q, W) from frame features (B, S, T, D) and (B, Q, T, D)."""
        return self.match(self.encode(support), labels, self.encode(query), way)


def support_counts(labels: Tensor, way: int) -> Tensor:
    """Supports per class, (B, W). EpisodeError if a class has none or a label lies outside 0 … way - 1."""
    if labels.numel() == 0 or int(labels.min()) < 0 or int(labels.max()) >= way:
        raise EpisodeError(
            f"support labels must lie in 0 … {way - 1} for {way}-way episodes, got {labels.tolist()}"
        )
    counts = torch.nn.functional.one_hot(labels, way).sum(1)
    if not bool((counts > 0).all()):
        episode, missing = (int(i) for i in (counts == 0).nonzero()[0])
        raise EpisodeError(
            f"class {missing} of episode {episode} in the batch has no support video; "
            "every class needs at least one"
        )
    return counts


def group_by_class(labels: Tensor, way: int) -> tuple[Tensor, Tensor]:
    """Where the supports of each class stand, as a padded table.

    Returns:
        index (B, W, K): positions in 0 … S - 1, K = the largest number of supports of a class; places past a
            class's supports hold its first support;
        present (B, W, K): True where a place is a support of the class.

    Raises:
        EpisodeError: as `support_counts`.
    """
    counts = support_counts(labels, way)  # (B, W)
    most = int(counts.max())
    order = labels.argsort(dim=1, stable=True)  # (B, S), supports sorted by class
    start = counts.cumsum(1) - counts  # (B, W)
    place = torch.arange(most, device=labels.device)
    present = place < counts[..., None]  # (B, W, K)
    position = start[..., None] + torch.where(present, place, 0)
    return order.gather(1, position.flatten(1)).view_as(position), present


def take_supports(codes: Tensor, index: Tensor) -> Tensor:
    """(B, S, *code) and (B, W, K) positions -> (B, W, K, *code)."""
    batch = torch.arange(codes.shape[0], device=codes.device)[:, None, None]
    return codes[batch, index]


def class_prototypes(features: Tensor, labels: Tensor, way: int) -> Tensor:
    """Mean over each class's supports: (B, S, *code), (B, S) -> (B, W, *code); any order, unequal shots."""
    counts = support_counts(labels, way)
    member = torch.nn.functional.one_hot(labels, way).to(features.dtype)  # (B, S, W)
    total = torch.einsum("bsw,bsf->bwf", member, features.flatten(2))
    return (total / counts[..., None]).unflatten(2, features.shape[2:])
