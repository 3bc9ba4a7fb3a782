"""TRX by placed frames: frames are matched where they stand in a tuple, and tuples are put together last.

A key or value of TRX is W [x_t1; …; x_tn] + b = Σ_p W_p x_tp + b, a sum of R = n (T - n + 1) placed frames (see
`layers.placed_rows`), 14 for the 28 pairs of 8 frames. Products of two tuples are sums of products of placed
frames, and a mean of tuples is one of placed frames: the wide products are made of R rows a video instead of P,
with the same result.

The layer norm of the keys is not in the way: taking off the mean is linear, the spread is one number a tuple,
and the shift adds one number to all scores of a query's tuple, which softmax does not see, and one to all of a
support's. Where gradients are wanted, distances follow from products of placed values, too; elsewhere
the differences are made.

In evaluation, what is linear before the projections (a branch, the position encoding) becomes a part of them.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from litemkd.models.heads.base import Code, Folded, Head, group_by_class, take_supports
from litemkd.models.layers import PositionEncoding, TupleProjection, frame_tuples


class TupleAttention(nn.Module):
    """One tuple size of TRX. The parts are named as in released weights.

    Args:
        dim: D, width of the frame features.
        width: width of keys and values.
        frames: T.
        size: n, frames in a tuple.
        dropout: after the position encoding, in training.
    """

    def __init__(self, dim: int, width: int, frames: int, size: int, dropout: float) -> None:
        super().__init__()
        self.width, self.size, self.span = width, size, frames - size + 1
        self.pe = PositionEncoding(dim, frames, dropout=dropout)
        tuples = frame_tuples(frames, size)
        self.k_linear = TupleProjection(dim, width, tuples)
        self.v_linear = TupleProjection(dim, width, tuples)
        self.norm_k = nn.LayerNorm(width)

    @property
    def plain(self) -> bool:
        """Whether tuples are concatenated, projected and matched as published."""
        return self.k_linear.plain

    @property
    def sums(self) -> Tensor:
        """The placed frames of each tuple, (P, R) of 0 and 1."""
        return self.k_linear.sums

    @property
    def rows(self) -> int:
        """Rows of a video's code: R placed frames, P tuples in the plain form."""
        return self.sums.shape[0 if self.plain else 1]

    def encode(self, features: Tensor) -> Tensor:
        """(..., T, D) -> (..., R, 2 width): keys less their mean, beside values; plainly, of tuples."""
        placed = self.pe(features)
        keys, values = (linear(placed, together=False) for linear in (self.k_linear, self.v_linear))
        keys = self.norm_k(keys) if self.plain else keys - keys.mean(-1, keepdim=True)
        return torch.cat([keys, values], dim=-1)

    def linear(self) -> tuple[Tensor, Tensor]:
        """Weight (2 n width, D) and offset (T, 2 n width) from a frame to its keys and values at each place.

        Keys are less their mean over the width; a tuple's bias stands with its first place.
        """
        weights, biases = [], []
        for projection in (self.k_linear, self.v_linear):
            weight: Tensor = projection.weight.unflatten(1, (self.size, -1)).transpose(0, 1)  # (n, width, D)
            bias: Tensor = projection.bias
            if projection is self.k_linear:
                weight, bias = weight - weight.mean(1, keepdim=True), bias - bias.mean()
            weights.append(weight.flatten(0, 1))
            biases.append(nn.functional.pad(bias, (0, (self.size - 1) * self.width)))
        whole = torch.cat(weights)
        return whole, self.pe.pe @ whole.T + torch.cat(biases)

    def place(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """What `linear` makes of frames, (..., T, 2 n width): keys and values (..., R, width)."""
        parts = frames.unflatten(-1, (2, self.size, self.width)).movedim(-4, -2)  # (..., 2, n, T, width)
        rows = [parts[..., place, place : place + self.span, :] for place in range(self.size)]
        keys, values = torch.cat(rows, dim=-2).unbind(-3)
        return keys, values.contiguous()  # codes are kept: without the keys that they come with

    def code(self, keys: Tensor, values: Tensor) -> Code:
        """What is matched of keys less their mean and values, each (..., R, width).

        Returns:
            keys, weighted so that their products are scores but for the norm's scale and shift;
            values;
            the scale of each tuple's key, and its shift as softmax sees it, (..., 2, P).
        """
        norm, exact, sums = self.norm_k, keys.double(), self.sums.double()
        spread = ((sums @ (exact @ exact.mT)) * sums).sum(-1) / self.width  # (..., P)
        scale = (spread + norm.eps).rsqrt()
        toward = (norm.weight * norm.bias).double() / self.width**0.5
        shift = scale * (sums @ (exact @ toward[:, None])).squeeze(-1)
        marks = torch.stack([scale, shift], -2).to(self.sums.dtype)
        return keys * (norm.weight / self.width**0.25), values, marks

    def match(self, support: Code, present: Tensor, query: Code) -> Tensor:
        """Logits (B, Q, W) of codes.

        Args:
            support: with leading axes (B, W, K).
            present: (B, W, K), which of them are there.
            query: with leading axes (B, Q).
        """
        with torch.autocast(present.device.type, enabled=False):
            share = self.shares(support, present, query)
            apart = self._by_products if torch.is_grad_enabled() else self._by_differences
            return apart(share, support[1], query[1]).mT.to(self.sums.dtype) / -len(self.sums)

    def _by_differences(self, share: Tensor, held: Tensor, own: Tensor) -> Tensor:
        """Squared distances (B, W, Q) of the queries' values to their prototypes, each of which is made.

        Args:
            share: as `shares` gives it.
            held: placed values of the supports, (B, W, K, R, width).
            own: those of the queries, (B, Q, R, width).
        """
        values = self.sums @ own.to(self.sums.dtype)  # (B, Q, P, width)
        apart = attended(share, held.to(self.sums.dtype)).sub_(values[:, None])  # (B, W, Q, P, width)
        return torch.linalg.vector_norm(apart, dim=(-2, -1)).square()

    def _by_products(self, share: Tensor, held: Tensor, own: Tensor) -> Tensor:
        """As `_by_differences`, of products of placed values alone: less to keep and to go through backwards.

        A short distance is what is left of long vectors, so they are made in double precision.
        """
        share, sums, held, own = (x.double() for x in (share, self.sums, held, own))
        way, queries = held.shape[1], own.shape[1]

        # ‖v - p‖² of all tuples together, of v = sums own and p = share held: vv - 2 vp + pp
        vv = (own @ own.mT * (sums.T @ sums)).sum((-2, -1))  # (B, Q)
        products = own.flatten(1, 2) @ held.flatten(1, 3).mT  # (B, Q R, W K R)
        vp = sums.T @ share.flatten(3) * products.unflatten(1, (queries, -1))
        vp = vp.unflatten(-1, (way, -1)).sum((2, -1))  # (B, Q, W)
        shares, rows = by_class(share).flatten(2, 3), held.flatten(2, 3)  # (B, W, Q P, K R), (B, W, K R, width)
        pp = (shares @ (rows @ rows.mT) * shares).unflatten(2, (queries, -1)).sum((-2, -1))  # (B, W, Q)
        return vv[:, None] - 2 * vp.mT + pp

    def prototypes(self, support: Code, present: Tensor, query: Code) -> Tensor:
        """What the queries' tuples attend to in each class, (B, W, Q, P, width). Arguments as `match`."""
        return attended(self.shares(support, present, query).to(support[1].dtype), support[1])

    def by_frame(self, share: Tensor) -> Tensor:
        """Shares (B, Q, P, W, K, R) of placed frames in tuples as of frames in frames, (B, Q, W, K, T, T)."""
        rows = torch.arange(self.rows, device=share.device)
        frames = torch.nn.functional.one_hot(rows % self.span + rows // self.span).to(share.dtype)  # (R, T)
        inside = self.sums.to(share.dtype) @ frames  # (P, T), which frames a tuple is of
        inside = inside / (inside.sum(0) * self.size)
        return torch.einsum("pi,bqpwkr,rj->bqwkij", inside, share, frames)

    def shares(self, support: Code, present: Tensor, query: Code) -> Tensor:
        """How much of each placed frame of a class's supports is in the prototypes, (B, Q, P, W, K, R)."""
        with torch.autocast(present.device.type, enabled=False):
            keys, own_keys = (code[0].to(self.sums.dtype) for code in (support, query))
            scale, shift = support[2].unbind(-2)  # (B, W, K, P)
            shift = shift.masked_fill(~present[..., None], float("-inf"))
            products = own_keys.flatten(1, 2) @ keys.flatten(1, 3).mT  # (B, Q R, W K R)
            products = products.unflatten(1, own_keys.shape[1:3]).unflatten(-1, (-1, keys.shape[3]))
            by_tuple = (products @ self.sums.T).flatten(3)  # (B, Q, R, W K P)
            scores = (self.sums * query[2][..., 0, :, None]) @ by_tuple  # (B, Q, P, W K P)
            scores = torch.addcmul(shift.flatten(1)[:, None, None], scores, scale.flatten(1)[:, None, None])
            share = scores.unflatten(-1, (keys.shape[1], -1)).softmax(-1)
            return share.unflatten(-1, (-1, len(self.sums))) @ self.sums


def by_class(share: Tensor) -> Tensor:
    """(B, Q, P, W, K, R) -> (B, W, Q, P, K R)."""
    return share.permute(0, 3, 1, 2, 4, 5).flatten(4)


def attended(share: Tensor, held: Tensor) -> Tensor:
    """Shares (B, Q, P, W, K, R) of placed values (B, W, K, R, width) -> prototypes (B, W, Q, P, width)."""
    shares = by_class(share)
    return (shares.flatten(2, 3) @ held.flatten(2, 3)).unflatten(2, shares.shape[2:4])


class FoldedTRX(Folded):
    """A branch and TRX as one: a linear map of each frame, and `TupleAttention` of each tuple size.

    A linear branch becomes a part of the map where that takes fewer multiplications.

    Args:
        branch: as in `Folded`.
        head: what it equals, a TRX.
        sizes: its tuple sizes.
    """

    offset: Tensor

    def __init__(self, branch: nn.Module, head: Head, sizes: Sequence[TupleAttention]) -> None:
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

    @property
    def tuple_sizes(self) -> Sequence[TupleAttention]:
        """The parts, one a tuple size."""
        return cast(Sequence[TupleAttention], self.sizes)

    def encode(self, features: Tensor) -> Code:
        """(..., T, C) features of the backbone -> codes, three tensors for each tuple size."""
        placed = (self.project(self.branch(features)) + self.offset).split(self.widths, dim=-1)
        codes = (size.code(*size.place(x)) for size, x in zip(self.tuple_sizes, placed, strict=True))
        return tuple(itertools.chain.from_iterable(codes))

    def _match(self, support: Code, labels: Tensor, query: Code, way: int) -> Tensor:
        """Logits (B, Q, W) from codes, see `Folded.match`."""
        index, present = group_by_class(labels, way)
        held = tuple(take_supports(x, index) for x in support)
        logits = [
            size.match(held[at : at + 3], present, query[at : at + 3])
            for at, size in zip(range(0, len(held), 3), self.tuple_sizes, strict=True)
        ]
        return torch.stack(logits).mean(0)
