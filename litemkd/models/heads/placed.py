"""TRX for evaluation: frames are matched where they stand in a tuple, and tuples are put together last.

A key or value of TRX is W [x_t1; …; x_tn] + b = Σ_p W_p x_tp + b, a sum of R = n (T - n + 1) placed frames (see
`layers.placed_rows`), 14 for the 28 pairs of 8 frames. Products of two tuples are
sums of products of placed frames, and a mean of tuples is one of placed frames: the wide products are made of R
rows a video instead of P, with the same result.

The layer norm of the keys is not in the way: taking off the mean is linear, the spread is one number a tuple,
and the shift adds one number to all scores of a query's tuple, which softmax does not see, and one to all of a
support's. What is linear before the projections (a branch, the position encoding) becomes a part of them.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from litemkd.models.heads.base import Code, Folded, Head, group_by_class, take_supports
from litemkd.models.layers import PositionEncoding, TupleProjection


class PlacedTuples(nn.Module):
    """One tuple size of TRX by placed frames.

    Args:
        pe: the position encoding before the projections.
        keys, values: projections of tuples.
        norm: of the keys.
    """

    sums: Tensor

    def __init__(
        self, pe: PositionEncoding, keys: TupleProjection, values: TupleProjection, norm: nn.LayerNorm
    ) -> None:
        super().__init__()
        self.pe, self.keys, self.values, self.norm = pe, keys, values, norm
        self.size, self.width = keys.tuples.shape[1], keys.out_features
        self.register_buffer("sums", keys.sums, persistent=False)  # (P, R): the rows of a tuple
        self.span = self.sums.shape[1] // self.size  # T - n + 1

    def linear(self) -> tuple[Tensor, Tensor]:
        """Weight (2 n width, D) and offset (T, 2 n width) from a frame to its keys and values at each place.

        Keys are less their mean over the width; a tuple's bias stands with its first place.
        """
        weights, biases = [], []
        for projection in (self.keys, self.values):
            weight: Tensor = projection.weight.unflatten(1, (self.size, -1)).transpose(0, 1)  # (n, width, D)
            bias: Tensor = projection.bias
            if projection is self.keys:
                weight, bias = weight - weight.mean(1, keepdim=True), bias - bias.mean()
            weights.append(weight.flatten(0, 1))
            biases.append(nn.functional.pad(bias, (0, (self.size - 1) * self.width)))
        whole = torch.cat(weights)
        return whole, self.pe.pe @ whole.T + torch.cat(biases)

    def code(self, placed: Tensor) -> Code:
        """(..., T, 2 n width) -> keys and values, each (..., R, width), and two numbers a tuple, (..., 2, P).

        These are the key's scale and its shift, as softmax sees it.
        """
        parts = placed.unflatten(-1, (2, self.size, self.width)).movedim(-4, -2)  # (..., 2, n, T, width)
        rows = [parts[..., place, place : place + self.span, :] for place in range(self.size)]
        keys, values = torch.cat(rows, dim=-2).unbind(-3)
        tuples = self.sums @ keys  # (..., P, width)
        scale = (tuples.square().mean(-1) + self.norm.eps).rsqrt()
        shift = scale * (tuples @ (self.norm.weight * self.norm.bias)) / self.width**0.5
        return (
            keys * (self.norm.weight / self.width**0.25),
            values.contiguous(),
            torch.stack([scale, shift], -2),
        )

    def match(self, support: Code, present: Tensor, query: Code) -> Tensor:
        """Logits (B, Q, W) of codes.

        Args:
            support: with leading axes (B, W, K).
            present: (B, W, K), which of them are there.
            query: with leading axes (B, Q).
        """
        (keys, values, marks), (own_keys, own_values, own_marks) = support, query
        way, places = keys.shape[1], len(self.sums)
        scale, shift = marks.unbind(-2)  # (B, W, K, P)
        shift = shift.masked_fill(~present[..., None], float("-inf"))

        products = own_keys.flatten(1, 2) @ keys.flatten(1, 3).transpose(1, 2)  # (B, Q R, W K R)
        products = products.unflatten(1, own_keys.shape[1:3]).unflatten(-1, (-1, keys.shape[3]))
        by_tuple = (products @ self.sums.T).flatten(3)  # (B, Q, R, W K P)
        scores = (self.sums * own_marks[..., 0, :, None]) @ by_tuple  # (B, Q, P, W K P)
        scores = torch.addcmul(shift.flatten(1)[:, None, None], scores, scale.flatten(1)[:, None, None])

        share = scores.unflatten(-1, (way, -1)).softmax(-1).unflatten(-1, (-1, places)) @ self.sums
        share = share.permute(0, 3, 1, 2, 4, 5).flatten(4).flatten(2, 3)  # (B, W, Q P, K R)
        own = (self.sums @ own_values).flatten(1, 2)  # (B, Q P, width)
        apart = own[:, None].repeat(1, way, 1, 1).flatten(0, 1)  # (B W, Q P, width)
        torch.baddbmm(apart, share.flatten(0, 1), values.flatten(2, 3).flatten(0, 1), beta=-1, out=apart)
        apart = apart.unflatten(1, (-1, places)).unflatten(0, (-1, way))  # (B, W, Q, P, width)
        return torch.linalg.vector_norm(apart, dim=(-2, -1)).square().transpose(1, 2) / -places


class FoldedTRX(Folded):
    """A branch and TRX as one: a linear map of each frame, and `PlacedTuples` of each tuple size.

    A linear branch becomes a part of the map where that takes fewer multiplications.

    Args:
        branch: as in `Folded`.
        head: what it equals, a TRX.
        sizes: its tuple sizes.
    """

    offset: Tensor

    def __init__(self, branch: nn.Module, head: Head, sizes: Sequence[PlacedTuples]) -> None:
        weights, offsets = zip(*(size.linear() for size in sizes), strict=True)
        weight, offset = torch.cat(weights), torch.cat(offsets, dim=1)
        if isinstance(branch, nn.Linear):
            once = weight.shape[0] * branch.in_features
            apart = branch.in_features * branch.out_features + weight.numel()
            if once < apart:
                offset, weight = offset + weight @ branch.bias, weight @ branch.weight
                branch = nn.Identity()
        super().__init__(branch, head)
        self.sizes = nn.ModuleList(sizes)
        self.widths = [part.shape[0] for part in weights]
        self.project = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
        self.project.weight = nn.Parameter(weight, requires_grad=False)
        self.register_buffer("offset", offset, persistent=False)

    def encode(self, features: Tensor) -> Code:
        """(..., T, C) features of the backbone -> codes, three tensors for each tuple size."""
        placed = (self.project(self.branch(features)) + self.offset).split(self.widths, dim=-1)
        codes = (cast(PlacedTuples, size).code(x) for size, x in zip(self.sizes, placed, strict=True))
        return tuple(itertools.chain.from_iterable(codes))

    def match(self, support: Code, labels: Tensor, query: Code, way: int) -> Tensor:
        """Logits (B, Q, W) from codes, see `Folded.match`."""
        index, present = group_by_class(labels, way)
        held = tuple(take_supports(x, index) for x in support)
        logits = [
            cast(PlacedTuples, size).match(held[at : at + 3], present, query[at : at + 3])
            for at, size in zip(range(0, len(held), 3), self.sizes, strict=True)
        ]
        return torch.stack(logits).mean(0)
