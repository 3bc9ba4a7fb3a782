"""The student: a light per-frame backbone, one or two linear branches, and a few-shot head.

With two branches (Lite-MKD, Huang et al., ACM MM 2023) one learns from the labels and one from the teacher;
both go through the same head and their logits are added up for the prediction. With one branch the same class
is the expert of a single modality and the single-branch baseline.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from litemkd.errors import EpisodeError
from litemkd.models.backbones import Backbone
from litemkd.models.experts import WholeClips
from litemkd.models.heads import Head
from litemkd.models.heads.checking import whole_numbers

LABEL, DISTILL = "label", "distill"  # the branches


class Student(nn.Module):
    """Frames in, logits out.

    Args:
        backbone: frames to C features a frame.
        head: works on D = `width` features a frame; shared by the branches.
        width: D of the branches; None leaves the backbone's features as they are.
        branches: `("distill", "label")` or `("label",)`.
        dropout: on the backbone's features, in training.
        guess: width of a teacher's frame features to guess from the distill branch, in training only; None for
            none.
    """

    def __init__(
        self,
        backbone: Backbone | WholeClips,
        head: Head,
        *,
        width: int | None,
        branches: Sequence[str] = (DISTILL, LABEL),
        dropout: float = 0.0,
        guess: int | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.dropout = nn.Dropout(dropout)
        self.width = width or backbone.channels
        self.branches = nn.ModuleDict(
            {name: nn.Identity() if width is None else nn.Linear(backbone.channels, width) for name in branches}
        )
        self.guess = None if guess is None else nn.Linear(self.width, guess)
        self.held: tuple[nn.Module, ...] = ()  # stay in eval mode while others train, see `models.tuned`

    def train(self, mode: bool = True) -> Student:
        """Training or eval mode, for all parts but those that are held in eval mode."""
        super().train(mode)
        for part in self.held:
            part.training = False
        return self

    def behind(self, backbone: Backbone | WholeClips) -> Student:
        """The same branches and head, not copies of them, behind another backbone of the same features."""
        other = copy.copy(self)
        other._modules = {**self._modules, "backbone": backbone}
        other.held = ()
        return other

    def frame_features(self, frames: Tensor) -> Tensor:
        """(V, T, 3, H, W) frames in [0, 1] -> (V, T, C) features of the backbone.

        (V, T, places, C) where the head looks at places. An expert of arrays takes these, (V, S, ...).

        Raises:
            EpisodeError: frames of another form.
        """
        takes = self.backbone.takes if isinstance(self.backbone, WholeClips) else ()
        if takes:
            if tuple(frames.shape[1:]) != takes:
                would = f"(V, {', '.join(map(str, takes))})"
                raise EpisodeError(f"arrays: shape {tuple(frames.shape)} given; {would} would do")
        elif frames.ndim != 5:
            hint = "; frames[None] for one video" * (frames.ndim == 4)
            raise EpisodeError(f"frames: shape {tuple(frames.shape)} given; (V, T, 3, H, W) would do{hint}")
        return self.backbone(frames)

    def branch_features(self, features: Tensor) -> dict[str, Tensor]:
        """(V, T[, places], C) features of the backbone -> (V, T[, places], D) of each branch, by name."""
        features = self.dropout(features)
        return {name: branch(features) for name, branch in self.branches.items()}

    def per_frame(self, features: Tensor) -> Tensor:
        """Features of a branch as one a frame, (..., T, D): the mean of the places where there are several."""
        return features.mean(-2) if self.head.places > 1 else features

    def features(self, clips: Tensor) -> Tensor:
        """(V, T, 3, H, W) frames in [0, 1] -> (V, T, D) of the label branch, see `litemkd.models.experts`."""
        return self.per_frame(self.branch_features(self.frame_features(clips))[LABEL])

    @staticmethod
    def without_training_parts(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Weights from a training as a finished student has them."""
        return {name: value for name, value in weights.items() if not name.startswith("guess.")}

    def drop_training_parts(self) -> None:
        """Remove what only training needs."""
        self.guess = None

    def forward(
        self, features: Mapping[str, Tensor], support: Tensor, labels: Tensor, query: Tensor, way: int
    ) -> dict[str, dict[str, Tensor]]:
        """Logits of each branch, by part of the head's judgement, each (B, Q, W).

        Args:
            features: of each branch, from `branch_features`.
            support: (B, S) rows of V.
            labels: (B, S) classes of the supports.
            query: (B, Q) rows of V.
            way: W.

        Raises:
            EpisodeError: a class has no support, or inputs of another form.
        """
        support, query = (
            whole_numbers(support, "support", ("B", "S")),
            whole_numbers(query, "query", ("B", "Q")),
        )
        codes = {name: self.head.encode(x) for name, x in features.items()}
        return {
            name: self.head.match_parts(code[support], labels, code[query], way) for name, code in codes.items()
        }

    def relate(self, features: Tensor, support: Tensor, labels: Tensor, query: Tensor, way: int) -> Tensor:
        """How the classes relate for each query, (B, Q, W²), by one branch's features; see `Head.relate`."""
        code = self.head.encode(features)
        return self.head.relate(code[support], labels, code[query], way)

    def predict(self, logits: Mapping[str, Mapping[str, Tensor]]) -> Tensor:
        """The prediction: the sum over the branches, (B, Q, W)."""
        return torch.stack([self.head.predict(parts) for parts in logits.values()]).sum(0)
