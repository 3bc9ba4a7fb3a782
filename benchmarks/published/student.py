"""The student as published: channels first, support and query through the backbone one after the other."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmarks.published.trx import LoopTRX
from litemkd.models.backbones import Backbone
from litemkd.models.heads.trx import TRX
from litemkd.models.student import Student


class TwoPassStudent(nn.Module):
    """A student with the weights of another, which it takes over."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        assert isinstance(student.head, TRX)
        self.student = student.to(memory_format=torch.contiguous_format)
        self.head = LoopTRX(student.head)

    def frame_features(self, frames: Tensor) -> Tensor:
        """(V, T, 3, H, W) frames -> (V, T, C)."""
        backbone = self.student.backbone
        assert isinstance(backbone, Backbone)
        images = (frames.flatten(0, 1) - backbone.mean) / backbone.std
        maps = backbone.features(images.contiguous())
        pooled = nn.functional.adaptive_max_pool2d(maps, 4).mean((-2, -1))
        return pooled.unflatten(0, frames.shape[:2])

    def forward(self, support: Tensor, labels: Tensor, query: Tensor) -> dict[str, Tensor]:
        """Frames of supports and queries -> logits (Q, W) of each branch."""
        supports, queries = self.frame_features(support), self.frame_features(query)
        return {
            name: self.head(branch(supports), labels, branch(queries))
            for name, branch in self.student.branches.items()
        }
