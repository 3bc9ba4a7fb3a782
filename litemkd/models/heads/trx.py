"""TRX: temporal-relational cross-transformers (Perrett et al., CVPR 2021).

Every ordered tuple of frames is a key and a value. For each tuple of the query, attention over all tuples of
all of a class's supports makes a prototype of that class made for that query; the logit is minus the squared
distance of the query's values to it. Sub-actions are thus matched whenever they happen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from litemkd.models.heads.base import FRAME, Head, cosines, group_by_class, take_supports
from litemkd.models.heads.placed import FoldedTRX, PlacedTuples
from litemkd.models.layers import PositionEncoding, TupleProjection, check_tuple_sizes, frame_tuples


class TupleAttention(nn.Module):
    """One tuple size of TRX. The parts are named as in released weights."""

    def __init__(self, dim: int, width: int, frames: int, size: int, dropout: float) -> None:
        super().__init__()
        self.pe = PositionEncoding(dim, frames, dropout=dropout)
        tuples = frame_tuples(frames, size)
        self.k_linear = TupleProjection(dim, width, tuples)
        self.v_linear = TupleProjection(dim, width, tuples)
        self.norm_k = nn.LayerNorm(width)

    def encode(self, features: Tensor) -> Tensor:
        """(..., T, D) -> (..., P, 2 width): keys beside values."""
        placed = self.pe(features)
        return torch.cat([self.norm_k(self.k_linear(placed)), self.v_linear(placed)], dim=-1)


class TRX(Head):
    """TRX over one or several tuple sizes; logits of several sizes are averaged.

    Args:
        dim: D, width of the frame features.
        width: width of keys and values.
        frames: T.
        tuple_sizes: numbers of frames in a tuple, for instance (2,) or (2, 3).
        dropout: after the position encoding, in training.
    """

    def __init__(
        self,
        dim: int,
        *,
        width: int = 1152,
        frames: int = 8,
        tuple_sizes: Sequence[int] = (2,),
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.width = width
        sizes = check_tuple_sizes(tuple_sizes, frames)
        self.transformers = nn.ModuleList(TupleAttention(dim, width, frames, size, dropout) for size in sizes)
        self.counts = [len(frame_tuples(frames, size)) for size in sizes]  # P of each tuple size

    def encode(self, features: Tensor) -> Tensor:
        """(..., T, D) -> (..., P, 2 width), the tuples of all sizes one after another."""
        return torch.cat([cast(TupleAttention, part).encode(features) for part in self.transformers], dim=-2)

    def match_parts(self, support: Tensor, labels: Tensor, query: Tensor, way: int) -> dict[str, Tensor]:
        """Logits (B, Q, W) from codes, see `Head.match_parts`."""
        prototypes = self._prototypes(support, labels, query, way)
        values = [part[..., self.width :] for part in query.split(self.counts, dim=-2)]
        logits = [
            torch.linalg.vector_norm(own[:, None] - prototype, dim=(-2, -1)).square() / -places  # (B, W, Q)
            for own, prototype, places in zip(values, prototypes, self.counts, strict=True)
        ]
        return {FRAME: torch.stack(logits).mean(0).transpose(1, 2)}

    def relate(self, support: Tensor, labels: Tensor, query: Tensor, way: int) -> Tensor:
        """Cosines of the prototypes that each query gets of the classes, (B, Q, W²); see `Head.relate`."""
        prototypes = [part.flatten(3) for part in self._prototypes(support, labels, query, way)]
        return cosines(torch.cat(prototypes, dim=-1).transpose(1, 2)).flatten(2)

    def folded(self, branch: nn.Module) -> FoldedTRX:
        """The same logits with narrower products, see `litemkd.models.heads.placed`."""
        parts = [cast(TupleAttention, part) for part in self.transformers]
        sizes = [PlacedTuples(part.pe, part.k_linear, part.v_linear, part.norm_k) for part in parts]
        return FoldedTRX(branch, self, sizes)

    def _prototypes(self, support: Tensor, labels: Tensor, query: Tensor, way: int) -> list[Tensor]:
        """Of each tuple size: what the queries' tuples attend to in each class, (B, W, Q, P, width)."""
        index, present = group_by_class(labels, way)
        classes = take_supports(support, index)  # (B, W, K, P, 2 width)
        queries = query.shape[1]
        return [
            self._attend(part, present, asked.flatten(1, 2)).unflatten(2, (queries, -1))
            for part, asked in zip(
                classes.split(self.counts, dim=-2), query.split(self.counts, dim=-2), strict=True
            )
        ]

    def _attend(self, classes: Tensor, present: Tensor, query: Tensor) -> Tensor:
        """Attention of the queries' keys (B, Q P, 2 width) over each class's tuples: (B, W, Q P, width)."""
        way, places = classes.shape[1], classes.shape[3]
        keys, values = classes.flatten(2, 3).split(self.width, dim=-1)  # (B, W, K P, width)
        mask = None
        if not bool(present.all()):
            absent = ~present[..., None].expand(-1, -1, -1, places).flatten(2)  # (B, W, K P)
            mask = torch.zeros(absent.shape, dtype=query.dtype, device=query.device)
            mask = mask.masked_fill(absent, float("-inf"))[:, :, None]  # (B, W, 1, K P)
        asked = query[:, None, :, : self.width].expand(-1, way, -1, -1)
        # scaled by 1 / sqrt(width)
        return nn.functional.scaled_dot_product_attention(asked, keys, values, attn_mask=mask)
