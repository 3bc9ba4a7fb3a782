"""Layers that several models share: the position encoding over frames and the projection of frame tuples."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor, nn


def sinusoid(frames: int, width: int, scale: float = 0.1) -> Tensor:
    """Sinusoidal position encoding, (T, D): `scale` times sine at even and cosine at odd places.

    An odd `width` simply ends on a sine.
    """
    place = torch.arange(frames, dtype=torch.float32)[:, None]
    rate = torch.pow(10000.0, -torch.arange(0, width, 2, dtype=torch.float32) / width)
    table = torch.zeros(frames, width)
    table[:, 0::2] = torch.sin(place * rate)
    table[:, 1::2] = torch.cos(place * rate[: width // 2])
    return scale * table


class PositionEncoding(nn.Module):
    """Adds the sinusoidal encoding to (..., T, D) features, then dropout."""

    pe: Tensor

    def __init__(self, width: int, frames: int, scale: float = 0.1, dropout: float = 0.1) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.register_buffer("pe", sinusoid(frames, width, scale), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(..., T, D) -> (..., T, D)."""
        return self.dropout(x + self.pe[: x.shape[-2]])


def frame_tuples(frames: int, size: int) -> Tensor:
    """All tuples t1 < … < t_size of `frames` frames, (P, size), in lexicographic order."""
    return torch.tensor(list(combinations(range(frames), size)), dtype=torch.long)


class TupleProjection(nn.Linear):
    """A linear map of the concatenated features of each frame tuple: (..., T, D) -> (..., P, width).

    W [x_t1; …; x_tn] = W_1 x_t1 + … + W_n x_tn, so each frame is projected once for each place in the tuple and
    the parts are added up, instead of projecting every tuple: n T maps of D instead of P maps of n D, with the
    same result. Weights keep the shape of the plain layer, (width, n D), so released weights load as they are.

    Args:
        dim: D, width of a frame's features.
        width: width of the projection.
        tuples: (P, n) frame indices.

    `plain` set to True computes the concatenated form; cost accounting and parity tests use it.
    """

    tuples: Tensor

    def __init__(self, dim: int, width: int, tuples: Tensor) -> None:
        super().__init__(dim * tuples.shape[1], width)
        self.dim = dim
        self.plain = False
        self.register_buffer("tuples", tuples, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(..., T, D) -> (..., P, width)."""
        size = self.tuples.shape[1]
        if self.plain:
            stacked = x[..., self.tuples, :].flatten(-2)  # (..., P, n D)
            return nn.functional.linear(stacked, self.weight, self.bias)
        parts = self.weight.view(-1, size, self.dim).flatten(0, 1)  # (width n, D)
        placed = nn.functional.linear(x, parts).unflatten(-1, (-1, size))  # (..., T, width, n)
        total = self.bias + placed[..., self.tuples[:, 0], :, 0]
        for place in range(1, size):
            total = total + placed[..., self.tuples[:, place], :, place]
        return total


def check_tuple_sizes(sizes: Sequence[int], frames: int) -> tuple[int, ...]:
    """Tuple sizes as a tuple; ValueError unless each lies in 1 … `frames` and none stands twice."""
    chosen = tuple(sizes)
    if not chosen or len(set(chosen)) != len(chosen) or not all(1 <= size <= frames for size in chosen):
        raise ValueError(
            f"tuple sizes must be distinct whole numbers from 1 to {frames} (frames), not {chosen}"
        )
    return chosen
