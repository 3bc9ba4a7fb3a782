"""What the published code of CLIP-FSAR (Wang et al., IJCV 2023) saves, and what of it there is here.

Its files hold CLIP's visual tower, tuned to the data set, a Transformer over frames (`context2`) and the scale
of a similarity to class names. The Transformer is that of the head `clip_fsar`; the rest has no place here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from litemkd.errors import CheckpointError

HEADS, SMOOTHING, FRAMES = 8, 0.5, 8  # published, and not in the files
LAYERS, LEFT_OUT, SCALE = "context2.layers.", "backbone.", "scale"
_WHOLE = "head."  # before all names, where the whole model was saved

# Names of the head's weights, and where a layer of the file has them.
_PLACES = {
    "layer.norm.weight": ("0.norm.weight",),
    "layer.norm.bias": ("0.norm.bias",),
    "layer.attention.qkv.weight": ("0.fn.to_q.weight", "0.fn.to_k.weight", "0.fn.to_v.weight"),
    "layer.attention.out.weight": ("0.fn.to_out.0.weight",),
    "layer.attention.out.bias": ("0.fn.to_out.0.bias",),
    "layer.mlp.0.weight": ("1.net.0.weight",),
    "layer.mlp.0.bias": ("1.net.0.bias",),
    "layer.mlp.3.weight": ("1.net.3.weight",),
    "layer.mlp.3.bias": ("1.net.3.bias",),
}


@dataclass(frozen=True)
class PublishedHead:
    """The head of a file.

    Attributes:
        width: D.
        feed_forward: width within the Transformer's layer.
        weights: of `ClipFSAR`, by its own names.
        tower: how many weights of the visual tower are left out.
    """

    width: int
    feed_forward: int
    weights: dict[str, Tensor]
    tower: int


def clip_fsar_weight(state: Mapping[str, object]) -> str | None:
    """A weight that only CLIP-FSAR has; None where there is none."""
    return next((key for key in state if key.removeprefix(_WHOLE).startswith(LAYERS)), None)


def read_clip_fsar(state: Mapping[str, Tensor], source: object) -> PublishedHead:
    """The head of a state dict of CLIP-FSAR; `source` names it in messages.

    Raises:
        CheckpointError: weights that are missing, unknown, of another shape or type, or not finite, or a
            Transformer of several layers.
    """
    what = f"{source}: this is CLIP-FSAR ({clip_fsar_weight(state)})"
    own = {key.removeprefix(_WHOLE): value for key, value in state.items()}
    layers = {key.removeprefix(LAYERS).partition(".")[0] for key in own if key.startswith(LAYERS)}
    if layers != {"0"}:
        raise CheckpointError(
            f"{what}, with a Transformer of the layers {', '.join(sorted(layers))}; a single one, 0, would do"
        )
    there = {name: tuple(f"{LAYERS}0.{one}" for one in parts) for name, parts in _PLACES.items()}
    listed = [one for parts in there.values() for one in parts]
    missing = [one for one in listed if one not in own]
    unknown = [one for one in own if not one.startswith(LEFT_OUT) and one not in (*listed, SCALE)]
    for found, word in ((missing, "missing"), (unknown, "unknown")):
        if found:
            raise CheckpointError(
                f"{what}, but of its weights {len(found)} {word} (first: {found[0]}); the file as the "
                "published code saves it would do"
            )
    width, inner = own[f"{LAYERS}0.0.norm.weight"].numel(), own[f"{LAYERS}0.1.net.0.weight"].shape[:1].numel()
    linear = HEADS * max(1, width // HEADS)
    shapes = {
        "0.norm.weight": (width,),
        "0.norm.bias": (width,),
        **dict.fromkeys(("0.fn.to_q.weight", "0.fn.to_k.weight", "0.fn.to_v.weight"), (linear, width)),
        "0.fn.to_out.0.weight": (width, linear),
        "0.fn.to_out.0.bias": (width,),
        "1.net.0.weight": (inner, width),
        "1.net.0.bias": (inner,),
        "1.net.3.weight": (width, inner),
        "1.net.3.bias": (width,),
    }
    for name, shape in shapes.items():
        tensor = own[f"{LAYERS}0.{name}"]
        if tuple(tensor.shape) != shape or tensor.dtype != torch.float32:
            raise CheckpointError(
                f"{what}, but its weight {LAYERS}0.{name} is {tensor.dtype} {tuple(tensor.shape)}; "
                f"torch.float32 {shape} would do"
            )
        if not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(f"{what}, but its weight {LAYERS}0.{name} has NaN or infinity in it")
    weights = {name: torch.cat([own[one] for one in parts]) for name, parts in there.items()}
    return PublishedHead(width, inner, weights, sum(one.startswith(LEFT_OUT) for one in own))
