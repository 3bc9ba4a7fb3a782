"""Prototypes of whole clips: a video is its frames in their order, as one long vector.

What `prototype` is blind to, order and timing, is all there; nothing is aligned. The mean of the classes is
taken off before angles are compared (centring, as in SimpleShot, Wang et al., 2019): what all clips of an
episode share says nothing about their class.
"""

from __future__ import annotations

from typing import Annotated

from torch import Tensor
from torch.nn import functional as F

from litemkd.extending.declared import About
from litemkd.models.heads.base import FRAME, Head, class_prototypes


class Sequence(Head):
    """Cosine of a query and each class's mean support, frame beside frame, less the mean of the classes.

    Args:
        dim: D; any, there are no weights.
        frames: T; any.
        scale: factor of the cosine; without one, softmax of numbers from -1 to 1 cannot become sure.
    """

    name = "sequence"
    place = 5

    def __init__(
        self, dim: int, *, frames: int = 8, scale: Annotated[float, About("of the cosine", above=0)] = 10.0
    ) -> None:
        super().__init__()
        self.scale = scale

    def _encode(self, features: Tensor) -> Tensor:
        """(..., T, D) -> (..., T D)."""
        return features.flatten(-2)

    def _match_parts(self, support: Tensor, labels: Tensor, query: Tensor, way: int) -> dict[str, Tensor]:
        """Logits (B, Q, W) from codes, see `Head.match_parts`."""
        means = class_prototypes(support, labels, way)  # (B, W, T D)
        centre = means.mean(1, keepdim=True)
        cosines = F.normalize(query - centre, dim=-1) @ F.normalize(means - centre, dim=-1).mT
        return {FRAME: self.scale * cosines}
