"""What heads that align frames share: the distances of every frame of a query to every frame of a support."""

from __future__ import annotations

import torch
from torch import Tensor

EPSILON = 0.01  # keeps the cosine of an empty frame defined, as in the published heads


def lengths(features: Tensor) -> Tensor:
    """(..., D) -> (..., 1) Euclidean lengths whose gradient at zero is zero, not NaN."""
    square = features.pow(2).sum(-1, keepdim=True)
    empty = square == 0
    return torch.where(empty, square, torch.where(empty, 1, square).sqrt())


def frame_distances(query: Tensor, support: Tensor) -> Tensor:
    """1 - <q, s> / (|q| |s| + 0.01) of all pairs of frames: (B, Q, T, D), (B, S, T, D) -> (B, Q, S, T, T).

    The axis of the query's frames comes before that of the support's.
    """
    products = torch.einsum("bqld,bsmd->bqslm", query, support)
    asked, held = lengths(query).squeeze(-1), lengths(support).squeeze(-1)  # (B, Q, T), (B, S, T)
    return 1 - products / (asked[:, :, None, :, None] * held[:, None, :, None, :] + EPSILON)
