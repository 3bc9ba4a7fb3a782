"""Per-frame image backbones, those of `litemkd.models.catalogue`.

A backbone is the part of a network of torchvision or timm that ends in its last map. It is pooled to 4 x 4 by
adaptive maximum and the 16 places are averaged, which gives one feature of C numbers a frame, as Lite-MKD
does. Averaging forgets where things are; small networks that start from random weights do much better when the
16 places are kept (`pooling="flatten"`). TRX's own code takes the mean of the whole map instead
(`pooling="average"`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from litemkd.errors import BackboneError, EpisodeError
from litemkd.models.catalogue import BACKBONES, TIMM, canonical, source_of
from litemkd.models.cutting import NoMapError, map_channels, map_shape
from litemkd.models.networks import build_network, published_normalisation
from litemkd.models.temporal import TEMPORAL, NoBlocksError, frame_differences, insert_shifts

POOLED = 4  # side of the pooled map
PLACES = POOLED**2


# (mean, std) of the channels of frames in [0, 1]; None: what the backbone's published weights want to see.
NORMALISATION: dict[str, tuple[tuple[float, float, float], tuple[float, float, float]] | None] = {
    "imagenet": None,
    "centred": ((0.5, 0.5, 0.5), (0.25, 0.25, 0.25)),
    "none": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    # What differs from the clip's mean frame: stills the background, keeps what moves. For random weights.
    "motion": ((0.0, 0.0, 0.0), (0.25, 0.25, 0.25)),
}


class Backbone(nn.Module):
    """A backbone from normalised frames to one feature a frame.

    Args:
        name: of a backbone, see `litemkd.models.catalogue`; or `module:Class` of one of a user's own, a module
            from normalised frames (N, 3, H, W) to a map (N, C, h, w), with C as `out_channels` or found out.
        weights: `none` (random), `imagenet` (the published ones, downloaded once), `package` (those that a
            Python package ships, see `litemkd.models.catalogue.SHIPPED`), or the path of a state dict, with or
            without the classifier, or of a folder with one as Hugging Face lays it out.
        pooling: of the 4 x 4 places: `mean` (C features a frame), `flatten` (16 C features), or `places`, which
            leaves them as they are (16 times C features) for heads that look at them; or `average` of the
            whole map (C features); or `token`, the class token of a transformer (C features).
        normalise: a key of `NORMALISATION`, applied to frames in [0, 1] inside the model, so that whoever loads
            the model cannot forget it.
        side: of the frames that it will get, in pixels, to be tried; not tried when not given.
        settings: of a class of a user's own.
        temporal: a key of `litemkd.models.temporal.TEMPORAL`; all but `none` look at whole clips.
        frames: T of clips, for a `temporal` that shifts channels.

    Raises:
        BackboneError: a network that makes no map of frames, or not of this side, or one of a single place
            where places are kept; no published weights, no class token, no place to shift channels.
        CheckpointError: a weights file that is missing or of another architecture, or cannot be downloaded.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        name: str,
        *,
        weights: str = "none",
        normalise: str = "imagenet",
        pooling: str = "mean",
        side: int | None = None,
        settings: Mapping[str, Any] | None = None,
        temporal: str = "none",
        frames: int | None = None,
    ) -> None:
        super().__init__()
        name = canonical(name)
        self.pooling = pooling
        self.motion = normalise == "motion"
        self.temporal = temporal
        self.differences, ways = TEMPORAL[temporal]
        self.features = build_network(name, weights, settings, token=pooling == "token")
        self.out_channels = _checked_channels(name, self.features, side)  # C
        if side is not None and pooling in ("places", "flatten"):
            _check_places(name, self.features, side)
        self.frames = frames if ways else None
        if ways:
            if frames is None:
                raise ValueError(f"temporal = {temporal!r} without frames, the T of clips")
            try:
                insert_shifts(self.features, frames, ways)
            except NoBlocksError as error:
                raise BackboneError("temporal", temporal, f"{name}: {error}; difference would do") from error
        self.channels = self.out_channels * (PLACES if pooling == "flatten" else 1)
        self.pool = nn.AdaptiveMaxPool2d(POOLED)
        mean, std = NORMALISATION[normalise] or published_normalisation(name, weights)
        # A later timm may have other weights by the same name, that want another normalisation: it is saved.
        saved = source_of(name)[0] == TIMM
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=saved)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=saved)
        for layer in self.features.modules():
            if isinstance(layer, nn.Hardswish):
                layer.inplace = False  # in place it copies its input first, which the way back needs
        self.to(memory_format=torch.channels_last)

    @property
    def any_length(self) -> bool:
        """Whether it takes clips of any number of frames."""
        return self.frames is None

    @property
    def single_frames(self) -> bool:
        """Whether the features of a frame depend on that frame alone, so that frames can be encoded one by one.

        They do not where channels are shifted in time or weighed by their change, where differences of frames
        stand in their place, and where the clip's mean is taken away (`normalise: motion`).
        """
        return self.any_length and not self.differences and not self.motion

    @property
    def shape(self) -> tuple[int, ...]:
        """Axes of the features of one frame: (C,), or (16, C) where places are left as they are."""
        return (PLACES, self.channels) if self.pooling == "places" else (self.channels,)

    def maps(self, frames: Tensor, through: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """(N, 3, H, W) frames -> (N, C, h, w), the last map; `through` runs the layers another way."""
        x = (frames - self.mean).div_(self.std).contiguous(memory_format=torch.channels_last)
        return self.features(x) if through is None else through(x)

    def _pooled(self, maps: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C, 4, 4); in torch's deterministic mode by operations that are."""
        if torch.are_deterministic_algorithms_enabled():
            return windows_maximum(maps, POOLED)
        return self.pool(maps)

    def forward(self, frames: Tensor, through: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """(..., T, 3, H, W) frames in [0, 1] -> (..., T, C) features; (..., T, 16 C) or (..., T, 16, C), see
        `pooling`. `through` is what runs `features`, for `litemkd.models.passes`.

        Raises:
            EpisodeError: frames of another form.
        """
        if frames.ndim < 4 or frames.shape[-3] != 3 or not frames.is_floating_point():
            raise EpisodeError(
                f"frames: shape {tuple(frames.shape)} of {frames.dtype} given; (…, T, 3, H, W) of "
                "floating-point numbers from 0 to 1 would do"
            )
        if self.frames not in (None, frames.shape[-4]):
            raise EpisodeError(
                f"frames: clips of {frames.shape[-4]} given; {self.frames}, for which channels are shifted in "
                "time, would do"
            )
        if self.differences:
            frames = frame_differences(frames)
        if self.motion:
            frames = frames - frames.mean(-4, keepdim=True)
        images = frames.flatten(0, -4)
        places = self.maps(images, through)
        if self.pooling not in ("average", "token"):
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


def _checked_channels(name: str, features: nn.Module, side: int | None) -> int:
    """C of a backbone's map. Those of the table are known; the others are tried."""
    if name in BACKBONES:
        return BACKBONES[name].channels
    try:
        channels = map_channels(features)
    except NoMapError as error:
        raise BackboneError("name", name, f"it {error}; another backbone would do") from error
    told: Any = getattr(features, "out_channels", channels)
    if told != channels:
        raise BackboneError(
            "name", name, f"its map has {channels} channels; out_channels = {told} says otherwise"
        )
    if side is None:
        return channels
    try:
        found = map_channels(features, side)
    except NoMapError as error:
        raise BackboneError(
            "crop", str(side), f"{name} {error}; another crop, or backbone, would do"
        ) from error
    if found != channels:
        words = (
            f"its map has {found} channels of frames of {side} pixels, {channels} of others; another would do"
        )
        raise BackboneError("name", name, words)
    return channels


def _check_places(name: str, features: nn.Module, side: int) -> None:
    """Refuse a map of one place, whose copies would be taken for 16."""
    if map_shape(features, side)[1:] == (1, 1):
        would = (
            f"{name} makes a map of 1 x 1 of it, of which no places can be kept; a larger crop, another "
            "backbone, or `mean` as pooling and a head that does without places would do"
        )
        raise BackboneError("crop", str(side), would)
