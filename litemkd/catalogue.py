"""What can be chosen by name: backbones and heads.

A backbone is one of the table, or any classification network of torchvision (`torchvision:NAME`) or of timm
(`timm:NAME`). Plain data and lists of names: the names of the table are checked without loading torch, those of
a library load it.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class BackboneSpec:
    """A backbone: C, the channels of its last map, and the name of its torchvision weights."""

    channels: int
    imagenet: str | None


# The names without a library before them: `conv4` is ours, the others are torchvision's, with these weights.
BACKBONES: Mapping[str, BackboneSpec] = {
    "conv4": BackboneSpec(32, None),
    "resnet18": BackboneSpec(512, "ResNet18_Weights.IMAGENET1K_V1"),
    "resnet34": BackboneSpec(512, "ResNet34_Weights.IMAGENET1K_V1"),
    "resnet50": BackboneSpec(2048, "ResNet50_Weights.IMAGENET1K_V1"),
    "mobilenet_v3_small": BackboneSpec(576, "MobileNet_V3_Small_Weights.IMAGENET1K_V1"),
    "mobilenet_v3_large": BackboneSpec(960, "MobileNet_V3_Large_Weights.IMAGENET1K_V2"),
    "efficientnet_b0": BackboneSpec(1280, "EfficientNet_B0_Weights.IMAGENET1K_V1"),
}
OWN = ("conv4",)
TORCHVISION, TIMM = "torchvision", "timm"  # the libraries, as they stand before a colon

# The settings that each head takes beside D and T: key of the configuration -> argument.
_TUPLES = {"width": "width", "tuples": "tuple_sizes", "dropout": "dropout"}
HEAD_SETTINGS: Mapping[str, Mapping[str, str]] = {
    "trx": _TUPLES,
    "strm": _TUPLES,
    "otam": {"smoothing": "smoothing"},
    "bimhm": {"support": "support", "eps": "eps"},
    "prototype": {"distance": "distance", "scale": "scale"},
}


def library_of(name: str) -> tuple[str, str]:
    """The library of a backbone and its name there: `timm:vit_tiny` -> (`timm`, `vit_tiny`); `` for our own."""
    library, colon, rest = name.partition(":")
    if colon:
        return library, rest
    return ("" if name in OWN else TORCHVISION), name


def canonical(name: str) -> str:
    """The one name of a backbone: `torchvision:resnet18` is `resnet18`, which older models call it."""
    library, rest = library_of(name)
    return rest if library == TORCHVISION and rest in BACKBONES else name


def is_backbone(name: str) -> bool:
    """Whether a backbone has this name."""
    if name in BACKBONES:
        return True
    library, rest = name.partition(":")[::2]
    if library == TORCHVISION:
        return rest in _names(TORCHVISION)
    if library == TIMM:
        return rest in _names(TIMM) or ("." in rest and _timm_has(rest))
    return False


def near_backbones(name: str) -> Sequence[str]:
    """The backbones whose names are nearest to one that there is not; none when nothing is near."""
    library, colon, rest = name.partition(":")
    if colon:
        libraries = [library] if library in (TORCHVISION, TIMM) else [TORCHVISION, TIMM]
        near = {each: difflib.get_close_matches(rest, _names(each), n=3, cutoff=0.5) for each in libraries}
        return [f"{each}:{found}" for each in libraries for found in near[each]]
    exact = [f"{each}:{name}" for each in (TORCHVISION, TIMM) if name in _names(each)]
    if exact:
        return exact
    near_ours = difflib.get_close_matches(name, BACKBONES, n=1, cutoff=0.7)
    return near_ours or near_backbones(f":{name}")


def has_published_weights(name: str) -> bool:
    """Whether weights can be downloaded for a backbone."""
    if name in BACKBONES:
        return BACKBONES[name].imagenet is not None
    library, rest = library_of(name)
    if library == TIMM:
        from timm.models import get_pretrained_cfg

        found = get_pretrained_cfg(rest)
        return found is not None and bool(found.has_weights)
    from torchvision.models import get_model_weights

    return len(get_model_weights(rest)) > 0


def _names(library: str) -> Collection[str]:
    """All names of a library's classification networks."""
    if library == TIMM:
        from timm import list_models as of_timm  # takes seconds

        return of_timm()
    import torchvision.models as tv

    return tv.list_models(module=tv)


def _timm_has(name: str) -> bool:
    """Whether timm has a network with these weights, `name.weights`."""
    from timm import list_pretrained

    return name in list_pretrained()
