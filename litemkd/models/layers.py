"""Layers that several models share: the position encoding over frames and the projection of frame tuples."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


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
        rows = _Place.apply(x, self.weight, self.bias, size)
        return self.sums @ rows if together else rows


class _Place(torch.autograd.Function):
    """Placed frames of a `TupleProjection`.

    Backwards, the gradient of each place's part of the weight is computed where it belongs in that of the
    whole, instead of being copied there.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, size: int) -> Tensor:
        """(..., T, D), (width, n D), (width,), n -> (..., R, width)."""
        span = x.shape[-2] - size + 1
        frames = [x[..., place : place + span, :].flatten(0, -2) for place in range(size)]
        ctx.save_for_backward(weight, *frames)
        ctx.shape = x.shape
        placed = [  # a tuple has one frame at each place, so its bias stands with the first
            nn.functional.linear(frame, part, bias if place == 0 else None).unflatten(0, (*x.shape[:-2], span))
            for place, (frame, part) in enumerate(zip(frames, weight.chunk(size, 1), strict=True))
        ]
        return torch.cat(placed, dim=-2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """By x, weight and bias. In mixed precision the products are made in that of the gradient."""
        weight, *frames = ctx.saved_tensors
        span = gradient.shape[-2] // len(frames)
        rows = [part.flatten(0, -2) for part in gradient.split(span, dim=-2)]
        by_weight = gradient.new_empty(weight.shape)
        for row, frame, out in zip(rows, frames, by_weight.chunk(len(frames), 1), strict=True):
            torch.mm(row.T, frame.to(row.dtype), out=out)
        by_x = None
        if ctx.needs_input_grad[0]:
            by_x = frames[0].new_zeros(ctx.shape)
            for place, (row, part) in enumerate(zip(rows, weight.chunk(len(frames), 1), strict=True)):
                by_x[..., place : place + span, :] += (row @ part.to(row.dtype)).unflatten(
                    0, (*ctx.shape[:-2], span)
                )
        return by_x, by_weight.to(weight.dtype), rows[0].sum(0).to(weight.dtype), None


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
