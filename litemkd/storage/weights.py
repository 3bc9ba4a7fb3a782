"""Weights that others made: read from a file without running code that it may hold, or downloaded on request.

What weights are is told by a short text, `identity`, that is noted beside everything made with them: the digest
of a file, or the published name.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from litemkd.errors import CheckpointError, ConfigError

DOWNLOAD, RANDOM = "download", "random"
_IN_FOLDERS = ("model.safetensors", "pytorch_model.bin")


@dataclass(frozen=True)
class Weights:
    """The weights a user chose for a network.

    Attributes:
        method: the network, as `data.weights` names it.
        choice: `download`, `random`, or a file or folder.
        published: the name of what `download` brings.
    """

    method: str
    choice: str
    published: str

    @property
    def key(self) -> str:
        """Where they are set."""
        return f"data.weights.{self.method}"

    @property
    def random(self) -> bool:
        """Whether nothing learned is in them: for checks of the software only."""
        return self.choice == RANDOM

    def identity(self) -> str:
        """What these weights are, without reading them into a network.

        Raises:
            CheckpointError: no such file.
        """
        if self.random:
            return "random, for checks only"
        if self.choice == DOWNLOAD:
            return self.published
        path = Path(self.choice)
        if not path.is_file():
            raise CheckpointError(
                f"{self.key}: {path}: no such file; the path of a torchvision state dict, or `download` to "
                f"fetch {self.published} once, would do"
            )
        return f"sha256:{digest_of_files([path])}"

    def into(self, build: Callable[..., nn.Module], seed: int = 0) -> nn.Module:
        """A torchvision network with these weights, in eval mode; random ones are the same in every process.

        Args:
            build: torchvision's function, called with `weights=`.
            seed: of random weights.

        Raises:
            CheckpointError: a file that is missing, damaged, or of another network; a download that fails.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = self._downloaded(build) if self.choice == DOWNLOAD else build(weights=None)
        if self.choice not in (DOWNLOAD, RANDOM):
            load_state_file(
                network,
                Path(self.choice),
                self.key,
                f"a torchvision state dict of this network ({self.published})",
                "`download`",
            )
        return network.eval()

    def _downloaded(self, build: Callable[..., nn.Module]) -> nn.Module:
        from torchvision.models import get_weight

        try:
            return build(weights=get_weight(self.published))
        except (OSError, RuntimeError) as error:
            raise CheckpointError(cannot_download(self.key, self.published, error)) from error


def weights_for(method: str, given: str | None, published: str) -> Weights:
    """The weights of a network.

    Raises:
        ConfigError: none were given: nothing is downloaded unasked.
    """
    if not given:
        raise ConfigError(
            [
                f"data.weights.{method}: not given, and {method} needs weights; `download` (fetches "
                f"{published} once), the path of a copy, or `random` (to check that everything runs, not for "
                "results) would do"
            ]
        )
    return Weights(method, given, published)


def digest_of_files(paths: list[Path]) -> str:
    """The first 16 digits of the sha256 of files' contents, one after the other."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while piece := file.read(1 << 20):
                digest.update(piece)
    return digest.hexdigest()[:16]


def load_state_file(model: nn.Module, path: Path, key: str, wanted: str, otherwise: str) -> None:
    """Load a state dict from a file into a model. Pickled code in the file is refused, not run.

    Args:
        model: takes the weights.
        path: of the file.
        key: who asks, the first word of every message.
        wanted: what the file should be.
        otherwise: what would do without a file.

    Raises:
        CheckpointError: missing, damaged, of another architecture, or holding more than tensors.
    """
    state = read_state_file(path, key, wanted, otherwise)
    try:
        model.load_state_dict(state)
    except Exception as error:
        raise unfit_file(path, key, wanted, error) from error


def read_state_file(path: Path, key: str, wanted: str, otherwise: str) -> Any:
    """What a state dict's file holds; arguments and errors are those of `load_state_file`."""
    if not path.is_file():
        raise CheckpointError(f"{key} {path}: no such file; give the path of {wanted}, or {otherwise}")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise unfit_file(path, key, wanted, error) from error


def unfit_file(path: Path, key: str, wanted: str, error: Exception) -> CheckpointError:
    """The error of a file that is not what it should be."""
    first = str(error).strip().partition("\n")[0]
    if isinstance(error, UnpicklingError):  # torch's words advise to load it all the same
        first = "it cannot be read as tensors alone: damaged, or with code in it, which is never run"
    return CheckpointError(f"{key} {path}: not {wanted} ({first})")


def file_in_folder(folder: Path, key: str) -> Path:
    """The weights in a folder as Hugging Face lays it out: `config.json` beside one file of weights.

    Raises:
        CheckpointError: there is none, or it is in several parts.
    """
    for name in _IN_FOLDERS:
        if (folder / name).is_file():
            return folder / name
    parts = sorted(folder.glob("*.index.json"))
    there = "weights in several files there" if parts else "weights there"
    raise CheckpointError(
        f"{key} {folder}: {'' if parts else 'no '}{there}; {' or '.join(_IN_FOLDERS)} would do"
    )


def config_of_folder(folder: Path, key: str) -> dict[str, Any]:
    """What `config.json` beside a file of weights says of them; nothing where there is none.

    Raises:
        CheckpointError: it is damaged.
    """
    path = folder / "config.json"
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, RecursionError, ValueError) as error:
        raise CheckpointError(f"{key} {path}: cannot be read ({error}); JSON would do") from error
    if not isinstance(found, dict):
        raise CheckpointError(f"{key} {path}: holds {type(found).__name__}; a mapping would do")
    return found


def cannot_download(key: str, name: str, error: Exception) -> str:
    """What to tell when torchvision's weights cannot be fetched."""
    from torchvision.models import get_weight

    folder = Path(torch.hub.get_dir()) / "checkpoints"
    return (
        f"{key} {name}: cannot be downloaded ({error}). They are fetched once from {get_weight(name).url} "
        f"and kept in {folder}: put the file there, or give the path of a torchvision state dict"
    )
