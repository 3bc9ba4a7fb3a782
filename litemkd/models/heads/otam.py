"""OTAM: ordered temporal alignment (Cao et al., "Few-Shot Video Classification via Temporal Alignment", 2020).

The cost of a query and a support is that of the cheapest path through the table of their frame distances, in
the order of both; it may begin and end anywhere in one of them. A soft minimum over the ways into each cell
makes it smooth. Both directions (query in support, support in query) are added. Published at CVPR 2020.
"""

from __future__ import annotations

import itertools
from typing import Annotated

import torch
from torch import Tensor
from torch.nn import functional as F

from litemkd.extending.declared import About
from litemkd.models.heads.alignment import frame_distances
from litemkd.models.heads.base import FRAME, Head, mean_over_supports

EPS = 0.01  # beside the lengths in the cosine, as published


class OTAM(Head):
    """Soft alignment distance of a query to each support, mean over the supports of a class. No weights.

    Args:
        dim: D; any.
        frames: T; any.
        smoothing: λ of the soft minimum -λ log Σ exp(-x / λ); the smaller, the harder.
    """

    name = "otam"
    place = 2

    def __init__(
        self,
        dim: int,
        *,
        frames: int = 8,
        smoothing: Annotated[float, About("of the soft minimum", above=0)] = 0.1,
    ) -> None:
        super().__init__()
        self.smoothing = smoothing

    def _encode(self, features: Tensor) -> Tensor:
        """(..., T, D) as they are."""
        return features

    def _match_parts(self, support: Tensor, labels: Tensor, query: Tensor, way: int) -> dict[str, Tensor]:
        """Logits (B, Q, W) from codes, see `Head.match_parts`."""
        table = frame_distances(query, support, EPS)  # (B, Q, S, T, T)
        both = align(torch.stack([table, table.transpose(-2, -1)]), self.smoothing).sum(0)  # (B, Q, S)
        return {FRAME: -mean_over_supports(both, labels, way)}

    def _meet(self, support: Tensor, labels: Tensor, query: Tensor, way: int) -> Tensor:
        """How much of the alignment's path goes through each pair of frames, both directions' mean.

        That is the derivative of the cost by the table: of a hard minimum 1 on the path and 0 beside it.
        """
        with torch.inference_mode(False), torch.enable_grad():
            table = frame_distances(query.clone(), support.clone(), EPS).detach().requires_grad_()
            both = align(torch.stack([table, table.transpose(-2, -1)]), self.smoothing).sum()
            (share,) = torch.autograd.grad(both, table)
        return share / 2


def align(table: Tensor, smoothing: float) -> Tensor:
    """Cost of the softly cheapest path through tables of distances, (..., L, M) -> (...).

    A column of zeros stands at each side, so a path may enter late and leave early. Row 0 can only be walked
    along; in the other rows a cell is reached from the left and from the upper left, in the first and in the
    last column also from above. The sum goes row by row; all pairs of videos take a step together.
    """

    def softmin(*ways: Tensor) -> Tensor:
        return -smoothing * torch.logsumexp(torch.stack(ways) / -smoothing, 0)

    padded = F.pad(table, (1, 1))  # (..., L, M + 2)
    rows, columns = padded.shape[-2:]
    first = padded[..., 0, :]
    if torch.are_deterministic_algorithms_enabled():  # a GPU's `cumsum` is not
        above = list(itertools.accumulate(first.unbind(-1)))
    else:
        above = list(first.cumsum(-1).unbind(-1))
    for row in range(1, rows):
        distance = padded[..., row, :].unbind(-1)
        here = [torch.zeros_like(above[0])]
        for column in range(1, columns):
            ways = [above[column - 1], here[column - 1]]
            if column in (1, columns - 1):
                ways.append(above[column])
            here.append(distance[column] + softmin(*ways))
        above = here
    return above[-1]
