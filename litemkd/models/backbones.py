"""Per-frame image backbones, those of `litemkd.catalogue`.

A backbone is the convolutional part of its torchvision model. Its map is pooled to 4 x 4 by adaptive maximum
and the 16 places are averaged, which gives one feature of C numbers a frame, as Lite-MKD does. Averaging
forgets where things are; small networks that start from random weights do much better when the 16 places are
kept (`pooling="flatten"`). TRX's own code takes the mean of the whole map instead (`pooling="average"`).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from litemkd.catalogue import BACKBONES
from litemkd.errors import CheckpointError
from litemkd.weights import cannot_download, load_state_file

POOLED = 4  # side of the pooled map
PLACES = POOLED**2


def conv4(width: int = 32) -> nn.Sequential:
    """The four-block network of the few-shot literature, for small frames: 64 x 64 pixels give a 4 x 4 map.

    Each block is a 3 x 3 convolution, batch norm, ReLU and a halving; the first two halve by their stride,
    which spares most of the cost, the others by maximum pooling.
    """
    blocks: list[nn.Module] = []
    channels = 3
    for block in range(4):
        stride = 2 if block < 2 else 1
        blocks += [nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False), nn.BatchNorm2d(width)]
        blocks += [nn.ReLU(inplace=True)] + ([] if block < 2 else [nn.MaxPool2d(2)])
        channels = width
    return nn.Sequential(nn.Sequential(*blocks), nn.AdaptiveAvgPool2d(1), nn.Flatten())


OWN: dict[str, Callable[..., nn.Module]] = {"conv4": conv4}  # built here; the others by torchvision

# What each kind of weights wants to see: (mean, std) of the channels of frames in [0, 1].
NORMALISATION: dict[str, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "centred": ((0.5, 0.5, 0.5), (0.25, 0.25, 0.25)),
    "none": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    # What differs from the clip's mean frame: stills the background, keeps what moves. For random weights.
    "motion": ((0.0, 0.0, 0.0), (0.25, 0.25, 0.25)),
}


class Backbone(nn.Module):
    """A torchvision backbone from normalised frames to one feature a frame.

    Args:
        name: a key of `BACKBONES`.
        weights: `none` (random), `imagenet` (torchvision's, downloaded once), or the path of a torchvision
            state dict.
        pooling: of the 4 x 4 places: `mean` (C features a frame), `flatten` (16 C features), or `places`, which
            leaves them as they are (16 times C features) for heads that look at them; or `average` of the
            whole map (C features).
        normalise: a key of `NORMALISATION`, applied to frames in [0, 1] inside the model, so that whoever loads
            the model cannot forget it.

    Raises:
        CheckpointError: a weights file that is missing or of another architecture, or cannot be downloaded.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, name: str, *, weights: str = "none", normalise: str = "imagenet", pooling: str = "mean"
    ) -> None:
        super().__init__()
        spec = BACKBONES[name]
        self.pooling = pooling
        self.motion = normalise == "motion"
        self.channels = spec.channels * (PLACES if pooling == "flatten" else 1)
        whole = _with_imagenet_weights(name) if weights == "imagenet" else _build(name, None)
        if weights not in ("none", "imagenet"):
            wanted = f"a torchvision {name} state dict"
            load_state_file(whole, Path(weights), "backbone weights", wanted, "`imagenet`, or `none`")
        # The last two children are the pooling and the classifier in every model of the table.
        self.features = nn.Sequential(*list(whole.children())[:-2])
        self.pool = nn.AdaptiveMaxPool2d(POOLED)
        mean, std = NORMALISATION[normalise]
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)
        for layer in self.features.modules():
            if isinstance(layer, nn.Hardswish):
                layer.inplace = False  # in place it copies its input first, which the way back needs
        self.to(memory_format=torch.channels_last)

    @property
    def shape(self) -> tuple[int, ...]:
        """Axes of the features of one frame: (C,), or (16, C) where places are left as they are."""
        return (PLACES, self.channels) if self.pooling == "places" else (self.channels,)

    def maps(self, frames: Tensor, through: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """(N, 3, H, W) frames -> (N, C, h, w), the last map; `through` runs the layers another way."""
        x = (frames - self.mean).div_(self.std).contiguous(memory_format=torch.channels_last)
        return self.features(x) if through is None else through(x)

    def patches(self, frames: Tensor) -> Tensor:
        """(N, 3, H, W) frames -> (N, C, 4, 4) pooled map."""
        return self._pooled(self.maps(frames))

    def _pooled(self, maps: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C, 4, 4); in torch's deterministic mode by operations that are."""
        if torch.are_deterministic_algorithms_enabled():
            return windows_maximum(maps, POOLED)
        return self.pool(maps)

    def forward(self, frames: Tensor, through: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """(..., T, 3, H, W) frames in [0, 1] -> (..., T, C) features; (..., T, 16 C) or (..., T, 16, C), see
        `pooling`. `through` is what runs `features`, for `litemkd.models.passes`.
        """
        if self.motion:
            frames = frames - frames.mean(-4, keepdim=True)
        images = frames.flatten(0, -4)
        places = self.maps(images, through)
        if self.pooling != "average":
            places = self._pooled(places)
        if self.pooling == "places":
            features = places.flatten(2).transpose(1, 2)
        else:
            features = places.flatten(1) if self.pooling == "flatten" else places.mean((-2, -1))
        return features.unflatten(0, frames.shape[:-3])


def windows_maximum(maps: Tensor, side: int) -> Tensor:
    """Adaptive maximum pooling, (N, C, h, w) -> (N, C, side, side), with a deterministic gradient on a GPU.

    That of torch's own is not. Of equal places of a window the first one gets it, in both.
    """
    (h, w), steps = maps.shape[-2:], range(side)
    rows = [slice(i * h // side, -(-(i + 1) * h // side)) for i in steps]
    columns = [slice(i * w // side, -(-(i + 1) * w // side)) for i in steps]
    found = [maps[..., row, column].flatten(-2).max(-1).values for row in rows for column in columns]
    return torch.stack(found, -1).unflatten(-1, (side, side))


def _build(name: str, weights: str | None) -> nn.Module:
    if name in OWN:
        return OWN[name]()
    from torchvision.models import get_model  # takes two seconds, which OWN do without

    return get_model(name, weights=weights)


def _with_imagenet_weights(name: str) -> nn.Module:
    weights = BACKBONES[name].imagenet
    try:
        return _build(name, weights)
    except (OSError, RuntimeError) as error:  # no network, no such file there, half a file
        told = cannot_download("backbone weights", str(weights), error)
        raise CheckpointError(f"{told} as `weights`, or `none` for random ones") from error
