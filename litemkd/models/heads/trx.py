"""TRX: temporal-relational cross-transformers (Perrett et al., CVPR 2021).

Every ordered tuple of frames is a key and a value. For each tuple of the query, attention over all tuples of
all of a class's supports makes a prototype of that class made for that query; the logit is minus the squared
distance of the query's values to it. Sub-actions are thus matched whenever they happen.

All of it is computed from placed frames, see `litemkd.models.heads.tuple_attention`. The plain form, with
tuples as published, gives the same logits; cost accounting and parity tests use it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, cast

import torch
from torch import Tensor, nn

from litemkd.extending.declared import About
from litemkd.models.heads.base import FRAME, Code, Head, cosines, group_by_class, take_supports
from litemkd.models.heads.tuple_attention import FoldedTRX, TupleAttention
from litemkd.models.layers import check_tuple_sizes


class TRX(Head):
    """TRX over one or several tuple sizes; logits of several sizes are averaged.

    Args:
        dim: D, width of the frame features.
        width: width of keys and values.
        frames: T.
        tuples: numbers of frames in a tuple, for instance (2,) or (2, 3).
        dropout: after the position encoding, in training.
    """

    name = "trx"
    place = 0

    def __init__(
        self,
        dim: int,
        *,
        width: Annotated[int, About("of keys and values", above=0)] = 1152,
        frames: int = 8,
        tuples: Annotated[tuple[int, ...], About("numbers of frames in a tuple", above=0, count=1)] = (2,),
        dropout: Annotated[float, About("after the position encoding", least=0, below=1)] = 0.1,
    ) -> None:
        super().__init__()
        self.width, self.wants = width, (frames, dim)
        sizes = check_tuple_sizes(tuples, frames)
        self.transformers = nn.ModuleList(TupleAttention(dim, width, frames, size, dropout) for size in sizes)

    @property
    def sizes(self) -> Sequence[TupleAttention]:
        """The parts, one a tuple size."""
        return cast(Sequence[TupleAttention], self.transformers)

    @property
    def rows(self) -> int:
        """Rows of a video's code, of all tuple sizes."""
        return sum(size.rows for size in self.sizes)

    def _encode(self, features: Tensor) -> Tensor:
        """(..., T, D) -> (..., rows, 2 width): keys beside values, tuple size after tuple size."""
        return torch.cat([size.encode(features) for size in self.sizes], dim=-2)

    def _match_parts(self, support: Tensor, labels: Tensor, query: Tensor, way: int) -> dict[str, Tensor]:
        """Logits (B, Q, W) from codes, see `Head.match_parts`."""
        _, present = group_by_class(labels, way)
        logits = []
        for size, held, own in self._codes(support, labels, query, way):
            if size.plain:
                apart = own[1][:, None] - _attend(held, present, own)  # (B, W, Q, P, width)
                logits.append(apart.square().sum((-2, -1)).mT / -size.rows)
            else:
                logits.append(size.match(held, present, own))
        return {FRAME: torch.stack(logits).mean(0)}

    def _relate(self, support: Tensor, labels: Tensor, query: Tensor, way: int) -> Tensor:
        """Cosines of the prototypes that each query gets of the classes, (B, Q, W²); see `Head.relate`."""
        _, present = group_by_class(labels, way)
        prototypes = [
            (_attend if size.plain else size.prototypes)(held, present, own).flatten(3)
            for size, held, own in self._codes(support, labels, query, way)
        ]
        return cosines(torch.cat(prototypes, dim=-1).transpose(1, 2)).flatten(2)

    def _meet(self, support: Tensor, labels: Tensor, query: Tensor, way: int) -> Tensor | None:
        """Attention of the queries' frames over the frames of a class's supports, mean over tuple sizes.

        A frame's share is the mean of those of the tuples that it stands in; of all frames of all supports of a
        class together it is 1.
        """
        if any(size.plain for size in self.sizes):
            return None
        index, present = group_by_class(labels, way)
        found = []
        for size, held, own in self._codes(support, labels, query, way):
            apart = size.by_frame(size.shares(held, present, own))  # (B, Q, W, K, T, T)
            found.append(apart.new_zeros(*apart.shape[:2], support.shape[1], *apart.shape[4:]))
            for episode, where in enumerate(present):
                found[-1][episode][:, index[episode][where]] = apart[episode][:, where]
        return torch.stack(found).mean(0)

    def folded(self, branch: nn.Module) -> FoldedTRX:
        """The same logits with narrower products, see `litemkd.models.heads.tuple_attention`."""
        return FoldedTRX(branch, self, self.sizes)

    def _codes(
        self, support: Tensor, labels: Tensor, query: Tensor, way: int
    ) -> Iterator[tuple[TupleAttention, Code, Code]]:
        """Each tuple size with what it matches: codes of supports by class, (B, W, K, …), and of queries."""
        index, _ = group_by_class(labels, way)
        rows = [size.rows for size in self.sizes]
        parts = (x.split(rows, dim=-2) for x in (take_supports(support, index), query))
        for size, *both in zip(self.sizes, *parts, strict=True):
            codes = (tuple(x.split(self.width, dim=-1)) for x in both)
            held, own = codes if size.plain else (size.code(*code) for code in codes)
            yield size, held, own


def _attend(support: Code, present: Tensor, query: Code) -> Tensor:
    """Attention of the queries' tuples over each class's, in the plain form: (B, W, Q, P, width).

    Args:
        support: keys and values, each (B, W, K, P, width).
        present: (B, W, K), which supports are there.
        query: keys and values, each (B, Q, P, width).
    """
    keys, values = (x.flatten(2, 3) for x in support)  # (B, W, K P, width)
    way, places = keys.shape[1], support[0].shape[3]
    absent = ~present[..., None].expand(-1, -1, -1, places).flatten(2)[:, :, None]  # (B, W, 1, K P)
    mask = torch.zeros(absent.shape, dtype=keys.dtype, device=keys.device).masked_fill(absent, float("-inf"))
    asked = query[0].flatten(1, 2)[:, None].expand(-1, way, -1, -1)
    # scaled by 1 / sqrt(width)
    attended = nn.functional.scaled_dot_product_attention(asked, keys, values, attn_mask=mask)
    return attended.unflatten(2, (-1, places))
