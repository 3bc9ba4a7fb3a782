"""The student: a light per-frame backbone, one or two linear branches, and a few-shot head.

With two branches (Lite-MKD, Huang et al., ACM MM 2023) one learns from the labels and one from the teacher;
both go through the same head and their logits are added up for the prediction. With one branch the same class
is the expert of a single modality and the single-branch baseline.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from litemkd.models.backbones import Backbone
from litemkd.models.heads import Head

LABEL, DISTILL = "label", "distill"


class Student(nn.Module):
    """Frames in, logits out.

    Args:
        backbone: frames to C features a frame.
        head: works on D = `width` features a frame; shared by the branches.
        width: D of the branches.
        branches: `("distill", "label")` or `("label",)`.
        dropout: on the backbone's features, in training.
        guess: width of a teacher's frame features to guess from the distill branch, in training only; None for
            none.
    """

    def __init__(
        self,
        backbone: Backbone,
        head: Head,
        *,
        width: int,
        branches: Sequence[str] = (DISTILL, LABEL),
        dropout: float = 0.0,
        guess: int | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.dropout = nn.Dropout(dropout)
        self.branches = nn.ModuleDict({name: nn.Linear(backbone.channels, width) for name in branches})
        self.guess = None if guess is None else nn.Linear(width, guess)

    def frame_features(self, frames: Tensor) -> Tensor:
        """(V, T, 3, H, W) frames in [0, 1] -> (V, T, C) features of the backbone."""
        return self.backbone(frames)

    def branch_features(self, features: Tensor) -> dict[str, Tensor]:
        """(V, T, C) features of the backbone -> (V, T, D) of each branch, by name."""
        features = self.dropout(features)
        return {name: branch(features) for name, branch in self.branches.items()}

    def drop_training_parts(self) -> None:
        """Remove what only training needs."""
        self.guess = None

    def forward(
        self, features: Mapping[str, Tensor], support: Tensor, labels: Tensor, query: Tensor, way: int
    ) -> dict[str, Tensor]:
        """Logits of each branch, (B, Q, W).

        Args:
            features: (V, T, D) of each branch, from `branch_features`.
            support: (B, S) rows of V.
            labels: (B, S) classes of the supports.
            query: (B, Q) rows of V.
            way: W.
        """
        codes = {name: self.head.encode(x) for name, x in features.items()}
        return {name: self.head.match(code[support], labels, code[query], way) for name, code in codes.items()}

    @staticmethod
    def predict(logits: Mapping[str, Tensor]) -> Tensor:
        """The prediction: the sum of the branches' logits, (B, Q, W)."""
        return torch.stack(list(logits.values())).sum(0)
