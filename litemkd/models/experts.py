"""Experts of a user's own: models of one modality that look at whole clips.

The experts that come with litemkd are students with one branch, which see frame by frame
(`litemkd.models.student`). What both are to the teacher is the same: `features` of clips.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from litemkd.errors import LitemkdError
from litemkd.extending.outside import Wanted


class Expert(nn.Module, ABC):
    """A model of one modality. Its settings are the keyword arguments of its constructor.

    A constructor that has an argument `frames` is given T. Costs are counted on tensors without data.

    Attributes:
        width: D, of its features; experts of several widths are brought to that of the first modality.
    """

    width: int

    @abstractmethod
    def features(self, clips: Tensor) -> Tensor:
        """(V, T, 3, H, W) frames in [0, 1] -> (V, T, D), a feature of each frame in its clip."""

    def load(self) -> None:
        """Read the weights that its settings name; not called where a checkpoint's take their place.

        Raises:
            BackboneError: what is wrong with a setting, by its name.
        """

    def described(self) -> dict[str, Any]:
        """Settings that a saved model has in the place of those that name files."""
        return {}


OWN_EXPERT = Wanted("expert", Expert, "litemkd.models.experts.Expert", "litemkd.experts", "my_experts:Slow")


class WholeClips(nn.Module):
    """An expert in the place of a student's backbone, so that it is trained and used as all experts are.

    Args:
        model: its weights are trained.
    """

    pooling, motion, temporal, any_length = "none", False, "none", False
    mean = std = torch.zeros(0)  # an expert's normalisation is its own

    def __init__(self, model: Expert) -> None:
        super().__init__()
        self.model = model
        self.channels = self.out_channels = int(model.width)  # D

    @property
    def shape(self) -> tuple[int, ...]:
        """Axes of the features of one frame: (D,)."""
        return (self.channels,)

    def forward(self, frames: Tensor, through: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """(V, T, 3, H, W) frames in [0, 1] -> (V, T, D); `through` is of backbones, and not looked at.

        Raises:
            LitemkdError: the expert's features are of another form.
        """
        found = self.model.features(frames)
        if tuple(found.shape) != (*frames.shape[:2], self.channels):
            raise LitemkdError(
                f"the expert {type(self.model).__name__} makes {tuple(found.shape)} of clips "
                f"{tuple(frames.shape)}; (V, T, {self.channels}), its width last, would do"
            )
        return found
