"""MoLo: motion-augmented long-short contrastive learning (Wang et al., CVPR 2023).

A Transformer over a learned global token and the frames of a video, another one over such a token and what
moves between the frames; Bi-MHM matches the frames, and in training each video's token must find the frames
of its class:

    r = convolution over time of the frames, D to D / 8;   c = W_c r + b
    motion_t = ReLU(W_up (c_{t+1} - r_t) + b),  t = 1 … T - 1
    [g; f] = ReLU(Layer([token; frames] + PE)),  [g'; f'] = ReLU(Layer'([token'; motion] + PE))
    d = Bi-MHM(query f, class f) + `motion` Bi-MHM(query f', class f'),  with 0.01 in the cosine
    logit = -d

`Layer` is that of `litemkd.models.heads.attention`; a class is the mean of its supports' rows. Long-short
contrast: -Σ_t (1 - cos(f_t of the class, g of the query)) and -Σ_t (1 - cos(f_t of the query, g of the
class)), and both of the motion, are logits too. Their cross-entropies count 0.05 each in the loss, and
nothing in the prediction.

Left out: the decoder, which draws the differences of the frames' pixels from the motion before W_up, and its
loss (0.05 of the mean square). A head sees features, not pixels, and what it gives a loss is logits; so
motion learns from the matching and the contrast alone. Left out, too: the loss that tells all training
classes apart, since a head knows those of its episode only. Otherwise than in the published code, features
have no places: its 3 x 3 (x 3) convolutions over maps are over time alone here, and a map W_c. D / 8 is at
least 16 (or D). PE is that of TRX, where the code makes features √(D / 10) times as long first; the
contrast's scale, learned there from 1, stays 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn

from litemkd.extending.declared import About
from litemkd.models.heads.alignment import frame_distances
from litemkd.models.heads.attention import Layer
from litemkd.models.heads.base import FRAME, Head, class_prototypes
from litemkd.models.heads.bimhm import hausdorff
from litemkd.models.layers import PositionEncoding

EPS = 0.01  # beside the lengths in the cosine, as published
NARROWER, NARROWEST = 8, 16  # D / 8 numbers a frame where motion is looked for, but at least 16
OF_CLASS, OF_QUERY = "{}: class's frames, query's token", "{}: query's frames, class's token"  # parts
CONTRAST = 0.05


class Motion(nn.Module):
    """What moves between a frame and the next one."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        narrow = min(dim, max(NARROWEST, dim // NARROWER))
        self.reduce = nn.Conv1d(dim, narrow, 3, padding=1)
        self.shift = nn.Linear(narrow, narrow)
        self.up = nn.Linear(narrow, dim)

    def forward(self, features: Tensor) -> Tensor:
        """(..., T, D) -> (..., T - 1, D)."""
        leading = features.shape[:-2]
        r = self.reduce(features.flatten(0, -3).mT).mT.unflatten(0, leading)  # (..., T, narrow)
        return self.up(self.shift(r[..., 1:, :]) - r[..., :-1, :]).relu()


class Tokened(nn.Module):
    """A learned token before the rows of a video, and a Transformer over all of them."""

    def __init__(self, rows: int, layer: Layer, dim: int, dropout: float) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, dim))
        self.pe = PositionEncoding(dim, rows + 1, dropout=dropout)
        self.layer = layer

    def forward(self, rows: Tensor) -> Tensor:
        """(..., N, D) -> (..., 1 + N, D), the token first."""
        token = self.token.expand(*rows.shape[:-2], -1, -1)
        return self.layer(self.pe(torch.cat([token, rows], dim=-2))).relu()


class MoLo(Head):
    """Frames and motion with a global token each, and the Hausdorff distance of both.

    Args:
        dim: D.
        frames: T, at least 2.
        dropout: after the position encodings, in training.
        attention_heads: of the Transformers.
        feed_forward: width within them, 0 for D; the published code has 2048.
        motion: weight of the distance of motions.

    Raises:
        ValueError: a single frame, in which nothing moves.
    """

    name = "molo"
    place = 7
    training_parts: ClassVar[Mapping[str, float]] = {
        part.format(branch): CONTRAST for branch in ("frame", "motion") for part in (OF_CLASS, OF_QUERY)
    }

    def __init__(
        self,
        dim: int,
        *,
        frames: int = 8,
        dropout: Annotated[float, About("after the position encoding", least=0, below=1)] = 0.1,
        attention_heads: Annotated[int, About("of an attention, D shared out among them", above=0)] = 8,
        feed_forward: Annotated[int, About("width within a Transformer's layer; `0` for D", least=0)] = 0,
        motion: Annotated[float, About("weight of the distance between motions", above=0)] = 0.3,
    ) -> None:
        super().__init__()
        if frames < 2:
            raise ValueError(f"frames: {frames} given; at least 2 would do, molo looks at what moves between")
        self.motion, self.wants, self.rows = motion, (frames, dim), (frames + 1, frames)
        self.difference = Motion(dim)
        self.of_frames, self.of_motion = (
            Tokened(rows, Layer(dim, attention_heads, feed_forward), dim, dropout)
            for rows in (frames, frames - 1)
        )

    def _encode(self, features: Tensor) -> Tensor:
        """(..., T, D) -> (..., 2 T + 1, D): token and frames, token and motion."""
        return torch.cat([self.of_frames(features), self.of_motion(self.difference(features))], dim=-2)

    def _match_parts(self, support: Tensor, labels: Tensor, query: Tensor, way: int) -> dict[str, Tensor]:
        """Logits (B, Q, W) from codes, see `Head.match_parts`; the contrast's in training mode only."""
        classes = class_prototypes(support, labels, way)
        frame, motion = zip(query.split(self.rows, -2), classes.split(self.rows, -2), strict=True)
        far, far_motion = (hausdorff(own[..., 1:, :], held[..., 1:, :], EPS) for own, held in (frame, motion))
        parts = {FRAME: -(far + self.motion * far_motion)}
        if self.training:
            for branch, (own, held) in {"frame": frame, "motion": motion}.items():
                table = frame_distances(own, held, EPS)  # (B, Q, W, 1 + N, 1 + N), a token first
                parts[OF_CLASS.format(branch)] = -table[..., 0, 1:].sum(-1)
                parts[OF_QUERY.format(branch)] = -table[..., 1:, 0].sum(-1)
        return parts
