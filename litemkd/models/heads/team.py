"""TEAM: temporal alignment-free matching by pattern tokens (Lee et al., CVPR 2025).

A video becomes a set of M pattern tokens, each compared with its own like, without aligning frames. With
learned tokens P (M, D), x = frames + PE, LN one layer norm for all:

    A = softmax(LN(P) LN(x)ᵀ / √(D / 8)) LN(x)                    what the tokens find in a video, (M, D)
    t(A) = ReLU(y + MLP(y)),  y = P + A
    P⁺ = t(A),  P⁻ = t(-A)                                        instance and exclusive tokens

A class is the mean of its supports' frames. Adaptation takes from it what it shares with each other class of
the episode; with s the cosine of a token of class c with that of class o, among P⁺ for P⁺ and among P⁻ for
P⁻:

    P⁺_c = mean over o ≠ c of t(A_c - s (A_o - A_c)),  P⁻_c = mean over o ≠ c of t(-A_c + s (A_o - A_c))

With d(a, b) = Σ over tokens of 1 - cos(a, b), and q the query (not adapted):

    frame logit = -d(P⁺_c, P⁺_q)
    exclusive logit = -½ (max over o ≠ c of d(P⁺_o, P⁻_q) + max over o ≠ c of d(P⁻_o, P⁺_q))

A query's exclusive tokens are thus near the classes that it does not belong to. Both logits have a
cross-entropy, and the prediction is their sum. What the paper's text leaves open is as in public copies of its
code: ReLU, sharpness of the attention, the maximum, dropout (0.1 in the attention and after it), MLP (two
layers of width D, with ReLU between). The number of tokens is a setting. In a single-class episode nothing is
adapted, and the exclusive logit is 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn

from litemkd.extending.declared import About
from litemkd.models.heads.alignment import directions
from litemkd.models.heads.base import FRAME, Head, class_prototypes, cosines
from litemkd.models.layers import PositionEncoding

EXCLUSIVE = "exclusive"  # the second part
SHARPNESS = 8  # scores are divided by √(D / 8)
DROPOUT = 0.1  # in and after the attention, as published


class TEAM(Head):
    """Pattern tokens of each video, adapted to the classes of an episode and compared one by one.

    Args:
        dim: D.
        frames: T.
        patterns: M, how many tokens.
        dropout: after the position encoding, in training.
    """

    name = "team"
    place = 8
    parts: ClassVar[Mapping[str, float]] = {FRAME: 1.0, EXCLUSIVE: 1.0}

    def __init__(
        self,
        dim: int,
        *,
        frames: int = 8,
        dropout: Annotated[float, About("after the position encoding", least=0, below=1)] = 0.1,
        patterns: Annotated[int, About("tokens that a video is described by", above=0)] = 30,
    ) -> None:
        super().__init__()
        self.wants, self.rows = (frames, dim), (frames, patterns, patterns)
        self.scale = (dim / SHARPNESS) ** -0.5
        self.tokens = nn.Parameter(torch.randn(patterns, dim))
        self.pe = PositionEncoding(dim, frames, dropout=dropout)
        self.norm = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(DROPOUT)
        self.mlp = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, dim))

    def _encode(self, features: Tensor) -> Tensor:
        """(..., T, D) -> (..., T + 2 M, D): frames, instance tokens, exclusive tokens."""
        found = self._attend(features)
        return torch.cat([features, self._told(found), self._told(-found)], dim=-2)

    def _match_parts(self, support: Tensor, labels: Tensor, query: Tensor, way: int) -> dict[str, Tensor]:
        """Logits (B, Q, W) of both parts from codes, see `Head.match_parts`."""
        held, against = (directions(x) for x in self._classes(support, labels, way))
        _, own, exclusive = query.split(self.rows, dim=-2)
        own, exclusive = directions(own), directions(exclusive)
        logits = {FRAME: -_apart(own, held)}
        if way == 1:
            return logits | {EXCLUSIVE: torch.zeros_like(logits[FRAME])}
        others = _others(way, query.device)
        furthest = [far[..., others].amax(-1) for far in (_apart(exclusive, held), _apart(own, against))]
        return logits | {EXCLUSIVE: -(furthest[0] + furthest[1]) / 2}

    def _relate(self, support: Tensor, labels: Tensor, query: Tensor, way: int) -> Tensor:
        """Cosines of the classes' instance tokens, (B, Q, W²), the same for every query; see `Head.relate`."""
        held, _ = self._classes(support, labels, way)
        return cosines(held.flatten(2))[:, None].expand(-1, query.shape[1], -1, -1).flatten(2)

    def _attend(self, features: Tensor) -> Tensor:
        """A of videos: (..., T, D) -> (..., M, D)."""
        x = self.norm(self.pe(features))
        shares = (self.scale * self.norm(self.tokens) @ x.mT).softmax(-1)  # (..., M, T)
        return self.dropout(self.dropout(shares) @ x)

    def _told(self, found: Tensor) -> Tensor:
        """t(A): (..., M, D) -> (..., M, D)."""
        y = self.tokens + found
        return (y + self.mlp(y)).relu()

    def _classes(self, support: Tensor, labels: Tensor, way: int) -> tuple[Tensor, Tensor]:
        """Adapted instance and exclusive tokens of the classes, (B, W, M, D) each."""
        found = self._attend(class_prototypes(support[..., : self.rows[0], :], labels, way))  # (B, W, M, D)
        instance, exclusive = self._told(found), self._told(-found)
        if way == 1:
            return instance, exclusive
        others = _others(way, support.device)
        beyond = found[:, others] - found[:, :, None]  # (B, W, W - 1, M, D)
        adapted = []
        for tokens, sign in ((instance, 1), (exclusive, -1)):
            unit = directions(tokens)
            alike = (unit[:, others] * unit[:, :, None]).sum(-1, keepdim=True)
            adapted.append(self._told(sign * (found[:, :, None] - alike * beyond)).mean(2))
        return adapted[0], adapted[1]


def _others(way: int, device: torch.device) -> Tensor:
    """Of each class the others, (W, W - 1)."""
    others = torch.arange(way - 1, device=device)
    return others + (others >= torch.arange(way, device=device)[:, None])


def _apart(query: Tensor, classes: Tensor) -> Tensor:
    """Σ over tokens of 1 - cosine, of tokens of length 1: (B, Q, M, D), (B, W, M, D) -> (B, Q, W)."""
    return query.shape[2] - query.flatten(2) @ classes.flatten(2).mT
