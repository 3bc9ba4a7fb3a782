"""Files of weights and training state: saved whole or not at all, loaded without running code, checked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from litemkd.errors import CheckpointError
from litemkd.runtime.distributed import barrier, group
from litemkd.storage.files import write_text, write_whole

WEIGHTS, DESCRIPTION = "weights.safetensors", "model.json"
# By head: what former versions computed, whose descriptions have no key for it.
FORMER: Mapping[str, Mapping[str, Any]] = {"bimhm": {"eps": 0.01}}
BEST = "best.pt"  # of a training's checkpoints: the weights that were best on val


def save_state(path: Path, state: Mapping[str, Any]) -> None:
    """Save a training state (tensors and plain values) at `path`; of several processes the first one does."""
    if group().main:
        write_whole(path, lambda beside: torch.save(dict(state), beside))
    barrier()


def load_state(path: Path) -> dict[str, Any]:
    """A training state from `path`. CheckpointError: missing, damaged, or not a state."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such checkpoint") from None
    except Exception as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(f"{path}: damaged or not a checkpoint of litemkd ({first})") from error
    if not isinstance(state, dict):
        raise CheckpointError(f"{path}: holds a {type(state).__name__}, not a checkpoint of litemkd")
    return state


def save_model(directory: Path, model: nn.Module, description: Mapping[str, Any]) -> Path:
    """Save a model's weights (safetensors) and its description (JSON) in `directory`; returns it.

    Of several processes the first one does, and the others wait.
    """
    if group().main:
        directory.mkdir(parents=True, exist_ok=True)
        save_tensors(directory / WEIGHTS, model.state_dict())
    save_description(directory, description)
    barrier()
    return directory


def save_description(directory: Path, description: Mapping[str, Any]) -> None:
    """Save the description of a model whose weights lie, or will lie, in `directory`."""
    if group().main:
        write_text(directory / DESCRIPTION, json.dumps(dict(description), indent=2, sort_keys=True) + "\n")


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Save named tensors (safetensors) at `path`."""
    plain = {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}
    write_whole(path, lambda beside: save_file(plain, beside))


def weights_digest(model: nn.Module) -> str:
    """A short digest of a model's weights and buffers: two models with one digest compute the same."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def read_description(directory: Path) -> dict[str, Any]:
    """The description of a saved model; of a former version's, with the settings that it had no key for.

    Raises:
        CheckpointError: missing or not JSON.
    """
    path = directory / DESCRIPTION
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise _no_model(path) from None
    except ValueError as error:
        raise CheckpointError(f"{path}: not readable as JSON ({error})") from error
    if not isinstance(description, dict):
        raise CheckpointError(f"{path}: holds a {type(description).__name__}, not a description of a model")
    completed: dict[str, Any] = _completed(description)
    return completed


def _completed(part: Any) -> Any:
    """A part of a description where every head has all settings that decide what it computes."""
    if not isinstance(part, dict):
        return part
    return {**FORMER.get(str(part.get("name")), {}), **{key: _completed(value) for key, value in part.items()}}


def read_weights(directory: Path) -> dict[str, Tensor]:
    """The weights of a saved model, or the best so far of a training. CheckpointError: missing or damaged."""
    if (directory / WEIGHTS).exists():
        return read_tensors(directory / WEIGHTS)
    if not (directory / BEST).exists():
        raise CheckpointError(
            f"{directory}: holds no {WEIGHTS}; a folder of a saved model would do, or that of a training's "
            f"checkpoints once {BEST} is there"
        )
    weights = load_state(directory / BEST).get("model")
    if not isinstance(weights, dict):
        raise CheckpointError(f"{directory / BEST}: holds no weights of a model")
    return weights


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Named tensors from a file in the folder of a saved model. CheckpointError: missing or damaged."""
    try:
        return load_file(path)
    except (FileNotFoundError, NotADirectoryError):
        raise _no_model(path) from None
    except Exception as error:
        raise CheckpointError(f"{path}: damaged or not safetensors ({error})") from error


def _no_model(path: Path) -> CheckpointError:
    return CheckpointError(f"{path.parent}: holds no {path.name}; a folder of a saved model would do")


def load_weights(model: nn.Module, weights: Mapping[str, Tensor], source: Path | str) -> None:
    """Load `weights` into `model`, all of them and nothing else; CheckpointError as `check_weights`."""
    check_weights(model, weights, source)
    model.load_state_dict(dict(weights))


def check_weights(model: nn.Module, weights: Mapping[str, Tensor], source: Path | str) -> None:
    """Check that `weights` are those of `model`, which may be on the meta device, by names and shapes.

    Raises:
        CheckpointError: weights that are missing, unknown, or of another shape; all are counted, one is named.
    """
    own = model.state_dict()
    missing = [name for name in own if name not in weights]
    unknown = [name for name in weights if name not in own]
    shapes = [
        f"{name} is {tuple(weights[name].shape)}, the model's {tuple(own[name].shape)}"
        for name in own
        if name in weights and weights[name].shape != own[name].shape
    ]
    if missing or unknown or shapes:
        parts = [
            f"{len(found)} {what} (first: {found[0]})"
            for what, found in (("missing", missing), ("unknown", unknown), ("of another shape", shapes))
            if found
        ]
        raise CheckpointError(f"{source}: weights of another architecture: {'; '.join(parts)}")
