"""Models of open_clip by their names there, with the weights of a file or folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from litemkd.errors import BackboneError, first_line
from litemkd.extending.outside import near

LIBRARY = "open_clip"
# A folder as open_clip's `push_to_hf_hub` and `save_for_hf` write it.
CONFIG, WEIGHTS = "open_clip_config.json", ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")


def check_model(name: str) -> None:
    """Whether open_clip has a model of that name.

    Raises:
        BackboneError: it has none; the nearest names.
    """
    import open_clip

    if name not in (known := open_clip.list_models()):
        raise BackboneError("use", f"{LIBRARY}:{name}", f"no such model of open_clip; {near(name, known)}")


def feature_width(name: str) -> int:
    """The width of its features, of images and texts alike."""
    import open_clip

    return int(open_clip.get_model_config(name)["embed_dim"])


def built(name: str, device: torch.device | None = None) -> Any:
    """The whole model with random weights, on a device: the default one if not given."""
    import open_clip

    device = device or torch.get_default_device()
    return open_clip.create_model(name, load_weights=False, pretrained_text=False, device=device)


def weights_file(path: Path) -> Path:
    """The file of weights: itself, or the one in a folder.

    Raises:
        BackboneError: there is none.
    """
    found = next((path / one for one in WEIGHTS if (path / one).is_file()), path)
    if not found.is_file():
        raise wrong(path, f"no {WEIGHTS[0]} there" if path.is_dir() else "no such file")
    return found


def load_into(model: nn.Module, path: Path) -> None:
    """Read a file's weights into a whole model; code in it is not run.

    Raises:
        BackboneError: it is damaged, or of another model.
    """
    from open_clip.factory import load_checkpoint

    try:
        load_checkpoint(model, str(path))
    except Exception as error:  # the library's own kinds, and those of the libraries below it
        raise wrong(path, f"it cannot be read ({first_line(error)})") from error


def preprocessing(name: str, path: Path | None) -> dict[str, Any]:
    """Mean, std and interpolation that weights want: as a folder says, else as the published ones of that name.

    Those of a name that has been published with several are OpenAI's.
    """
    import open_clip
    from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD

    tags = open_clip.list_pretrained_tags_by_model(name)
    published = [open_clip.get_pretrained_cfg(name, tag) for tag in tags]
    told: Mapping[str, Any] = (
        published[0] if published and all(_same(published[0], one) for one in published) else {}
    )
    if path is not None and path.is_dir() and (path / CONFIG).is_file():
        try:
            told = json.loads((path / CONFIG).read_text(encoding="utf-8"))["preprocess_cfg"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise wrong(path, f"its {CONFIG} cannot be read ({error})") from error
    return {
        "mean": list(told.get("mean", OPENAI_DATASET_MEAN)),
        "std": list(told.get("std", OPENAI_DATASET_STD)),
        "bicubic": told.get("interpolation", "bicubic") == "bicubic",
    }


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return all(one.get(key) == other.get(key) for key in ("mean", "std", "interpolation"))


def wrong(path: Path, words: str) -> BackboneError:
    """What is wrong with weights, and what would do."""
    would = "a file of open_clip's weights (.safetensors, or a state dict), or a folder with one, would do"
    return BackboneError("weights", str(path), f"{words}; {would}")
