"""What the slow references of the heads share: label orders, random episodes, and formulas in plain loops."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

LABELS = {
    "equal shots, shuffled": [[1, 0, 2, 2, 1, 0], [0, 2, 1, 0, 1, 2]],
    "unequal shots": [[2, 2, 0, 1, 2, 2], [0, 1, 1, 2, 1, 0]],
    "one shot": [[2, 0, 1], [1, 2, 0]],
}
WAY = 3


def episodes(labels: Sequence[Sequence[int]], *code: int, seed: int = 3, queries: int = 3) -> tuple:
    """Two episodes in double precision: supports (B, S, *code), labels (B, S), queries (B, Q, *code)."""
    generator = torch.Generator().manual_seed(seed)
    given = torch.tensor(labels)
    support = torch.randn(*given.shape, *code, dtype=torch.float64, generator=generator)
    query = torch.randn(len(given), queries, *code, dtype=torch.float64, generator=generator)
    return support, given, query


def mean_over_supports(
    support: Tensor, labels: Tensor, query: Tensor, way: int, likeness: Callable[[Tensor, Tensor], float]
) -> Tensor:
    """Logits (B, Q, W) of a head that compares videos two by two: mean over each class's supports."""
    logits = torch.zeros(len(query), query.shape[1], way, dtype=torch.float64)
    for b in range(len(query)):
        for q, asked in enumerate(query[b]):
            for c in range(way):
                own = [x for x, label in zip(support[b], labels[b].tolist(), strict=True) if label == c]
                logits[b, q, c] = sum(likeness(asked, x) for x in own) / len(own)
    return logits


def cosine_distances(query: Tensor, support: Tensor, eps: float = 0.01) -> list[list[float]]:
    """d[l][m] = 1 - <q_l, s_m> / (‖q_l‖ ‖s_m‖ + eps) of two videos (T, D); 1 where that is 0 / 0."""

    def dot(one: list[float], other: list[float]) -> float:
        return math.fsum(x * y for x, y in zip(one, other, strict=True))

    def distance(q: list[float], s: list[float]) -> float:
        below = math.hypot(*q) * math.hypot(*s) + eps
        return 1 - dot(q, s) / below if below else 1.0

    return [[distance(q, s) for s in support.tolist()] for q in query.tolist()]


def positions(places: int, dim: int) -> Tensor:
    """The position table in double precision, (places, D)."""
    return torch.tensor(
        [
            [
                0.1 * (math.cos if place % 2 else math.sin)(t * 10000 ** (-(place - place % 2) / dim))
                for place in range(dim)
            ]
            for t in range(places)
        ],
        dtype=torch.float64,
    )


def make_positions_exact(head: torch.nn.Module) -> None:
    """Position tables are single precision in heads: check them and put the exact ones in their place."""
    for name, table in head.named_buffers():
        if name.split(".")[-2:] == ["pe", "pe"]:
            exact = positions(*table.shape)
            torch.testing.assert_close(table, exact, rtol=0, atol=1e-7)
            table.copy_(exact)
