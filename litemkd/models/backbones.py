"""Per-frame image backbones, by one table. Adding a torchvision backbone is one line in `BACKBONES`.

A backbone is the convolutional part of its torchvision model. Its map is pooled to 4 x 4 by adaptive maximum
and the 16 places are averaged, which gives one feature of C numbers a frame, as Lite-MKD does. Averaging
forgets where things are; small networks that start from random weights do much better when the 16 places are
kept (`pooling="flatten"`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision import models as tv

from litemkd.errors import CheckpointError
from litemkd.weights import cannot_download, load_state_file

POOLED = 4  # side of the pooled map


@dataclass(frozen=True)
class BackboneSpec:
    """One line of the table: how torchvision builds it, and C, the channels of its last map."""

    build: Callable[..., nn.Module]
    channels: int
    imagenet: str | None  # name of the torchvision weights


def conv4(weights: None = None, width: int = 32) -> nn.Sequential:
    """The four-block network of the few-shot literature, for small frames: 64 x 64 pixels give a 4 x 4 map.

    Each block is a 3 x 3 convolution, batch norm, ReLU and a halving; the first halves by its stride, which
    spares most of the cost, the others by maximum pooling.
    """
    blocks: list[nn.Module] = []
    channels = 3
    for block in range(4):
        stride = 2 if block == 0 else 1
        blocks += [nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False), nn.BatchNorm2d(width)]
        blocks += [nn.ReLU(inplace=True)] + ([] if block == 0 else [nn.MaxPool2d(2)])
        channels = width
    return nn.Sequential(nn.Sequential(*blocks), nn.AdaptiveAvgPool2d(1), nn.Flatten())


BACKBONES: dict[str, BackboneSpec] = {
    "conv4": BackboneSpec(conv4, 32, None),
    "resnet18": BackboneSpec(tv.resnet18, 512, "ResNet18_Weights.IMAGENET1K_V1"),
    "resnet34": BackboneSpec(tv.resnet34, 512, "ResNet34_Weights.IMAGENET1K_V1"),
    "resnet50": BackboneSpec(tv.resnet50, 2048, "ResNet50_Weights.IMAGENET1K_V1"),
    "mobilenet_v3_small": BackboneSpec(tv.mobilenet_v3_small, 576, "MobileNet_V3_Small_Weights.IMAGENET1K_V1"),
    "mobilenet_v3_large": BackboneSpec(tv.mobilenet_v3_large, 960, "MobileNet_V3_Large_Weights.IMAGENET1K_V2"),
}

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
        pooling: `mean` of the 4 x 4 places (C features) or `flatten` (16 C features).
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
        self.channels = spec.channels * (POOLED**2 if pooling == "flatten" else 1)
        whole = _with_imagenet_weights(spec) if weights == "imagenet" else spec.build(weights=None)
        if weights not in ("none", "imagenet"):
            wanted = f"a torchvision {name} state dict"
            load_state_file(whole, Path(weights), "backbone weights", wanted, "`imagenet`, or `none`")
        # The last two children are the pooling and the classifier in every model of the table.
        self.features = nn.Sequential(*list(whole.children())[:-2])
        self.pool = nn.AdaptiveMaxPool2d(POOLED)
        mean, std = NORMALISATION[normalise]
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)
        self.to(memory_format=torch.channels_last)

    def patches(self, frames: Tensor) -> Tensor:
        """(N, 3, H, W) frames -> (N, C, 4, 4) pooled map."""
        x = (frames - self.mean) / self.std
        return self.pool(self.features(x.contiguous(memory_format=torch.channels_last)))

    def forward(self, frames: Tensor) -> Tensor:
        """(..., T, 3, H, W) frames in [0, 1] -> (..., T, C) features; (..., T, 16 C) with `flatten`."""
        if self.motion:
            frames = frames - frames.mean(-4, keepdim=True)
        patches = self.patches(frames.flatten(0, -4))
        features = patches.flatten(1) if self.pooling == "flatten" else patches.mean((-2, -1))
        return features.unflatten(0, frames.shape[:-3])


def _with_imagenet_weights(spec: BackboneSpec) -> nn.Module:
    try:
        return spec.build(weights=spec.imagenet)
    except (OSError, RuntimeError) as error:  # no network, no such file there, half a file
        told = cannot_download("backbone weights", str(spec.imagenet), error)
        raise CheckpointError(f"{told} as `weights`, or `none` for random ones") from error
