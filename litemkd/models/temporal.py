"""How a per-frame backbone sees motion: differences of neighbouring frames, channels shifted in time, and
differences of features between layers.

The first two cost no multiplications. *Differences* (as TSN's RGB difference, Wang et al., ECCV 2016) stand in
the place of the frames: their size without sign, under a square root, so that slight and strong motion weigh
alike and an untrained network can already compare them. *Shifts* (TSM, Lin et al., ICCV 2019) let a block see
an eighth of its channels one frame earlier and an eighth one frame later; `shift-causal` takes an eighth from
what was before and nothing from later, as a camera in use has it. A shift stands within the residual branch
where a block has one, so what a pretrained network knows of single frames still passes beside it. *Excitation*
by differences of features between layers (as in TEA, Li et al., CVPR 2020, and TDN, Wang et al., CVPR 2021) has
weights of its own, a few for each block, and begins as the plain network.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from litemkd.models.cutting import map_shape

PART = 8  # one in so many channels is shifted each way
EXCITE = "excite"
# What each form does: whether frames are replaced by differences, and what stands in the blocks.
TEMPORAL: Mapping[str, tuple[bool, str]] = {
    "none": (False, ""),
    "difference": (True, ""),
    "shift": (False, "both"),
    "shift-causal": (False, "past"),
    "difference+shift": (True, "both"),
    "difference+shift-causal": (True, "past"),
    EXCITE: (False, EXCITE),
    f"difference+{EXCITE}": (True, EXCITE),
}


def frame_differences(frames: Tensor) -> Tensor:
    """How much each place changed since the frame before, (..., T, 3, H, W) in [0, 1] -> the same.

    The square root of the size of the difference, by channel. The first frame has none before it and takes what
    changes until the second; of a single frame nothing changes.
    """
    if frames.shape[-4] < 2:
        return torch.zeros_like(frames)
    changed = (frames[..., 1:, :, :, :] - frames[..., :-1, :, :, :]).abs_().sqrt_()
    return torch.cat([changed[..., :1, :, :, :], changed], -4)


class Shift(nn.Module):
    """Shifts channels of the frames of clips in time. Frames from before the first or after the last are zero.

    Args:
        frames: T.
        ways: `both`: an eighth of the channels from the next frame and an eighth from the one before; `past`:
            an eighth from the one before.
        last: whether channels are the last axis, as behind a layer norm; else the second.
    """

    def __init__(self, frames: int, ways: str, *, last: bool = False) -> None:
        super().__init__()
        self.frames, self.ways, self.last = frames, ways, last

    def extra_repr(self) -> str:
        """What `repr` says of it."""
        return f"frames={self.frames}, ways={self.ways!r}"

    def forward(self, x: Tensor) -> Tensor:
        """(V T, ...) -> the same, the frames of a video one after another."""
        axis = -1 if self.last else 1
        part = x.shape[axis] // PART
        following = part if self.ways == "both" else 0
        later, earlier, still = x.split([following, part, x.shape[axis] - following - part], axis)
        return torch.cat([self._moved(later, -1), self._moved(earlier, 1), still], axis)

    def _moved(self, x: Tensor, by: int) -> Tensor:
        clips = x.unflatten(0, (-1, self.frames))
        none = torch.zeros_like(clips[:, :1])
        parts = [none, clips[:, :-1]] if by > 0 else [clips[:, 1:], none]
        return torch.cat(parts, 1).flatten(0, 1)


class Excitation(nn.Module):
    """Weighs channels by how they changed since the frame before, so it looks at nothing that comes later.

        d_t = K(R x_t) - R x_{t-1},  d_0 = 0
        y_t = x_t + x_t tanh(E mean over places of d_t)

    R makes an eighth of the channels, K sees 3 x 3 places of each of them, E makes all channels of it and is 0
    in the beginning.

    Args:
        frames: T.
        channels: C.
        last: as of `Shift`.
    """

    def __init__(self, frames: int, channels: int, *, last: bool = False) -> None:
        super().__init__()
        few = max(PART, channels // PART)
        self.frames, self.last = frames, last
        self.reduce = nn.Conv2d(channels, few, 1)
        self.look = nn.Conv2d(few, few, 3, padding=1, groups=few)
        self.expand = nn.Linear(few, channels)
        nn.init.zeros_(self.expand.weight)
        nn.init.zeros_(self.expand.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(V T, C, h, w), or with channels last (V T, h, w, C) or tokens (V T, N, C) -> the same."""
        maps = x.movedim(-1, 1) if self.last else x
        few = self.reduce(maps if maps.ndim == 4 else maps[..., None])
        before = few.unflatten(0, (-1, self.frames))[:, :-1]
        change = self.look(few).unflatten(0, (-1, self.frames))[:, 1:] - before
        mean = change.mean((-2, -1))
        gate = torch.tanh(self.expand(torch.cat([torch.zeros_like(mean[:, :1]), mean], 1))).flatten(0, 1)
        return x + x * (gate.view(len(x), *[1] * (x.ndim - 2), -1) if self.last else gate[:, :, None, None])


class NoBlocksError(ValueError):
    """A network in which there is no place to see motion."""


def _made(frames: int, ways: str, layer: nn.Module) -> nn.Module:
    """What is put before a convolution, or behind a layer norm."""
    last = not isinstance(layer, nn.Conv2d)
    if ways != EXCITE:
        return Shift(frames, ways, last=last)
    shape: Any = layer.normalized_shape if isinstance(layer, nn.LayerNorm) else (layer.in_channels,)
    return Excitation(frames, int(shape[-1]), last=last)


def insert_shifts(network: nn.Module, frames: int, ways: str) -> int:
    """Put a shift, or an excitation, into every block of a network, which is changed; how many were put in.

    Within a block that is before its first convolution, or behind its first layer norm where it is a
    transformer's. A block that becomes one convolution for use (RepVGG and its like) is shifted as a whole. A
    network without blocks is shifted before each of its convolutions but that on colours.

    Args:
        network: (N, 3, H, W) -> a map.
        frames: T.
        ways: see `Shift`; or `excite`.

    Raises:
        NoBlocksError: it has neither.
    """
    maps = _layers_on_maps(network)
    blocks = {
        name: first
        for name in _blocks(network, maps)
        if _is_wide(network.get_submodule(first := next(one for one in maps if one.startswith(f"{name}."))))
    }
    if not blocks:
        plain = [name for name, one in maps.items() if isinstance(one, nn.Conv2d) and _is_wide(one)]
        for name in plain:
            _put_before(network, name, _made(frames, ways, network.get_submodule(name)))
        if not plain:
            raise NoBlocksError("it has no blocks of convolutions or attention to see motion in")
        return len(plain)
    for name, first in blocks.items():
        layer = network.get_submodule(first)
        inside = _made(frames, ways, layer)
        if not isinstance(layer, nn.Conv2d):
            network.set_submodule(first, nn.Sequential(layer, inside))
        else:
            whole = hasattr(network.get_submodule(name), "reparameterize")
            _put_before(network, name if whole else first, inside)
    return len(blocks)


def _is_wide(layer: nn.Module) -> bool:
    """Whether an eighth of what a layer takes is a channel: colours are not shifted."""
    return not isinstance(layer, nn.Conv2d) or layer.in_channels >= PART


def _put_before(network: nn.Module, name: str, part: nn.Module) -> None:
    network.set_submodule(name, nn.Sequential(part, network.get_submodule(name)))


def _layers_on_maps(network: nn.Module) -> dict[str, nn.Module]:
    """The convolutions that see more than one place, and the layer norms, by name as they first run."""
    names = {layer: name for name, layer in network.named_modules()}
    found: dict[str, nn.Module] = {}

    def seen(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        (x, *_) = inputs
        if not isinstance(layer, nn.Conv2d) or x.shape[-2:].numel() > 1:
            found.setdefault(names[layer], layer)

    hooks = [
        layer.register_forward_pre_hook(seen) for layer in names if isinstance(layer, nn.Conv2d | nn.LayerNorm)
    ]
    try:
        map_shape(network)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _blocks(network: nn.Module, maps: Mapping[str, nn.Module]) -> list[str]:
    """The smallest parts of a class of their own with two convolutions, or a layer norm and linear layers."""
    found: list[str] = []
    for name, part in reversed(list(network.named_modules())):  # what is inside comes first
        if not name or isinstance(part, nn.Sequential | nn.ModuleList | nn.Conv2d | nn.LayerNorm):
            continue
        if any(inner.startswith(f"{name}.") for inner in found):
            continue
        inside = [layer for inner, layer in maps.items() if inner.startswith(f"{name}.")]
        convolutions = sum(isinstance(layer, nn.Conv2d) for layer in inside)
        norms = len(inside) - convolutions
        linear = any(isinstance(layer, nn.Linear) for layer in part.modules())
        if convolutions > 1 or (norms and linear) or (convolutions and linear):
            found.append(name)
    return found[::-1]
