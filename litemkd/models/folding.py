"""The evaluation form of a student: the same logits for less work.

Each batch norm behind a convolution becomes a part of it, and each branch with the head becomes what
`Head.folded` makes of them. That takes a fraction of a second, so each validation makes its own form.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse

from litemkd.models.backbones import Backbone
from litemkd.models.heads import Code, Folded
from litemkd.models.student import Student


def refuse_training(model: nn.Module, where: str) -> None:
    """ValueError: dropout and batch statistics would go into what is told as the model's figures."""
    if any(module.training for module in model.modules()):
        raise ValueError(f"{where}: the model is in training mode; call its eval() first")


def fold_norms(backbone: Backbone) -> Backbone:
    """A copy of a backbone in eval mode with every batch norm in the convolution before it.

    Raises:
        ValueError: the backbone is in training mode.
    """
    refuse_training(backbone, "fold_norms")
    features = fuse(backbone.features)
    return copy.deepcopy(backbone, {id(backbone.features): features}).requires_grad_(False)


class EvaluationForm(nn.Module):
    """A student for evaluation. It does not follow what becomes of the student's weights later.

    Args:
        student: in eval mode, on any device; it is left as it is.

    Raises:
        ValueError: the student is in training mode.
    """

    def __init__(self, student: Student) -> None:
        super().__init__()
        refuse_training(student, "EvaluationForm")
        with torch.no_grad():
            self.backbone = fold_norms(student.backbone)
            self.branches = nn.ModuleDict(
                {name: student.head.folded(branch) for name, branch in student.branches.items()}
            )
        self.eval()

    def frame_features(self, frames: Tensor) -> Tensor:
        """(V, T, 3, H, W) frames in [0, 1] -> (V, T[, places], C) features of the backbone."""
        return self.backbone(frames)

    def encode(self, features: Tensor) -> dict[str, Code]:
        """(V, T[, places], C) features of the backbone -> codes of the videos, by branch."""
        return {name: cast(Folded, branch).encode(features) for name, branch in self.branches.items()}

    def match(self, support: Mapping[str, Code], labels: Tensor, query: Mapping[str, Code], way: int) -> Tensor:
        """The prediction: the sum over the branches, (B, Q, W).

        Args:
            support: codes by branch, with leading axes (B, S).
            labels: (B, S) classes of the supports.
            query: codes by branch, with leading axes (B, Q).
            way: W.

        Raises:
            EpisodeError: a class has no support.
        """
        logits = [
            cast(Folded, branch).match(support[name], labels, query[name], way)
            for name, branch in self.branches.items()
        ]
        return torch.stack(logits).sum(0)
