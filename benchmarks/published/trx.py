"""TRX's head for one episode: all tuples concatenated and projected, loops over classes and queries."""

from __future__ import annotations

import math
from itertools import combinations

import torch
from torch import Tensor, nn

from litemkd.models.heads.trx import TRX
from litemkd.models.heads.tuple_attention import TupleAttention


class LoopTRX(nn.Module):
    """The head of one tuple size, with the weights of a `TRX`, which it shares."""

    def __init__(self, head: TRX) -> None:
        super().__init__()
        (part,) = head.transformers
        assert isinstance(part, TupleAttention)
        self.pe, self.k_linear, self.v_linear, self.norm_k = part.pe, part.k_linear, part.v_linear, part.norm_k
        frames, size = part.pe.pe.shape[0], part.k_linear.tuples.shape[1]
        self.tuples = [torch.tensor(one) for one in combinations(range(frames), size)]

    def forward(self, support: Tensor, labels: Tensor, query: Tensor) -> Tensor:
        """(S, T, D) supports with labels (S,), (Q, T, D) queries -> logits (Q, W)."""
        support_keys, support_values = self._project(support)
        query_keys, query_values = self._project(query)
        logits = []
        for label in labels.unique():
            mine = labels == label
            keys = support_keys[mine].flatten(0, 1)  # (K P, width)
            values = support_values[mine].flatten(0, 1)
            scores = query_keys @ keys.T / math.sqrt(keys.shape[-1])  # (Q, P, K P)
            attention = torch.stack([one.softmax(-1) for one in scores])
            prototypes = attention @ values
            distances = torch.norm(query_values - prototypes, dim=(-2, -1)) ** 2
            logits.append(-distances / len(self.tuples))
        return torch.stack(logits, dim=-1)

    def _project(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """(N, T, D) -> keys and values (N, P, width) of all tuples."""
        placed = self.pe(features)
        tuples = torch.stack(
            [placed.index_select(-2, one.to(placed.device)).flatten(-2) for one in self.tuples], dim=-2
        )
        keys = nn.functional.linear(tuples, self.k_linear.weight, self.k_linear.bias)
        values = nn.functional.linear(tuples, self.v_linear.weight, self.v_linear.bias)
        return self.norm_k(keys), values
