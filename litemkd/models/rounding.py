"""Rounding to eight bits in training, so that weights are learned that lose little when they are quantised.

A convolution or linear layer gets its weight as eight bits would have it, with a scale for each channel, and
what flows into it and out of a batch norm with one scale, from the least to the largest number of the pass.
The way back is as if nothing had been rounded (Jacob et al., Quantization and training of neural networks for
efficient integer-arithmetic-only inference, CVPR 2018). A scale for each channel is the same whether a batch
norm is folded in or not. No weight and no buffer is added: what is trained is the plain network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

_LEVELS = 255  # steps between the least and the largest number that flows
_WEIGHT = 127  # largest of a weight; its numbers lie evenly around 0
_TINY = torch.finfo(torch.float32).tiny  # the scale of nothing but zeros
_WEIGHED = (F.conv1d, F.conv2d, F.conv3d, F.linear)


class EightBits(TorchFunctionMode):
    """While it is entered, layers compute with numbers of eight bits."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func in _WEIGHED and len(args) > 1:
            args = (rounded(args[0]), rounded_weight(args[1]), *args[2:])
        found = func(*args, **kwargs)
        return rounded(found) if func is F.batch_norm else found


def rounded(x: Tensor) -> Tensor:
    """Numbers of any shape to the nearest of 256 that are spread evenly over their range and hold 0."""
    least, most = (end.float() for end in x.detach().aminmax())
    least, most = least.clamp(max=0), most.clamp(min=0)
    scale = ((most - least) / _LEVELS).clamp(min=_TINY)
    zero = (-least / scale).round().to(torch.int32)
    return torch.fake_quantize_per_tensor_affine(x, scale, zero, 0, _LEVELS)


def rounded_weight(weight: Tensor) -> Tensor:
    """A weight (C, ...) to the nearest of 255 numbers of each of the C channels."""
    largest = weight.detach().flatten(1).abs().amax(1).float()
    scale = (largest / _WEIGHT).clamp(min=_TINY)
    nothing = torch.zeros_like(scale, dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(weight, scale, nothing, 0, -_WEIGHT, _WEIGHT)
