"""STRM: spatio-temporal relation modelling (Thatipelli et al., CVPR 2022).

The places of each frame look at one another (patch enrichment), then the frames of each video do (frame
enrichment), and TRX matches the enriched frames. A second judgement, by the nearest frame tuples of the
patch-enriched features, keeps the first stage useful by itself: it counts a tenth, in the loss and in the
prediction.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, ClassVar, cast

import torch
from torch import Tensor, nn

from litemkd.extending.declared import About
from litemkd.models.heads.base import FRAME, PATCH, Head, group_by_class, take_supports
from litemkd.models.heads.prototype import distances
from litemkd.models.heads.trx import TRX
from litemkd.models.layers import PositionEncoding, TupleProjection, check_tuple_sizes, frame_tuples


def _perceptron(*widths: int) -> nn.Sequential:
    """Linear layers of these widths with ReLU between them."""
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class PatchEnrichment(nn.Module):
    """Attention of the places of a frame to one another, from nothing (γ = 0) on as it proves useful."""

    def __init__(self, dim: int, places: int, dropout: float) -> None:
        super().__init__()
        self.pe = PositionEncoding(dim, places, dropout=dropout)
        self.query, self.key, self.value = (nn.Linear(dim, dim) for _ in range(3))
        self.gamma = nn.Parameter(torch.zeros(1))
        self.mlp = _perceptron(dim, dim // 2, dim // 2, dim)

    def forward(self, patches: Tensor) -> Tensor:
        """(..., places, D) -> (..., places, D)."""
        x = self.pe(patches)
        attention = (self.query(x) @ self.key(x).transpose(-2, -1)).softmax(-1)  # not scaled, as published
        y = x + self.gamma * (attention @ self.value(x))
        return y + self.mlp(y)


class FrameEnrichment(nn.Module):
    """Mixing of a video's frames, then of the numbers of each."""

    def __init__(self, dim: int, frames: int, dropout: float) -> None:
        super().__init__()
        self.pe = PositionEncoding(dim, frames, dropout=dropout)
        self.tokens = _perceptron(frames, frames, frames)
        self.mlp = _perceptron(dim, dim, dim)

    def forward(self, features: Tensor) -> Tensor:
        """(..., T, D) -> (..., T, D)."""
        x = self.pe(features)
        out = x + self.tokens(x.transpose(-2, -1)).transpose(-2, -1)
        return out + self.mlp(out)


class STRM(Head):
    """Patch and frame enrichment, then TRX; with the patch judgement beside it.

    Args:
        dim: D.
        width: of TRX's keys and values.
        frames: T.
        tuples: of both judgements.
        dropout: after the position encodings and before the patch judgement, in training.
        places: of a frame's map, 16 for a student; 1 takes plain frame features (..., T, D), as a teacher has.
    """

    name = "strm"
    place = 1
    parts: ClassVar[Mapping[str, float]] = {FRAME: 1.0, PATCH: 0.1}

    def __init__(
        self,
        dim: int,
        *,
        width: Annotated[int, About("of keys and values", above=0)] = 1152,
        frames: int = 8,
        tuples: Annotated[tuple[int, ...], About("numbers of frames in a tuple", above=0, count=1)] = (2,),
        dropout: Annotated[float, About("after the position encoding", least=0, below=1)] = 0.1,
        places: int = 16,
    ) -> None:
        super().__init__()
        self.places, self.wants = places, (frames, dim)
        sizes = check_tuple_sizes(tuples, frames)
        self.patches = PatchEnrichment(dim, places, dropout)
        self.frames = FrameEnrichment(dim, frames, dropout)
        self.dropout = nn.Dropout(dropout)
        self.counts = [len(frame_tuples(frames, size)) for size in sizes]  # P of each tuple size
        self.tuples = nn.ModuleList(
            TupleProjection(dim, dim // 2, frame_tuples(frames, size)) for size in sizes
        )
        self.trx = TRX(dim, width=width, frames=frames, tuples=sizes, dropout=dropout)

    def _encode(self, features: Tensor) -> Tensor:
        """(..., T, places, D) -> (..., code): TRX's code and then the patch tuples, in one axis."""
        patches = features if self.places > 1 else features.unsqueeze(-2)
        enriched = self.patches(patches).mean(-2)  # (..., T, D)
        dropped = self.dropout(enriched)
        seen = [cast(TupleProjection, project)(dropped).relu().flatten(-2) for project in self.tuples]
        return torch.cat([self.trx.encode(self.frames(enriched)).flatten(-2), *seen], dim=-1)

    def _match_parts(self, support: Tensor, labels: Tensor, query: Tensor, way: int) -> dict[str, Tensor]:
        """Logits (B, Q, W) of both judgements from codes, see `Head.match_parts`."""
        (held, seen), (asked, own) = self._split(support), self._split(query)
        index, _ = group_by_class(labels, way)  # where a class has fewer supports, its first one stands again
        logits = [
            self._nearest(take_supports(there, index), here)
            for there, here in zip(seen.split(self.counts, dim=-2), own.split(self.counts, dim=-2), strict=True)
        ]
        return {**self.trx._match_parts(held, labels, asked, way), PATCH: torch.stack(logits).mean(0)}

    def _relate(self, support: Tensor, labels: Tensor, query: Tensor, way: int) -> Tensor:
        """As TRX has it, see `TRX.relate`."""
        return self.trx.relate(self._split(support)[0], labels, self._split(query)[0], way)

    def _split(self, code: Tensor) -> tuple[Tensor, Tensor]:
        """What TRX matches, and what the patch judgement does."""
        rows, width = self.trx.rows, 2 * self.trx.width
        matched, seen = code.tensor_split([rows * width], dim=-1)
        return matched.unflatten(-1, (rows, width)), seen.unflatten(-1, (sum(self.counts), -1))

    @staticmethod
    def _nearest(classes: Tensor, query: Tensor) -> Tensor:
        """Minus the mean distance of a query's tuples to the nearest of each class, (B, Q, W).

        Args:
            classes: (B, W, K, P, D / 2).
            query: (B, Q, P, D / 2).
        """
        far = distances(query.flatten(1, 2)[:, None], classes.flatten(2, 3))  # (B, W, Q P, K P)
        nearest = far.amin(-1).unflatten(-1, query.shape[1:3])  # (B, W, Q, P)
        return -nearest.mean(-1).transpose(1, 2)
