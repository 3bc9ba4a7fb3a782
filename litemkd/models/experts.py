"""Experts that look at whole clips: of pictures, or of arrays by frame such as joints; a user's own, and those
that come with litemkd by a name.

The experts of `teacher.expert` are students with one branch, which see frame by frame
(`litemkd.models.student`). What all are to the teacher is the same: `features` of clips.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from litemkd.errors import LitemkdError
from litemkd.extending.outside import Wanted
from litemkd.modalities.record import Kind


class Expert(nn.Module, ABC):
    """A model of one modality. Its settings are the keyword arguments of its constructor.

    A constructor that has an argument `frames` is given T. Costs are counted on tensors without data.

    Attributes:
        kind: of the modalities that it looks at; `ArrayExpert` is for arrays.
        width: D, of its features; experts of several widths are brought to that of the first modality.
    """

    kind: ClassVar[Kind] = "frames"
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


class ArrayExpert(Expert):
    """A model of arrays by frame: `features` takes clips (V, S, ...) of float32, of as many steps as it wants.

    Its constructor should have an argument `frames`: T, how many features of a clip it has to give.

    Attributes:
        takes: (S, ...), the shape of a clip that it looks at. Clips are brought to S steps, in between frames
            by their mixture; the rest must be that of the data.
        window: the largest share of a training clip that is left out at its ends, by chance.
    """

    kind = "arrays"
    takes: tuple[int, ...]
    window: float = 0.0

    def vary(self, clip: np.ndarray, rng: np.random.Generator, flip: bool) -> np.ndarray:
        """A training clip (S, ...) as it may also have been, of the same shape; as it is, if not given.

        Args:
            clip: not to be changed.
            rng: of this clip; the same numbers of it for the same episode.
            flip: whether clips may be mirrored (`data.flip`).
        """
        return clip

    def would(self, shape: tuple[int, ...]) -> str:
        """What to say would do for frames of that shape, where they are not those of `takes`.

        Raises:
            DataError: nothing would.
        """
        return "settings for such frames"


OWN_EXPERT = Wanted(
    "expert",
    Expert,
    "litemkd.models.experts.Expert",
    "litemkd.experts",
    "my_experts:Slow",
    {"joints": "litemkd.models.joints:JointGraph", "series": "litemkd.models.series:Series"},
)


class WholeClips(nn.Module):
    """An expert in the place of a student's backbone, so that it is trained and used as all experts are.

    Args:
        model: its weights are trained.
        frames: T, features that an expert of arrays makes of a clip; not looked at for others.
    """

    pooling, motion, temporal, any_length = "none", False, "none", False
    mean = std = torch.zeros(0)  # an expert's normalisation is its own

    def __init__(self, model: Expert, frames: int = 0) -> None:
        super().__init__()
        self.model, self.frames = model, frames
        self.channels = self.out_channels = int(model.width)  # D

    @property
    def shape(self) -> tuple[int, ...]:
        """Axes of the features of one frame: (D,)."""
        return (self.channels,)

    @property
    def takes(self) -> tuple[int, ...]:
        """(S, ...), the shape of a clip of arrays that it looks at; () for pictures."""
        return tuple(self.model.takes) if isinstance(self.model, ArrayExpert) else ()

    def forward(self, clips: Tensor, through: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """(V, T, 3, H, W) frames in [0, 1], or (V, S, ...) arrays -> (V, T, D); `through` is of backbones, and
        not looked at.

        Raises:
            LitemkdError: the expert's features are of another form.
        """
        found = self.model.features(clips)
        frames = self.frames if self.takes else clips.shape[1]
        if tuple(found.shape) != (len(clips), frames, self.channels):
            raise LitemkdError(
                f"the expert {type(self.model).__name__} makes {tuple(found.shape)} of clips "
                f"{tuple(clips.shape)}; (V, T, {self.channels}), its width last, would do"
            )
        return found
