"""Text towers of CLIP by the libraries that have them: texts in, features in the space of its images out."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from litemkd.errors import BackboneError, first_line
from litemkd.models.open_clip_models import LIBRARY as OPEN_CLIP
from litemkd.models.open_clip_models import (
    built,
    check_model,
    feature_width,
    load_into,
    weights_file,
    wrong,
)
from litemkd.storage.weights import digest_of_files

TRANSFORMERS = "transformers"
EXTRA = "towers"
AT_ONCE = 64  # texts


class TextTower(ABC):
    """A text tower whose files are there; its network is loaded when features are asked for.

    Attributes:
        width: D, of its features.
        files: all that its features depend on.
    """

    width: int
    files: list[Path]

    @abstractmethod
    def features(self, texts: Sequence[str], device: torch.device) -> Tensor:
        """(N, D) of N texts, as the library gives them: in the space of images, not of length 1.

        Raises:
            BackboneError: files that cannot be read, or of another network.
        """

    def identity(self) -> str:
        """A digest of its files."""
        return digest_of_files(self.files)


class ClipText(TextTower):
    """CLIP by transformers, in a folder as `save_pretrained` of model and tokenizer writes it."""

    def __init__(self, model: str, weights: Path) -> None:
        self.folder = weights
        self.files = sorted(
            path for path in weights.glob("*") if path.suffix in (".json", ".txt", ".safetensors")
        )
        names = {path.name for path in self.files}
        for needed in ("config.json", "model.safetensors"):
            if needed not in names:
                raise self._wrong(f"no {needed} there")
        if not names & {"tokenizer.json", "vocab.json"}:
            raise self._wrong("no tokenizer there (tokenizer.json)")
        try:
            told = json.loads((weights / "config.json").read_text(encoding="utf-8"))
            self.whole = {"clip": True, "clip_text_model": False}[told.get("model_type")]
            self.width = int(told.get("projection_dim", 512))
        except (OSError, ValueError, AttributeError, TypeError) as error:
            raise self._wrong(f"its config.json cannot be read ({error})") from error
        except KeyError:
            raise self._wrong(f"its config.json is of {told.get('model_type')}") from None

    def _wrong(self, words: str) -> BackboneError:
        would = "a folder of CLIP, as save_pretrained of transformers writes model and tokenizer, would do"
        return BackboneError("weights", str(self.folder), f"{words}; {would}")

    def features(self, texts: Sequence[str], device: torch.device) -> Tensor:
        """As above."""
        from transformers import CLIPModel, CLIPTextModelWithProjection, CLIPTokenizer

        reading: dict[str, Any] = {"local_files_only": True, "use_safetensors": True}
        try:
            tokenizer = CLIPTokenizer.from_pretrained(self.folder, local_files_only=True)
            network, told = (CLIPModel if self.whole else CLIPTextModelWithProjection).from_pretrained(
                self.folder, output_loading_info=True, **reading
            )
        except Exception as error:  # the library's own kinds, and those of the libraries below it
            raise self._wrong(f"it cannot be read ({first_line(error)})") from error
        lacking = sorted(str(key) for key in told["missing_keys"] if "text" in str(key))
        if lacking:
            raise self._wrong(f"{len(lacking)} weights are not in it, {lacking[0]} the first")
        network = network.float().eval().to(device)
        config = getattr(network.config, "text_config", network.config)
        given = {"padding": True, "truncation": True, "max_length": config.max_position_embeddings}

        def part(some: list[str]) -> Tensor:
            tokens = tokenizer(some, return_tensors="pt", **given).to(device)
            if not self.whole:
                return network(**tokens).text_embeds
            found = network.get_text_features(**tokens)
            return found if isinstance(found, Tensor) else found.pooler_output

        return _in_parts(part, texts)


class OpenClipText(TextTower):
    """A model of open_clip by its name there, with a file of its weights, or a folder."""

    def __init__(self, model: str, weights: Path) -> None:
        check_model(model)
        self.model, self.files = model, [weights_file(weights)]
        self.width = feature_width(model)

    def features(self, texts: Sequence[str], device: torch.device) -> Tensor:
        """As above."""
        import open_clip

        network = built(self.model)
        load_into(network, self.files[0])
        try:
            tokenizer = open_clip.get_tokenizer(self.model)
        except Exception as error:  # those of some models are fetched
            raise wrong(self.files[0], f"its tokenizer cannot be read ({first_line(error)})") from error
        network = network.float().eval().to(device)
        return _in_parts(lambda some: network.encode_text(tokenizer(some).to(device)), texts)


def _in_parts(made: Any, texts: Sequence[str]) -> Tensor:
    with torch.inference_mode():
        parts = [made(list(texts[start : start + AT_ONCE])) for start in range(0, len(texts), AT_ONCE)]
        return torch.cat(parts).float().cpu()


def check_tower(use: str) -> None:
    """Whether `use` may name a text tower: `transformers:clip`, or `open_clip:NAME`.

    Raises:
        ValueError: what is wrong with it, and what would do.
    """
    library, _, name = use.partition(":")
    if library not in TOWERS or not name:
        raise ValueError("transformers:clip, or open_clip:NAME such as open_clip:ViT-B-16, would do")
    if library == TRANSFORMERS and name != "clip":
        raise ValueError("transformers:clip would do; other models by open_clip:NAME")
    if find_spec(library) is None:
        raise ValueError(
            f"it is of the package {library}, which is not installed: pip install 'litemkd[{EXTRA}]'"
        )


TOWERS: Mapping[str, type[ClipText | OpenClipText]] = {TRANSFORMERS: ClipText, OPEN_CLIP: OpenClipText}


def text_tower(use: str, weights: Path) -> TextTower:
    """The text tower that `use` names, with the weights of a folder or file.

    Raises:
        BackboneError: what is wrong with `use` or `weights`.
    """
    library, _, name = use.partition(":")
    return TOWERS[library](name, weights)


def prompt_features(
    tower: TextTower, templates: Sequence[str], words: Sequence[str], device: torch.device
) -> Tensor:
    """(N, D) of N words, each in all templates: the mean direction of its texts, with their mean length.

    With one template that is the library's own feature of the text.

    Args:
        tower: of CLIP.
        templates: with `{}` where the words go.
        words: of each class.
        device: to compute on.
    """
    texts = [template.replace("{}", one) for one in words for template in templates]
    features = tower.features(texts, device).unflatten(0, (len(words), len(templates)))
    if len(templates) == 1:
        return features[:, 0]
    length = features.norm(dim=-1, keepdim=True)
    direction = torch.nn.functional.normalize((features / length).mean(1), dim=-1)
    return direction * length.mean(1)
