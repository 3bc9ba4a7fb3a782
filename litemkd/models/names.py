"""What a teacher hears beside what it sees: the names of an episode's classes, which its supports have.

As CLIP-FSAR does (Wang et al., IJCV 2023): the feature of a class's name takes part in the prototypes, where
the head has a way for that (`Head.encode_with_text`), and a query is also compared with the names themselves,

    logit = scale cos(mean of the query's frames, the name's feature)

which counts with a weight beside the head's own logits. Of a query's own name nothing is ever looked at.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from litemkd.models.heads.base import class_prototypes

NAMES = "class names"  # the part of the logits that they make, and their features among a teacher's streams


@dataclass(frozen=True)
class Names:
    """How names count.

    Attributes:
        scale: of the cosine between a query and a name.
        weight: of these logits, in the loss and in the prediction; the head's own count in full.
    """

    scale: float
    weight: float

    def logits(self, names: Tensor, labels: Tensor, query: Tensor, way: int) -> Tensor:
        """How near queries are to names, (B, Q, W).

        Args:
            names: (B, S, D), of each support the feature of its class's name.
            labels: (B, S) of the supports.
            query: (B, Q, D), one feature a query.
            way: W.
        """
        of_class = class_prototypes(names, labels, way)  # (B, W, D); all of a class have the same
        return self.scale * F.normalize(query, dim=-1) @ F.normalize(of_class, dim=-1).mT
