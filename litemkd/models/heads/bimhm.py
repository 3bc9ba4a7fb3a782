"""Bi-MHM: bidirectional mean Hausdorff metric (HyRSM, Wang et al., CVPR 2022).

Two videos are near when every frame of each has a near frame in the other. Frames are matched wherever they
are: the order does not count, and neither does how long an action takes.
"""

from __future__ import annotations

from typing import Annotated, Literal

from torch import Tensor

from litemkd.extending.declared import About
from litemkd.models.heads.alignment import frame_distances
from litemkd.models.heads.base import FRAME, Head, class_prototypes, mean_over_supports


class BiMHM(Head):
    """Hausdorff distance of a query to each class. No weights.

    Args:
        dim: D; any.
        frames: T; any.
        support: `mean`: distance to the mean sequence of a class's supports; `each`: mean of the distances to
            them.
        eps: added to the product of two frames' lengths in their cosine: 0 is HyRSM's plain cosine distance;
            MoLo (CVPR 2023), like OTAM, has 0.01, which brings short features nearer to 1.
    """

    name = "bimhm"
    place = 3

    def __init__(
        self,
        dim: int,
        *,
        frames: int = 8,
        support: Annotated[
            Literal["mean", "each"], About("`mean` sequence of a class's supports, or `each` of them")
        ] = "mean",
        eps: Annotated[
            float, About("added to the lengths in the cosine: `0` as HyRSM, `0.01` as MoLo", least=0)
        ] = 0.0,
    ) -> None:
        super().__init__()
        self.support, self.eps = support, eps

    def _encode(self, features: Tensor) -> Tensor:
        """(..., T, D) as they are."""
        return features

    def _match_parts(self, support: Tensor, labels: Tensor, query: Tensor, way: int) -> dict[str, Tensor]:
        """Logits (B, Q, W) from codes, see `Head.match_parts`."""
        if self.support == "mean":
            return {FRAME: -hausdorff(query, class_prototypes(support, labels, way), self.eps)}
        return {FRAME: -mean_over_supports(hausdorff(query, support, self.eps), labels, way)}


def hausdorff(query: Tensor, support: Tensor, eps: float) -> Tensor:
    """Σ_l min_m d + Σ_m min_l d of all pairs: (B, Q, T, D), (B, S, T, D) -> (B, Q, S)."""
    table = frame_distances(query, support, eps)
    return table.amin(-1).sum(-1) + table.amin(-2).sum(-1)
