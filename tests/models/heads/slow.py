"""What the slow references of the heads share: label orders, random episodes, and formulas in plain loops."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Row = list[float]

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
    return [[1 - cosine(q, s, eps) for s in support.tolist()] for q in query.tolist()]


def linear(layer: torch.nn.Module, x: Row) -> Row:
    """W x + b of one vector; b may be None."""
    bias = layer.bias.tolist() if layer.bias is not None else [0.0] * len(layer.weight)
    return [dot(row, x) + offset for row, offset in zip(layer.weight.tolist(), bias, strict=True)]


def relu(x: Row) -> Row:
    return [max(value, 0.0) for value in x]


def add(*vectors: Row) -> Row:
    return [math.fsum(values) for values in zip(*vectors, strict=True)]


def dot(one: Row, other: Row) -> float:
    return math.fsum(x * y for x, y in zip(one, other, strict=True))


def mean(*vectors: Row) -> Row:
    return [value / len(vectors) for value in add(*vectors)]


def cosine(one: Row, other: Row, eps: float = 0.0) -> float:
    """0 where it is 0 / 0."""
    below = math.hypot(*one) * math.hypot(*other) + eps
    return dot(one, other) / below if below else 0.0


def softmax(scores: Row) -> Row:
    shares = [math.exp(score - max(scores)) for score in scores]
    return [share / math.fsum(shares) for share in shares]


def layer_norm(norm: torch.nn.LayerNorm, x: Row) -> Row:
    middle = math.fsum(x) / len(x)
    spread = math.sqrt(math.fsum((value - middle) ** 2 for value in x) / len(x) + norm.eps)
    scales, shifts = norm.weight.tolist(), norm.bias.tolist()
    return [(value - middle) / spread * a + b for value, a, b in zip(x, scales, shifts, strict=True)]


def attention(part: torch.nn.Module, rows: list[Row]) -> list[Row]:
    """Self-attention of several heads; weights of queries, keys and values stand one below the other."""
    whole = [linear(part.qkv, x) for x in rows]
    inner = len(whole[0]) // 3
    width = inner // part.heads
    queries, keys, values = ([x[i * inner : (i + 1) * inner] for x in whole] for i in range(3))
    found = []
    for query in queries:
        seen: Row = []
        for head in range(part.heads):
            own = slice(head * width, (head + 1) * width)
            shares = softmax([dot(query[own], key[own]) / math.sqrt(width) for key in keys])
            seen += [dot(shares, [value[own][i] for value in values]) for i in range(width)]
        found.append(linear(part.out, seen))
    return found


def layer(part: torch.nn.Module, rows: list[Row]) -> list[Row]:
    """One layer of a Transformer whose norm stands before the attention alone."""

    def perceptron(x: Row) -> Row:
        inner = [v * 0.5 * (1 + math.erf(v / math.sqrt(2))) for v in linear(part.mlp[0], x)]
        return linear(part.mlp[3], inner)

    seen = attention(part.attention, [layer_norm(part.norm, x) for x in rows])
    between = [add(x, y) for x, y in zip(rows, seen, strict=True)]
    return [add(x, perceptron(x)) for x in between]


def placed(rows: list[Row]) -> list[Row]:
    """With their position encoding."""
    return [add(x, own) for x, own in zip(rows, positions(len(rows), len(rows[0])).tolist(), strict=True)]


def of_class(support: list, labels: list[int], which: int) -> list:
    return [x for x, label in zip(support, labels, strict=True) if label == which]


def mean_video(videos: list[list[Row]]) -> list[Row]:
    return [mean(*frames) for frames in zip(*videos, strict=True)]


def nearest_frames(query: list[Row], support: list[Row], eps: float = 0.0) -> float:
    """Bi-MHM: every query frame's nearest support frame, and every support frame's nearest query frame."""
    d = [[1 - cosine(q, s, eps) for s in support] for q in query]
    return math.fsum(map(min, d)) + math.fsum(map(min, zip(*d, strict=True)))


def judged(
    support: Tensor, labels: Tensor, query: Tensor, judge: Callable[[list, list[int], list], dict[str, Row]]
) -> dict[str, Tensor]:
    """Logits (B, Q, W) by part. A judge is given supports, their labels and a query: a logit a class."""
    rows = [
        [judge(held, own, asked) for asked in asking]
        for held, own, asking in zip(support.tolist(), labels.tolist(), query.tolist(), strict=True)
    ]
    return {
        part: torch.tensor([[one[part] for one in row] for row in rows], dtype=torch.float64)
        for part in rows[0][0]
    }


def unlike_defaults(head: torch.nn.Module) -> torch.nn.Module:
    """A head whose norms do something, in evaluation mode and double precision."""
    for part in head.modules():
        if isinstance(part, torch.nn.LayerNorm):
            torch.nn.init.normal_(part.weight)
            torch.nn.init.normal_(part.bias)
    head.double().eval()
    make_positions_exact(head)
    return head


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
