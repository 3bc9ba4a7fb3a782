"""Layers that several models share: the position encoding over frames and the projection of frame tuples."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

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
    return torch.tensor(list(itertools.combinations(range(frames), size)), dtype=torch.long)


class TupleProjection(nn.Linear):
    """A linear map of the concatenated features of each frame tuple: (..., T, D) -> (..., P, width).

    W [x_t1; …; x_tn] = W_1 x_t1 + … + W_n x_tn, so each frame is projected once for each place in a tuple that
    it can have and the parts are added up, instead of projecting every tuple: n (T - n + 1) maps of D in place
    of P maps of n D, with the same result. Weights keep the shape of the plain layer, (width, n D), so released
    weights load as they are.

    Args:
        dim: D, width of a frame's features.
        width: width of the projection.
        tuples: (P, n) frame indices, all of T frames.

    `plain` set to True computes the concatenated form; cost accounting and parity tests use it.
    """

    tuples: Tensor
    sums: Tensor

    def __init__(self, dim: int, width: int, tuples: Tensor) -> None:
        super().__init__(dim * tuples.shape[1], width)
        self.dim = dim
        self.plain = False
        self.register_buffer("tuples", tuples, persistent=False)
        self.register_buffer("sums", placed_rows(tuples).to(self.weight), persistent=False)

    def forward(self, x: Tensor, *, together: bool = True) -> Tensor:
        """(..., T, D) -> (..., P, width); not `together`, the placed frames that tuples are sums of.

        These are (..., R, width), in the order of `placed_rows`; the plain form has tuples only.
        """
        if self.plain:
            stacked = x[..., self.tuples, :].flatten(-2)  # (..., P, n D)
            return nn.functional.linear(stacked, self.weight, self.bias)
        size = self.tuples.shape[1]
        span = self.sums.shape[1] // size
        parts = self.weight.split(self.dim, dim=1)
        placed = [  # a tuple has one frame at each place, so its bias stands with the first
            nn.functional.linear(x[..., place : place + span, :], part, self.bias if place == 0 else None)
            for place, part in enumerate(parts)
        ]
        rows = torch.cat(placed, dim=-2)
        return self.sums @ rows if together else rows


def placed_rows(tuples: Tensor) -> Tensor:
    """Which placed frames each tuple is made of, (P, R) of 0 and 1.

    A *placed frame* is frame t at place p of a tuple. There are R = n (T - n + 1), place after place, p with
    frames p … T - n + p.

    Args:
        tuples: (P, n) frame indices, all ordered tuples of T frames.
    """
    size = tuples.shape[1]
    frames = next(t for t in itertools.count(size) if math.comb(t, size) == len(tuples))
    span = frames - size + 1
    rows = tuples + torch.arange(size) * (span - 1)
    return nn.functional.one_hot(rows, size * span).sum(1)


def check_tuple_sizes(sizes: Sequence[int], frames: int) -> tuple[int, ...]:
    """Tuple sizes as a tuple; ValueError unless each lies in 1 … `frames` and none stands twice."""
    chosen = tuple(sizes)
    if not chosen or len(set(chosen)) != len(chosen) or not all(1 <= size <= frames for size in chosen):
        raise ValueError(
            f"tuple sizes must be distinct whole numbers from 1 to {frames} (frames), not {chosen}"
        )
    return chosen
