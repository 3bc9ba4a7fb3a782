"""Networks of torchvision and timm without what comes after their last map.

Each library has its own ways: lists of layers, tokens of transformers, maps with the channels last. What comes
out here is always a module from (N, 3, H, W) frames to a map (N, C, h, w).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from litemkd.errors import first_line

# Sides of frames, in pixels, that a network is tried with in this order; some take but those of their training.
SIDES = (64, 224)


class NoMapError(ValueError):
    """A network that gives no map of its frames; the message says what it gives."""


class NoTokenError(ValueError):
    """A network without a class token."""


class VisionTransformerMap(nn.Module):
    """A vision transformer of torchvision: its tokens as a map, for frames of any size.

    Args:
        whole: torchvision's; its position table is stretched where there are more or fewer places.
        token: give the class token alone, as a map of one place.
    """

    def __init__(self, whole: nn.Module, *, token: bool = False) -> None:
        super().__init__()
        self.token = token
        self.class_token: Tensor = whole.class_token  # type: ignore[assignment]
        self.conv_proj, self.encoder = whole.conv_proj, whole.encoder

    def forward(self, frames: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, C, H / patch, W / patch); (N, C, 1, 1) of the token."""
        encoder: Any = self.encoder
        project: Any = self.conv_proj
        places: Tensor = project(frames)
        tokens = torch.cat([self.class_token.expand(len(frames), -1, -1), places.flatten(2).mT], 1)
        x = encoder.dropout(tokens + stretched(encoder.pos_embedding, *places.shape[-2:]))
        made: Tensor = encoder.ln(encoder.layers(x))
        return made[:, 0, :, None, None] if self.token else made[:, 1:].mT.unflatten(2, places.shape[-2:])


def stretched(table: Tensor, height: int, width: int) -> Tensor:
    """A position table (1, 1 + n n, C), the class token first, for height x width places."""
    side = math.isqrt(table.shape[1] - 1)
    if (height, width) == (side, side):
        return table
    grid = table[:, 1:].mT.unflatten(2, (side, side))
    grid = F.interpolate(grid, (height, width), mode="bicubic", align_corners=True)
    return torch.cat([table[:, :1], grid.flatten(2).mT], 1)


def cut_torchvision(whole: nn.Module, *, token: bool = False) -> nn.Module:
    """The part of a torchvision classification network that ends in its last map.

    Args:
        whole: the network.
        token: give its class token alone, as a map of one place.

    Raises:
        NoMapError: of a family that is not known here.
        NoTokenError: it has no class token.
    """
    family = type(whole).__module__.rpartition(".")[2]
    children = dict(whole.named_children())
    if family == "vision_transformer":
        return VisionTransformerMap(whole, token=token)
    if token:
        raise NoTokenError
    if family == "maxvit":
        return nn.Sequential(children["stem"], *children["blocks"].children())
    if family == "densenet":
        return nn.Sequential(children["features"], nn.ReLU())  # which its forward pass applies by itself
    if family == "swin_transformer":
        return nn.Sequential(children["features"], children["norm"], children["permute"])
    for body in ("features", "layers"):
        if body in children:
            return nn.Sequential(children[body])
    if "fc" in children:
        ends = ("avgpool", "dropout", "fc", "aux1", "aux2", "AuxLogits")
        return nn.Sequential(*(part for name, part in children.items() if name not in ends))
    raise NoMapError(f"is of torchvision's family {family}, which is not known here")


class TimmMap(nn.Module):
    """A network of timm: what it makes of frames before it pools, as a map (N, C, h, w).

    Args:
        body: timm's, without its classifier.
        token: give its class token alone, as a map of one place.

    Raises:
        NoMapError: it makes something else.
        NoTokenError: it has no class token.
    """

    def __init__(self, body: nn.Module, *, token: bool = False) -> None:
        super().__init__()
        self.token = token
        self.body = body
        self.pretrained_cfg = getattr(body, "pretrained_cfg", None)
        self.channels = int(body.num_features)  # type: ignore[arg-type]
        self.prefix = _prefix_of(body)
        device = next(body.parameters()).device

        def made_of(side: int) -> Any:
            return self._made_of(torch.zeros(1, 3, side, side, device=device))

        side = _side_of(made_of, body)
        _drop_idle(body, torch.zeros(1, 3, side, side, device=device))
        made = _tried(made_of, body, side)
        shape = tuple(made.shape) if isinstance(made, Tensor) else type(made).__name__
        self.tokens = isinstance(made, Tensor) and made.ndim == 3 and made.shape[2] == self.channels
        self.last = isinstance(made, Tensor) and made.ndim == 4 and made.shape[3] == self.channels
        first = isinstance(made, Tensor) and made.ndim == 4 and made.shape[1] == self.channels
        places = made.shape[1] - self.prefix if self.tokens else 0
        square = places > 0 and math.isqrt(places) ** 2 == places
        if not (first or self.last or square):
            raise NoMapError(
                f"makes {shape} of a frame of {side} x {side} pixels, which is no map of {self.channels} "
                "channels"
            )
        self.last = self.last and not first
        if token and not (square and getattr(body, "cls_token", None) is not None):
            raise NoTokenError

    def _made_of(self, frames: Tensor) -> Any:
        body: Any = self.body
        return body.forward_features(frames)

    def forward(self, frames: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, C, h, w); (N, C, 1, 1) of the token."""
        made: Tensor = self._made_of(frames)
        if self.token:
            return made[:, 0, :, None, None]
        if self.tokens:
            places, (height, width) = made[:, self.prefix :], frames.shape[-2:]
            rows = round(math.sqrt(places.shape[1] * height / width))
            return places.mT.unflatten(2, (rows, places.shape[1] // rows))
        return made.permute(0, 3, 1, 2) if self.last else made


def _prefix_of(body: nn.Module) -> int:
    """How many tokens of a transformer, the first ones, stand for no place; not all of timm's tell."""
    told: Any = getattr(body, "num_prefix_tokens", None)
    if told is None:
        return int(any(name.startswith("cls_token") for name, _ in body.named_parameters(recurse=False)))
    return int(told)


def cut_timm(whole: nn.Module, *, token: bool = False) -> TimmMap:
    """A timm network without its classifier; arguments and errors as of `TimmMap`."""
    body: Any = whole
    try:
        body.reset_classifier(0)
    except Exception as error:  # of nearly 1400 networks some have their own ways
        raise NoMapError(f"has a classifier that cannot be taken off ({first_line(error)})") from error
    return TimmMap(body, token=token)


def map_channels(features: nn.Module, side: int | None = None) -> int:
    """C of the map that a network makes; arguments and errors as of `map_shape`."""
    return map_shape(features, side)[0]


def map_shape(features: nn.Module, side: int | None = None) -> tuple[int, ...]:
    """(C, h, w) of the map that a network makes.

    Args:
        features: (N, 3, H, W) -> a map; left as it was found.
        side: of its frames in pixels; when not given, the first of `SIDES` that it takes.

    Raises:
        NoMapError: it takes no such frames, or makes no map of them.
    """
    device = next(features.parameters()).device

    def made(side: int) -> Tensor:
        return features(torch.zeros(2, 3, side, side, device=device))

    if side is None:
        side = _side_of(made, features)
    found = _tried(made, features, side)
    if isinstance(found, Exception):
        raise NoMapError(f"takes no frames of {side} x {side} pixels ({first_line(found)})")
    if not isinstance(found, Tensor) or found.ndim != 4 or len(found) != 2 or 0 in found.shape:
        shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise NoMapError(f"makes {shape} of 2 frames of {side} x {side} pixels; a map (2, C, h, w) would do")
    return tuple(found.shape[1:])


def _side_of(make: Any, network: nn.Module) -> int:
    """The first side that a network takes; NoMapError if it takes none."""
    own = (getattr(network, "pretrained_cfg", None) or {}).get("input_size", (0, 0, 0))[-1]
    told = ""
    for side in dict.fromkeys((*SIDES, own or SIDES[-1])):
        found = _tried(make, network, side)
        if not isinstance(found, Exception):
            return side
        told = f"takes no frames of {side} x {side} pixels ({first_line(found)})"
    raise NoMapError(told)


def _tried(make: Any, network: nn.Module, side: int) -> Any:
    """What a network in eval mode makes of frames of a side, or the error; its modes are put back."""
    modes = {part: part.training for part in network.modules()}
    network.eval()
    try:
        with torch.no_grad():
            return make(side)
    except Exception as error:  # networks tell by all kinds of errors that they do not take a size
        return error
    finally:
        for part, training in modes.items():
            part.training = training


def _drop_idle(body: nn.Module, frames: Tensor) -> None:
    """Take off the parts of a network that its map does not need: they would be stored and never trained."""
    called: set[nn.Module] = set()
    hooks = [part.register_forward_hook(lambda part, *_: called.add(part)) for part in body.modules()]
    run: Any = body
    _tried(lambda _: run.forward_features(frames), body, 0)
    for hook in hooks:
        hook.remove()
    for name, child in list(body.named_children()):
        if called.isdisjoint(child.modules()):
            setattr(body, name, nn.Identity())
            if isinstance(_tried(lambda _: run.forward_features(frames), body, 0), Exception):
                setattr(body, name, child)  # its weights are used without calling it
