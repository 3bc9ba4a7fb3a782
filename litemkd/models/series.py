"""An expert of arrays by frame: convolutions over time on the numbers and on how they change."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor, nn

from litemkd.extending.declared import About
from litemkd.models.experts import ArrayExpert

KERNEL = 5  # steps that a convolution sees


def changes(x: Tensor, axis: int = 1) -> Tensor:
    """What each step differs by from the one before; the first one by nothing. The shape is that of `x`."""
    first = torch.zeros_like(x.narrow(axis, 0, 1))
    return torch.cat([first, x.diff(dim=axis)], dim=axis)


class OverTime(nn.Sequential):
    """Convolutions over time with batch norm, from S steps to T of them.

    The first ones go two steps at a time, as long as there are twice as many as T; what is left is averaged.

    Args:
        channels: C.
        width: D.
        layers: how many.
        steps: S.
        frames: T.
        dropout: behind each.
    """

    def __init__(
        self, channels: int, width: int, *, layers: int, steps: int, frames: int, dropout: float
    ) -> None:
        parts: list[nn.Module] = []
        for layer in range(layers):
            stride = 2 if steps >= 2 * frames else 1
            steps = -(-steps // stride)
            come = channels if layer == 0 else width
            parts += [
                nn.Conv1d(come, width, KERNEL, stride, KERNEL // 2, bias=False),
                nn.BatchNorm1d(width),
                nn.ReLU(),
                nn.Dropout(dropout),
            ]
        super().__init__(*parts, nn.AdaptiveAvgPool1d(frames))

    def forward(self, x: Tensor) -> Tensor:
        """(V, S, C) -> (V, T, D)."""
        return super().forward(x.transpose(1, 2)).transpose(1, 2)


class Series(ArrayExpert):
    """Arrays (S, dim) by convolutions over time, on the numbers and their changes.

    Args:
        frames: T.
        dim: numbers a frame.
        width: D.
        layers: convolutions.
        steps: S, that a clip is brought to.
        dropout: behind each convolution.
        window: see `ArrayExpert`.

    Raises:
        ValueError: fewer steps than T.
    """

    def __init__(
        self,
        *,
        frames: int,
        dim: Annotated[int, About("numbers a frame", above=0)] = 1,
        width: Annotated[int, About("D", above=0)] = 96,
        layers: Annotated[int, About("convolutions over time", above=0)] = 3,
        steps: Annotated[int, About("S, that a clip is brought to", above=0)] = 32,
        dropout: Annotated[float, About("behind each", least=0, below=1)] = 0.3,
        window: Annotated[float, About("most of a training clip left out at its ends", least=0, below=1)] = 0.2,
    ) -> None:
        super().__init__()
        check_steps(steps, frames)
        self.width, self.window, self.takes = width, window, (steps, dim)
        self.norm = nn.BatchNorm1d(2 * dim)
        self.over_time = OverTime(2 * dim, width, layers=layers, steps=steps, frames=frames, dropout=dropout)

    def features(self, clips: Tensor) -> Tensor:
        """(V, S, dim) -> (V, T, D)."""
        both = torch.cat([clips, changes(clips)], dim=-1)
        features: Tensor = self.over_time(self.norm(both.transpose(1, 2)).transpose(1, 2))
        return features

    def would(self, shape: tuple[int, ...]) -> str:
        """As many numbers as frames (dim,) have."""
        return f"dim: {shape[0]}" if len(shape) == 1 else "arrays (frames, dim)"


def check_steps(steps: int, frames: int) -> None:
    """ValueError: fewer steps than there are to be features."""
    if steps < frames:
        raise ValueError(f"steps: {steps} given; data.frames = {frames} or more would do")
