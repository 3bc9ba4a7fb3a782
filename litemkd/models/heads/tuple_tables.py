"""TRX for many episodes of one list of videos: products of short vectors in the place of wide ones, by tables.

What `tuple_attention` matches are products of placed frames, keys and values of `width` numbers. A placed frame
of a query is W_p x + o_pt, of C numbers x that may be fewer, so its product with a key k of a support is
x · W_pᵀ k + o_pt · k: one of C + span numbers, once W_pᵀ k and o_pt · k are there for every video. A distance
to a prototype p = share held is vv - 2 vp + pp, where vv is one number a video, and pp follows from products of
videos of one class, which are there too. With 512 channels and keys of 1152 that is a third of the products.

The result is that of `FoldedTRX.match` but for rounding in single precision.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from litemkd.models.heads.tuple_attention import FoldedTRX, TupleAttention, by_class


@dataclass(frozen=True)
class Classes:
    """Where videos stand in a table of all pairs of videos of one class.

    Attributes:
        first: (V,) the row of the table where a video's pairs begin.
        local: (V,) its place in its class, to be added to the `first` of another.
        pairs: rows of the table.
        members: videos of each class.
    """

    first: Tensor
    local: Tensor
    pairs: int
    members: tuple[Tensor, ...]

    @classmethod
    def of(cls, labels: Tensor) -> Classes:
        """Of the class of each video, (V,)."""
        first, local, members = torch.zeros_like(labels), torch.zeros_like(labels), []
        pairs = 0
        for label in labels.unique():
            rows = (labels == label).nonzero()[:, 0]
            local[rows] = torch.arange(len(rows), device=labels.device)
            first[rows] = pairs + local[rows] * len(rows)
            pairs += len(rows) ** 2
            members.append(rows)
        return cls(first, local, pairs, tuple(members))


class TupleTables:
    """What one tuple size needs of every video.

    Args:
        size: of a `FoldedTRX`.
        weight: from a frame's features to its keys and values at each place, (2 n width, C).
        offset: what is added, (T, 2 n width).
        features: of all videos, (V, T, C).
        classes: of the videos.
    """

    def __init__(
        self, size: TupleAttention, weight: Tensor, offset: Tensor, features: Tensor, classes: Classes
    ) -> None:
        self.size, self.classes = size, classes
        n, span, width, rows = size.size, size.span, size.width, size.sums.shape[1]
        middle = features.mean((0, 1))
        of_middle = (offset + middle @ weight.T).unflatten(1, (2, n, width))  # (T, 2, n, width)
        # of values: what all have at a place takes no part in differences of tuples
        shift = torch.stack([of_middle[p : p + span, 1, p].mean(0) for p in range(n)])  # (n, width)
        ways = self._ways(weight, of_middle, shift)

        apart, places = features - middle, torch.eye(span).to(features).expand(len(features), -1, -1)
        self.queries = [
            torch.cat([apart[:, p : p + span], places], -1) for p in range(n)
        ]  # (V, span, C + span)
        empty = partial(features.new_empty, len(features))
        self.supports = [[empty(rows, apart.shape[-1] + span) for _ in range(n)] for _ in ways]
        self.marks, self.lengths = empty(2, len(size.sums)), empty()
        self.pairs = features.new_empty(classes.pairs, rows, rows)
        within = size.sums.T @ size.sums
        for videos in classes.members:
            keys, values, self.marks[videos] = size.code(*size.place(features[videos] @ weight.T + offset))
            values = values - shift.repeat_interleave(span, 0)
            for tables, placed, way in zip(self.supports, (keys, values), ways, strict=True):
                for table, of_place in zip(tables, way, strict=True):
                    table[videos] = placed @ of_place
            flat = values.flatten(0, 1)
            products = (flat @ flat.T).unflatten(0, values.shape[:2]).unflatten(-1, values.shape[:2])
            products = products.transpose(1, 2)  # (N, N, R, R)
            self.lengths[videos] = (products.diagonal().movedim(-1, 0) * within).sum((-2, -1))
            start = int(classes.first[videos[0]])
            self.pairs[start : start + len(videos) ** 2] = products.flatten(0, 1)

    def _ways(self, weight: Tensor, of_middle: Tensor, shift: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """From keys and values to what a query's frame at each place is multiplied by, (width, C + span)."""
        n, span, width = self.size.size, self.size.span, self.size.width
        keys, values = weight.unflatten(0, (2, n, width))
        scaled = (self.size.norm_k.weight / width**0.25)[:, None]
        return (
            [torch.cat([keys[p], of_middle[p : p + span, 0, p].T], 1) * scaled for p in range(n)],
            [torch.cat([values[p], (of_middle[p : p + span, 1, p] - shift[p]).T], 1) for p in range(n)],
        )

    def distances(self, support: Tensor, query: Tensor) -> Tensor:
        """Squared distances (B, W, Q) of the queries' tuples to their prototypes.

        Args:
            support: (B, W, K) videos, those of a class in a row.
            query: (B, Q) videos.
        """
        sums, (_, way, shot) = self.size.sums, support.shape
        rows = sums.shape[1]
        keys, values = (self._products(tables, support, query) for tables in self.supports)
        scale, shift = _take(self.marks, support).unbind(-2)  # (B, W, K, P)
        own = _take(self.marks, query)[..., 0, :, None]  # (B, Q, P, 1)
        by_tuple = (keys.unflatten(-1, (-1, rows)) @ sums.T).flatten(3)  # (B, Q, R, W K P)
        scores = torch.addcmul(
            shift.flatten(1)[:, None, None], (sums * own) @ by_tuple, scale.flatten(1)[:, None, None]
        )
        share = (
            scores.unflatten(-1, (way, -1)).softmax(-1).unflatten(-1, (shot, -1)) @ sums
        )  # (B, Q, P, W, K, R)

        vp = ((sums.T @ share.flatten(3)) * values).unflatten(-1, (way, -1)).sum((2, -1))  # (B, Q, W)
        pair = self.classes.first[support][..., None] + self.classes.local[support][..., None, :]
        held = _take(self.pairs, pair).transpose(3, 4).flatten(4, 5).flatten(2, 3)  # (B, W, K R, K R)
        shares = by_class(share).flatten(2, 3)  # (B, W, Q P, K R)
        pp = ((shares @ held) * shares).unflatten(2, (query.shape[1], -1)).sum((-2, -1))  # (B, W, Q)
        return self.lengths[query][:, None] - 2 * vp.mT + pp

    def _products(self, tables: Sequence[Tensor], support: Tensor, query: Tensor) -> Tensor:
        """Products of the placed frames of queries with those of supports, (B, Q, R, W K R)."""
        parts = [
            _take(own, query).flatten(1, 2) @ _take(held, support).flatten(1, 3).mT
            for own, held in zip(self.queries, tables, strict=True)
        ]
        return torch.cat([part.unflatten(1, (query.shape[1], -1)) for part in parts], 2)


class TRXTables:
    """Logits of a `FoldedTRX` for episodes of a list of videos.

    Args:
        form: what it equals.
        features: of the backbone, of all videos (V, T, C).
        classes: of the videos.
    """

    def __init__(self, form: FoldedTRX, features: Tensor, classes: Classes) -> None:
        frames = form.branch(features)
        weights = form.project.weight.split(form.widths)
        offsets = form.offset.split(form.widths, dim=1)
        self.sizes = [
            TupleTables(size, weight, offset, frames, classes)
            for size, weight, offset in zip(form.tuple_sizes, weights, offsets, strict=True)
        ]

    def logits(self, support: Tensor, query: Tensor) -> Tensor:
        """Logits (B, Q, W) of videos: supports (B, W, K) by class, and queries (B, Q)."""
        parts = [one.distances(support, query).mT / -len(one.size.sums) for one in self.sizes]
        return torch.stack(parts).mean(0)


@dataclass(frozen=True)
class Work:
    """What tables take and save, in multiplications, and the bytes that they hold.

    Attributes:
        once: to make the tables, of all videos.
        each, plain: of an episode, with tables and without.
        held: bytes.
        gathered: bytes of an episode's rows.
    """

    once: int
    each: int
    plain: int
    held: int
    gathered: int

    @classmethod
    def of(cls, form: FoldedTRX, classes: Classes, way: int, shot: int, queries: int) -> Work:
        """Of episodes with so many ways, shots, and queries in all."""
        videos, pairs, channels = len(classes.first), classes.pairs, form.project.in_features
        total = [0] * 5
        for size in form.tuple_sizes:
            rows, narrow, supports = size.sums.shape[1], channels + size.span, way * shot
            attended = len(size.sums) * shot * rows  # shares of a query in a class
            products = queries * rows * supports * rows
            part = (
                videos * 2 * size.size * rows * size.width * narrow + pairs * rows**2 * size.width,
                2 * products * narrow + queries * way * attended * shot * rows,
                products * size.width + queries * way * attended * size.width,
                4 * (videos * 2 * size.size * rows * narrow + pairs * rows**2),
                4 * (supports * 2 * size.size * rows * narrow + supports * shot * rows**2),
            )
            total = [one + other for one, other in zip(total, part, strict=True)]
        return cls(*total)


def _take(table: Tensor, rows: Tensor) -> Tensor:
    """(*rows, …) of a table (N, …)."""
    return table.index_select(0, rows.flatten()).unflatten(0, rows.shape)
