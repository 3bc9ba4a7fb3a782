"""What can be chosen by name: backbones and heads. Adding a torchvision backbone is one line here.

Plain data, so that the configuration can check names without loading torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class BackboneSpec:
    """A backbone: C, the channels of its last map, and the name of its torchvision weights."""

    channels: int
    imagenet: str | None


# By torchvision's names, of models whose last two children are the pooling and the classifier; `conv4` is ours.
BACKBONES: Mapping[str, BackboneSpec] = {
    "conv4": BackboneSpec(32, None),
    "resnet18": BackboneSpec(512, "ResNet18_Weights.IMAGENET1K_V1"),
    "resnet34": BackboneSpec(512, "ResNet34_Weights.IMAGENET1K_V1"),
    "resnet50": BackboneSpec(2048, "ResNet50_Weights.IMAGENET1K_V1"),
    "mobilenet_v3_small": BackboneSpec(576, "MobileNet_V3_Small_Weights.IMAGENET1K_V1"),
    "mobilenet_v3_large": BackboneSpec(960, "MobileNet_V3_Large_Weights.IMAGENET1K_V2"),
    "efficientnet_b0": BackboneSpec(1280, "EfficientNet_B0_Weights.IMAGENET1K_V1"),
}

# The settings that each head takes beside D and T: key of the configuration -> argument.
_TUPLES = {"width": "width", "tuples": "tuple_sizes", "dropout": "dropout"}
HEAD_SETTINGS: Mapping[str, Mapping[str, str]] = {
    "trx": _TUPLES,
    "strm": _TUPLES,
    "otam": {"smoothing": "smoothing"},
    "bimhm": {"support": "support"},
    "prototype": {"distance": "distance", "scale": "scale"},
}
