"""Video transformers of the `transformers` library as experts that look at whole clips.

VideoMAE (Tong et al., NeurIPS 2022), V-JEPA 2 (Assran et al., 2025), TimeSformer (Bertasius et al., ICML 2021)
and X-CLIP (Ni et al., ECCV 2022). The networks are the library's; what is done here is to bring clips into the
form that they take and their tokens into features of frames: the mean over the places of each slice of time,
interpolated in time to T.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from litemkd.errors import BackboneError
from litemkd.extending import About
from litemkd.models.experts import Expert
from litemkd.models.networks import IMAGENET, Normalisation, RealNumbers

NONE = "none"
MOST_LAYERS = 256
PREPROCESSORS = ("preprocessor_config.json", "video_preprocessor_config.json")
BICUBIC = 3  # as preprocessors name it
BYTE = 255
CLIP: Normalisation = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
GREY: Normalisation = ((0.45, 0.45, 0.45), (0.225, 0.225, 0.225))


class VideoEncoder(Expert):
    """A video transformer: clips in, features of frames out.

    Args:
        frames: T of the clips.
        weights: `none` (random), or a folder as `save_pretrained` of transformers writes it: `config.json`,
            `preprocessor_config.json` and `model.safetensors`.
        architecture: JSON of what the folder's two `.json` files say, as saved models have it, which need no
            folder.

    Raises:
        BackboneError: a folder without these files, or of another network.
    """

    family: ClassVar[str]  # `model_type` of its configuration
    published: ClassVar[Normalisation] = IMAGENET

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        *,
        frames: int,
        weights: Annotated[str, About("`none`, or a folder of the library")] = NONE,
        architecture: Annotated[str, About("JSON, in saved models")] = "",
    ) -> None:
        super().__init__()
        self.frames, self.weights = frames, weights
        self.told = self._architecture(architecture)
        self.config = self._configured(self.told["config"])
        with RealNumbers():
            self.network = self._network()
        self.network.float()
        self.width = self.feature_width
        self.seen = self._seen()
        mean, std = self.told["mean"], self.told["std"]
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)

    # What a family does in its own way

    @property
    def feature_width(self) -> int:
        """D, by its configuration."""
        return int(self.config.hidden_size)

    def _part(self, whole: Mapping[str, Any]) -> Mapping[str, Any]:
        """Its configuration in that of the larger model."""
        part: Mapping[str, Any] = whole["vision_config"]
        return part

    def _network(self) -> nn.Module:
        """The library's network of `config`, with random weights."""
        network: nn.Module = self._library()[1](self.config)
        return network

    def _read(self, folder: Path) -> tuple[nn.Module, Mapping[str, Any], str]:
        """That network with a folder's weights, what the library says of them, and where it stood in there."""
        return *self._library()[1].from_pretrained(folder, config=self.config, **_READING), ""

    def _seen(self) -> int:
        """How many frames go in."""
        return int(self.config.num_frames)

    @abstractmethod
    def _slices(self, clips: Tensor) -> Tensor:
        """(V, n, 3, h, h) normalised -> (V, slices, places, D)."""

    @staticmethod
    @abstractmethod
    def _library() -> tuple[Any, Any]:
        """The classes of configuration and network."""

    @property
    def blocks(self) -> list[nn.Module]:
        """The layers of the transformer, in the order of their work."""
        encoder: Any = getattr(self.network, "encoder", self.network)
        return list(encoder.layer if hasattr(encoder, "layer") else encoder.layers)

    # What all do

    def features(self, clips: Tensor) -> Tensor:
        """(V, T, 3, H, W) frames in [0, 1] -> (V, T, D)."""
        frames = clips.shape[1]
        rows = [int((place + 0.5) * frames / self.seen) for place in range(self.seen)]
        slices = self._slices(self.normalised(clips)[:, rows]).mean(2)
        if slices.shape[1] == frames:
            return slices
        return F.interpolate(slices.mT, frames, mode="linear", align_corners=False).mT

    def normalised(self, clips: Tensor) -> Tensor:
        """(V, T, 3, H, W) frames in [0, 1] as the network wants to see them, (V, T, 3, h, h)."""
        return (resized(clips, self.told["side"], self.told["bicubic"]) - self.mean) / self.std

    def load(self) -> None:
        """Read the folder's weights, where one is given.

        Raises:
            BackboneError: weights that are missing, damaged, or of another network.
        """
        if self.weights == NONE:
            return
        try:
            network, told, place = self._read(Path(self.weights))
        except Exception as error:  # the library's own kinds, and those of the libraries below it
            first = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise self._wrong(f"its weights cannot be read ({first})") from error
        lacking = sorted(str(key) for key in told["missing_keys"] if str(key).startswith(place))
        if lacking:
            raise self._wrong(f"{len(lacking)} weights are not in it, {lacking[0]} the first")
        self.network = network.float()

    def described(self) -> dict[str, Any]:
        """Settings by which it is made again without the folder."""
        return {"weights": NONE, "architecture": json.dumps(self.told, sort_keys=True)}

    def extra_repr(self) -> str:
        """All that decides its features beside its weights: kept ones are known by it."""
        return f"frames={self.seen}, {json.dumps(self.told, sort_keys=True)}"

    def _wrong(self, words: str) -> BackboneError:
        would = f"a folder of {self.family}, as save_pretrained of transformers writes it, or `none`, would do"
        return BackboneError("weights", self.weights, f"{words}; {would}")

    def _configured(self, values: Mapping[str, Any]) -> Any:
        kind, _ = self._library()
        try:
            config = kind(**values)
            layers = int(config.num_hidden_layers)
        except Exception as error:  # the library has its own kinds
            first = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise self._wrong(f"its configuration is none of {self.family} ({first})") from error
        if layers > MOST_LAYERS:
            raise self._wrong(f"its configuration has {layers} layers, and {MOST_LAYERS} are the most")
        return config

    def _architecture(self, text: str) -> dict[str, Any]:
        """The configuration's values, side, mean and std: told by JSON, by a folder, or the library's own."""
        kind, _ = self._library()
        usual = _plain(kind().to_dict())
        if text:
            told = json.loads(text)
            told["config"] = {key: value for key, value in told["config"].items() if key in usual}
            return told
        mean, std = self.published
        if self.weights == NONE:
            side = _side(usual.get("image_size", usual.get("crop_size")))
            return {"config": {}, "side": side, "mean": mean, "std": std, "bicubic": False}
        return self._of_folder(Path(self.weights), usual)

    def _of_folder(self, folder: Path, usual: Mapping[str, Any]) -> dict[str, Any]:
        config = self._json(folder / "config.json")
        if config.get("model_type") != self.family:
            if config.get("model_type") == self._whole() and "vision_config" in config:
                config = {**self._part(config)}
            if config.get("model_type", self.family) != self.family:
                raise self._wrong(f"its config.json is of {config.get('model_type')}")
        values = {key: value for key, value in config.items() if key in usual}
        found = next((folder / name for name in PREPROCESSORS if (folder / name).is_file()), None)
        if found is None:
            raise self._wrong(f"no {PREPROCESSORS[0]} there")
        seen = self._json(found)
        mean, std = self.published
        if not seen.get("do_normalize", True):
            mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
        side = seen.get("crop_size") if seen.get("do_center_crop", True) else seen.get("size")
        own = values.get("image_size", values.get("crop_size", usual.get("image_size", usual.get("crop_size"))))
        factor = BYTE * seen.get("rescale_factor", 1 / BYTE) if seen.get("do_rescale", True) else BYTE
        return {
            "config": values,
            "side": _side(side or own),
            "mean": [one / factor for one in seen.get("image_mean", mean)],
            "std": [one / factor for one in seen.get("image_std", std)],
            "bicubic": seen.get("resample") == BICUBIC,
        }

    def _whole(self) -> str:
        """`model_type` of a larger model that has this one in it, under `vision_config`."""
        return self.family

    def _json(self, path: Path) -> dict[str, Any]:
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise self._wrong(f"no {path.name} there") from None
        except (OSError, ValueError) as error:
            raise self._wrong(f"its {path.name} cannot be read ({error})") from error
        if not isinstance(found, dict):
            raise self._wrong(f"its {path.name} is no mapping")
        return found


def resized(clips: Tensor, side: int, bicubic: bool) -> Tensor:
    """Clips (V, T, 3, H, W) in [0, 1] of another side, as preprocessors resize square pictures."""
    if tuple(clips.shape[-2:]) == (side, side):
        return clips
    how = "bicubic" if bicubic else "bilinear"
    images = F.interpolate(clips.flatten(0, 1), (side, side), mode=how, antialias=True)
    return images.unflatten(0, clips.shape[:2]).clamp(0, 1)


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values of a configuration that say what a network is, not those by which the library finds code."""
    others = {"auto_map", "architectures", "dtype", "torch_dtype", "transformers_version", "model_type"}
    return {
        key: value for key, value in values.items() if key not in others and not key.startswith(("_", "attn"))
    }


def _side(size: Any) -> int:
    """The side in pixels, which preprocessors tell in several ways."""
    if isinstance(size, Mapping):
        size = size.get("height", size.get("shortest_edge"))
    return int(size[0] if isinstance(size, list | tuple) else size)


_READING: dict[str, Any] = {"local_files_only": True, "use_safetensors": True, "output_loading_info": True}


class VideoMAE(VideoEncoder):
    """Learned by filling in most of a clip; tokens of two frames each."""

    family = "videomae"

    @staticmethod
    def _library() -> tuple[Any, Any]:
        from transformers import VideoMAEConfig, VideoMAEModel

        return VideoMAEConfig, VideoMAEModel

    def _slices(self, clips: Tensor) -> Tensor:
        tokens: Tensor = self.network(clips).last_hidden_state
        return tokens.unflatten(1, (self.seen // int(self.config.tubelet_size), -1))


class VJEPA2(VideoEncoder):
    """Learned by predicting features of what is hidden; the encoder alone, without its predictor.

    It knows places by rotation, so it sees any number of frames: each of a clip's as often as a token spans.
    """

    family = "vjepa2"

    @staticmethod
    def _library() -> tuple[Any, Any]:
        from transformers import VJEPA2Config, VJEPA2Model

        return VJEPA2Config, VJEPA2Model

    def _network(self) -> nn.Module:
        return self._library()[1](self.config).encoder

    def _read(self, folder: Path) -> tuple[nn.Module, Mapping[str, Any], str]:
        whole, told = self._library()[1].from_pretrained(folder, config=self.config, **_READING)
        return whole.encoder, told, "encoder."

    def _seen(self) -> int:
        return self.frames * int(self.config.tubelet_size)

    def _slices(self, clips: Tensor) -> Tensor:
        tokens: Tensor = self.network(clips).last_hidden_state
        return tokens.unflatten(1, (self.frames, -1))


class TimeSformer(VideoEncoder):
    """Attention over time and over places in turns; learned from labels."""

    family, published = "timesformer", GREY

    @staticmethod
    def _library() -> tuple[Any, Any]:
        from transformers import TimesformerConfig, TimesformerModel

        return TimesformerConfig, TimesformerModel

    def _slices(self, clips: Tensor) -> Tensor:
        tokens: Tensor = self.network(clips).last_hidden_state[:, 1:]  # without the class token
        if self.config.attention_type == "space_only":
            return tokens.unflatten(0, (-1, self.seen))
        return tokens.unflatten(1, (-1, self.seen)).transpose(1, 2)


class XCLIP(VideoEncoder):
    """CLIP's vision transformer whose frames exchange messages; learned from words for clips."""

    family, published = "xclip_vision_model", CLIP

    @staticmethod
    def _library() -> tuple[Any, Any]:
        from transformers import XCLIPVisionConfig, XCLIPVisionModel

        return XCLIPVisionConfig, XCLIPVisionModel

    def _whole(self) -> str:
        return "xclip"

    def _read(self, folder: Path) -> tuple[nn.Module, Mapping[str, Any], str]:
        if self._json(folder / "config.json").get("model_type") == self.family:
            return super()._read(folder)
        from transformers import XCLIPModel

        whole, told = XCLIPModel.from_pretrained(folder, **_READING)
        return whole.vision_model, told, "vision_model."

    def _slices(self, clips: Tensor) -> Tensor:
        tokens: Tensor = self.network(clips.flatten(0, 1)).last_hidden_state[:, 1:]
        return tokens.unflatten(0, clips.shape[:2])


FAMILIES: Mapping[str, type[VideoEncoder]] = {
    "videomae": VideoMAE,
    "vjepa2": VJEPA2,
    "timesformer": TimeSformer,
    "xclip": XCLIP,
}
