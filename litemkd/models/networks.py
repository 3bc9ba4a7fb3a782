"""Networks by name, with the weights that were asked for, cut behind their last map: ours or a library's.

The libraries are loaded when one of their networks is built: torchvision takes two seconds, timm as long again.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from litemkd.errors import BackboneError, CheckpointError
from litemkd.extending.outside import Wanted
from litemkd.models.catalogue import BACKBONES, OWN, TIMM, TORCHVISION, has_published_weights, source_of
from litemkd.models.cutting import NoMapError, cut_timm, cut_torchvision
from litemkd.storage.weights import cannot_download, load_state_file

M = TypeVar("M", bound=nn.Module)

OWN_BACKBONE = Wanted("backbone", nn.Module, "torch.nn.Module", "litemkd.backbones", "my_networks:Small")

Normalisation = tuple[tuple[float, float, float], tuple[float, float, float]]
IMAGENET: Normalisation = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF: Normalisation = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
# Their published weights were made elsewhere; torchvision turns ImageNet's normalisation into theirs inside.
_HALF_IN_TORCHVISION = ("googlenet", "inception_v3")
# timm's networks are built for frames of any size where they have a word for that; these are the words.
_ANY_SIZE: tuple[dict[str, Any], ...] = ({"strict_img_size": False}, {"dynamic_img_size": True}, {})


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
    return nn.Sequential(nn.Sequential(*blocks))


class RealNumbers(TorchFunctionMode):
    """Tensors of given numbers have values, whatever the default device is."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func in (torch.arange, torch.linspace, torch.tensor):
            kwargs.setdefault("device", "cpu")
        return func(*args, **kwargs)


def build_network(name: str, weights: str, settings: Mapping[str, Any] | None = None) -> nn.Module:
    """A backbone's network, (N, 3, H, W) normalised frames -> (N, C, h, w).

    Args:
        name: of a backbone, see `litemkd.models.catalogue`.
        weights: as `Backbone` takes them.
        settings: of a class of a user's own, its constructor's keyword arguments.

    Raises:
        BackboneError, CheckpointError: as `Backbone`.
    """
    published = weights == "imagenet"
    if published and not has_published_weights(name):
        raise BackboneError("weights", weights, f"{name} has none, `none` or a file would do")
    whole = _downloaded(name) if published else _whole(name, False, settings or {})
    source, there = source_of(name)
    if weights not in ("none", "imagenet"):
        wanted = f"a {'litemkd' if source in (OWN, '') else source} {there} state dict"
        load_state_file(whole, Path(weights), "backbone weights", wanted, "`imagenet`, or `none`")
    cut = {TIMM: cut_timm, TORCHVISION: cut_torchvision}.get(source)
    try:
        return whole if cut is None else cut(whole)
    except NoMapError as error:
        raise BackboneError("name", name, f"it {error}; another backbone would do") from error


def made_of_own(found: type[M], name: str, settings: Mapping[str, Any], *given: Any) -> M:
    """What a class of a user's own makes.

    Raises:
        BackboneError: what it says against its settings.
    """
    try:
        return found(*given, **settings)
    except Exception as error:
        if isinstance(error, RuntimeError) and torch.get_default_device().type == "meta":
            raise
        raise BackboneError("name", name, f"it cannot be made: {type(error).__name__}: {error}") from error


def published_normalisation(name: str) -> Normalisation:
    """Mean and std of the channels, of frames in [0, 1], that a backbone's published weights want to see."""
    source, there = source_of(name)
    if source == TIMM:
        from timm.models import get_pretrained_cfg

        wanted: Any = get_pretrained_cfg(there)
        return IMAGENET if wanted is None else (wanted.mean, wanted.std)
    return HALF if there in _HALF_IN_TORCHVISION else IMAGENET


def _whole(name: str, published: bool, settings: Mapping[str, Any]) -> nn.Module:
    """A network with its classifier; on the meta device where that is the default."""
    try:
        return _built(name, published, settings)
    except RuntimeError:  # it computes widths or rates with tensors, which have no values there
        if torch.get_default_device().type != "meta":
            raise
        with RealNumbers():
            return _built(name, published, settings)


def _built(name: str, published: bool, settings: Mapping[str, Any]) -> nn.Module:
    source, there = source_of(name)
    if source == OWN:
        return conv4()
    if not source:
        return made_of_own(OWN_BACKBONE.find(name), name, settings)
    if source == TIMM:
        return _built_by_timm(there, published)
    from torchvision.models import get_model

    if there in _HALF_IN_TORCHVISION and not published:
        return get_model(there, weights=None, init_weights=True)  # which they warn about when it is not said
    return get_model(there, weights=_published_weights(name) if published else None)


def _built_by_timm(name: str, published: bool) -> nn.Module:
    from timm import create_model

    for words in _ANY_SIZE:
        try:
            return create_model(name, pretrained=published, **words)
        except TypeError:  # it does not know this word
            if not words:
                raise
    raise AssertionError("the last try has no words")


def _published_weights(name: str) -> str:
    """The name in torchvision of a backbone's weights: those of the table, or what torchvision thinks best."""
    if name in BACKBONES:
        return str(BACKBONES[name].imagenet)
    from torchvision.models import get_model_weights

    return str(get_model_weights(source_of(name)[1]).DEFAULT)


def _downloaded(name: str) -> nn.Module:
    try:
        return _whole(name, True, {})
    except Exception as error:  # no network, no such file there, half a file; each library tells it its own way
        if source_of(name)[0] == TIMM:
            told = (
                f"backbone weights {name}: cannot be downloaded ({_first_line(error)}). timm fetches them once "
                "and keeps them in its folder: give the path of a timm state dict"
            )
        elif isinstance(error, (OSError, RuntimeError)):
            told = cannot_download("backbone weights", _published_weights(name), error)
        else:
            raise
        raise CheckpointError(f"{told} as `weights`, or `none` for random ones") from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
