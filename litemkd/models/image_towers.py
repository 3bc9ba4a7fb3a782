"""Image towers of transformers and open_clip as experts: one feature of each frame, by the tower's own pooling.

CLIP (Radford et al., ICML 2021), SigLIP (Zhai et al., ICCV 2023), DINOv2 (Oquab et al., TMLR 2024) and DINOv3
(Siméoni et al., 2025). The networks are the libraries'; of CLIP and SigLIP a frame's feature is the one that is
compared with texts, of DINO the class token.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor, nn

from litemkd.extending import About
from litemkd.models.experts import Expert
from litemkd.models.networks import HALF, RealNumbers
from litemkd.models.open_clip_models import (
    LIBRARY,
    built,
    check_model,
    feature_width,
    load_into,
    preprocessing,
    weights_file,
)
from litemkd.models.video_encoders import CLIP, NONE, VideoEncoder, resized


class ImageTower(VideoEncoder):
    """An image tower of transformers: all frames go in, each on its own. Arguments as of `VideoEncoder`."""

    def _seen(self) -> int:
        return self.frames

    def _slices(self, clips: Tensor) -> Tensor:
        """(V, T, 3, h, h) normalised -> (V, T, 1, D)."""
        return self._pooled(clips.flatten(0, 1)).unflatten(0, clips.shape[:2])[:, :, None]

    def _pooled(self, frames: Tensor) -> Tensor:
        """(N, 3, h, h) normalised -> (N, D)."""
        found: Tensor = self._run(frames).pooler_output
        return found

    def _run(self, frames: Tensor) -> Any:
        """What the library's network says of frames."""
        return self.network(frames)

    @property
    def blocks(self) -> list[nn.Module]:
        """The layers of the transformer, in the order of their work."""
        count = int(self.config.num_hidden_layers)
        lists = (one for one in self.network.modules() if isinstance(one, nn.ModuleList) and len(one) == count)
        return list(next(lists, ()))


class _Positioned(ImageTower):
    """One that knows as many places as its pictures had in training; for others they are interpolated."""

    def _run(self, frames: Tensor) -> Any:
        other = frames.shape[-1] != self.config.image_size
        return self.network(frames, interpolate_pos_encoding=other)


class ClipVision(_Positioned):
    """CLIP's image tower with its projection: features in the space of texts."""

    family, published = "clip_vision_model", CLIP

    @property
    def feature_width(self) -> int:
        """D: the projection's."""
        return int(self.config.projection_dim)

    @staticmethod
    def _library() -> tuple[Any, Any]:
        from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

        return CLIPVisionConfig, CLIPVisionModelWithProjection

    def _whole(self) -> str:
        return "clip"

    def _part(self, whole: Mapping[str, Any]) -> Mapping[str, Any]:
        return {**whole["vision_config"], "projection_dim": whole.get("projection_dim", 512)}

    def _pooled(self, frames: Tensor) -> Tensor:
        found: Tensor = self._run(frames).image_embeds
        return found


class SiglipVision(_Positioned):
    """SigLIP's image tower, whose attention pools a frame's places: features in the space of texts."""

    family, published = "siglip_vision_model", HALF

    @staticmethod
    def _library() -> tuple[Any, Any]:
        from transformers import SiglipVisionConfig, SiglipVisionModel

        return SiglipVisionConfig, SiglipVisionModel

    def _whole(self) -> str:
        return "siglip"


class DINOv2(ImageTower):
    """Learned from pictures alone."""

    family = "dinov2"

    @staticmethod
    def _library() -> tuple[Any, Any]:
        from transformers import Dinov2Config, Dinov2Model

        return Dinov2Config, Dinov2Model


class DINOv2Registers(ImageTower):
    """DINOv2 with tokens that take what is of no place (Darcet et al., ICLR 2024)."""

    family = "dinov2_with_registers"

    @staticmethod
    def _library() -> tuple[Any, Any]:
        from transformers import Dinov2WithRegistersConfig, Dinov2WithRegistersModel

        return Dinov2WithRegistersConfig, Dinov2WithRegistersModel


class DINOv3(ImageTower):
    """DINOv3's vision transformer, with registers, which knows places by rotation."""

    family = "dinov3_vit"

    @staticmethod
    def _library() -> tuple[Any, Any]:
        from transformers import DINOv3ViTConfig, DINOv3ViTModel

        return DINOv3ViTConfig, DINOv3ViTModel


TOWERS: Mapping[str, type[ImageTower]] = {
    "clip": ClipVision,
    "siglip": SiglipVision,
    "dinov2": DINOv2,
    "dinov2_with_registers": DINOv2Registers,
    "dinov3": DINOv3,
}


class OpenClipTower(Expert):
    """The image tower of a model of open_clip: features in the space of its texts.

    Args:
        frames: T of the clips.
        weights: `none` (random), a file of open_clip's weights, or a folder with one and its configuration.
        architecture: JSON of side, mean, std and interpolation, as saved models have it, which need no file.

    Raises:
        BackboneError: no such file, or one of another model.
    """

    model: ClassVar[str]  # its name in open_clip

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        *,
        frames: int,
        weights: Annotated[str, About("`none`, or a file or folder of open_clip")] = NONE,
        architecture: Annotated[str, About("JSON, in saved models")] = "",
    ) -> None:
        super().__init__()
        check_model(self.model)
        self.weights, path = weights, None if weights == NONE else Path(weights)
        if path is not None:
            weights_file(path)
        device = torch.get_default_device()
        with RealNumbers():
            self.network = built(self.model, device).visual
        self.network.float()
        self.width = feature_width(self.model)
        self.told = json.loads(architecture) if architecture else self._told(path)
        for name in ("mean", "std"):
            self.register_buffer(name, torch.tensor(self.told[name]).view(3, 1, 1), persistent=False)

    def _told(self, path: Path | None) -> dict[str, Any]:
        size: Any = self.network.image_size
        return {
            "side": int(size[0] if isinstance(size, tuple | list) else size),
            **preprocessing(self.model, path),
        }

    def features(self, clips: Tensor) -> Tensor:
        """(V, T, 3, H, W) frames in [0, 1] -> (V, T, D)."""
        found: Tensor = self.network(self.normalised(clips).flatten(0, 1))
        return found.unflatten(0, clips.shape[:2])

    def normalised(self, clips: Tensor) -> Tensor:
        """(V, T, 3, H, W) frames in [0, 1] as the network wants to see them, (V, T, 3, h, h)."""
        return (resized(clips, self.told["side"], self.told["bicubic"]) - self.mean) / self.std

    def load(self) -> None:
        """Read the weights, where some are given; errors as of the class."""
        if self.weights != NONE:
            whole = built(self.model)
            load_into(whole, weights_file(Path(self.weights)))
            self.network = whole.visual.float()

    @property
    def blocks(self) -> list[nn.Module]:
        """The layers of a vision transformer, in the order of their work; none of other networks."""
        trunk = getattr(self.network, "trunk", None)
        found: Any = getattr(
            getattr(self.network, "transformer", None), "resblocks", getattr(trunk, "blocks", ())
        )
        return list(found)

    def described(self) -> dict[str, Any]:
        """Settings by which it is made again without the file."""
        return {"weights": NONE, "architecture": json.dumps(self.told, sort_keys=True)}

    def extra_repr(self) -> str:
        """All that decides its features beside its weights: kept ones are known by it."""
        return f"{self.model}, {json.dumps(self.told, sort_keys=True)}"


@cache
def open_clip_tower(name: str) -> type[OpenClipTower]:
    """The expert that `open_clip:NAME` is.

    Raises:
        ValueError: no such model; the nearest names.
    """
    try:
        check_model(name)
    except Exception as error:
        raise ValueError(getattr(error, "would", str(error))) from error
    return type("OpenClipTower", (OpenClipTower,), {"model": name, "__module__": __name__, "__doc__": LIBRARY})
