"""What heads that align frames share: the distances of every frame of a query to every frame of a support."""

from __future__ import annotations

import torch
from torch import Tensor


def lengths(features: Tensor) -> Tensor:
    """(..., D) -> (..., 1) Euclidean lengths whose gradient at zero is zero, not NaN."""
    square = features.pow(2).sum(-1, keepdim=True)
    empty = square == 0
    return torch.where(empty, square, torch.where(empty, 1, square).sqrt())


def frame_distances(query: Tensor, support: Tensor, eps: float) -> Tensor:
    """1 - <q, s> / (|q| |s| + eps) of all pairs of frames: (B, Q, T, D), (B, S, T, D) -> (B, Q, S, T, T).

    The axis of the query's frames comes before that of the support's. With `eps` 0 it is the cosine distance; a
    frame of zeros, which has no direction, then lies 1 from every other, as it does with any `eps`.
    """
    if eps == 0:  # each by its own length: the product of two small ones may be nothing
        query, support = directions(query), directions(support)
    products = torch.einsum("bqld,bsmd->bqslm", query, support)
    if eps == 0:
        return 1 - products
    asked, held = lengths(query).squeeze(-1), lengths(support).squeeze(-1)  # (B, Q, T), (B, S, T)
    return 1 - products / (asked[:, :, None, :, None] * held[:, None, :, None, :] + eps)


def directions(features: Tensor) -> Tensor:
    """(..., D) -> (..., D) of length 1; zeros stay zeros, with a gradient that is finite."""
    length = lengths(features)
    return features / torch.where(length == 0, 1, length)
