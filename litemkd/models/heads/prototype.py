"""Prototypes: the baseline that META (Snell et al., NeurIPS 2017; as compared with in Lite-MKD) stands for.

A video is the mean of its frames; a class is as near to a query as its supports are on the average. It sees
neither order nor timing, which is what the other heads are measured by.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import Tensor

from litemkd.extending.declared import About
from litemkd.models.heads.base import FRAME, Head, mean_over_supports


class Prototype(Head):
    """Mean distance, or mean cosine, of a query to the supports of each class.

    The published code's "cosine" computes the Euclidean distance too; `cosine` here is a cosine.

    Args:
        dim: D; any, there are no weights.
        frames: T; any.
        distance: `euclidean` or `cosine`.
        scale: factor of the cosine; without one, softmax of numbers from -1 to 1 cannot become sure.
    """

    name = "prototype"
    place = 4

    def __init__(
        self,
        dim: int,
        *,
        frames: int = 8,
        distance: Annotated[Literal["euclidean", "cosine"], About("`euclidean` or `cosine`")] = "euclidean",
        scale: Annotated[float, About("of the cosine", above=0)] = 10.0,
    ) -> None:
        super().__init__()
        self.distance, self.scale = distance, scale

    def _encode(self, features: Tensor) -> Tensor:
        """(..., T, D) -> (..., D): the mean of the frames, of length 1 for `cosine`."""
        mean = features.mean(-2)
        return torch.nn.functional.normalize(mean, dim=-1) if self.distance == "cosine" else mean

    def _match_parts(self, support: Tensor, labels: Tensor, query: Tensor, way: int) -> dict[str, Tensor]:
        """Logits (B, Q, W) from codes, see `Head.match_parts`."""
        if self.distance == "cosine":
            scores = self.scale * query @ support.transpose(1, 2)  # (B, Q, S)
        else:
            scores = -distances(query, support)
        return {FRAME: mean_over_supports(scores, labels, way)}


def distances(one: Tensor, other: Tensor) -> Tensor:
    """Euclidean distances of all pairs, (..., N, D), (..., M, D) -> (..., N, M).

    By differences and not by products, which lose the digits of small distances in single precision.
    """
    return torch.cdist(one, other, compute_mode="donot_use_mm_for_euclid_dist")
