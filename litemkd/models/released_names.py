"""How weights are named in released files of Lite-MKD (ACM MM 2023) and TRX (CVPR 2021), and how here.

A file names its architecture: the names say which backbone, branches, heads and fusion there are, the shapes
how large they are. `released` reads and writes files by these names.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from litemkd.errors import CheckpointError
from litemkd.models.backbones import Backbone
from litemkd.models.catalogue import BACKBONES
from litemkd.models.student import DISTILL, LABEL

State = Mapping[str, Tensor]
Kind = Literal["student", "teacher"]

ALL, PAIR = "three_fusion.", "fusion."
TEACHER_HEAD = "bracnch.transformers."  # spelt as in the files
_BACKBONE = re.compile(r"(?:backbone\.)?(resnet|mobile)\.(?:module\.)?")
_FAMILIES = {"resnet": "resnet", "mobile": "mobilenet"}
_STRM = ("attn_pat", "fr_enrich")  # parts of STRM (CVPR 2022), which TRX has not
_STUDENT_HEADS = ("classifier.transformers.", "transformers.")
_TWO = {DISTILL: "backbone.fc1.", LABEL: "backbone.fc2."}
_ONE = ("backbone.fc.", "backbone.res18_2048.")


@dataclass(frozen=True)
class Names:
    """How the weights of a student are named in a file.

    Attributes:
        backbone: what stands before the backbone's own names.
        branches: the same of each branch; none where the head sees the backbone's features.
        heads: the same of each tuple size.
    """

    backbone: str
    branches: Mapping[str, str]
    heads: Sequence[str]

    def in_file(self, name: str) -> str | None:
        """The name in a file of a weight of `Student`, None for one that files of this kind do not hold."""
        pairs = {"backbone.features.": self.backbone}
        pairs |= {f"branches.{branch}.": there for branch, there in self.branches.items()}
        pairs |= {f"head.transformers.{place}.": there for place, there in enumerate(self.heads)}
        for here, there in pairs.items():
            if name.startswith(here):
                return there + name.removeprefix(here)
        return None


def kind_of(state: State) -> tuple[Kind, str] | None:
    """What a file holds, and a name that shows it; None when no name is known."""
    for key in state:
        if key.startswith((ALL, PAIR, TEACHER_HEAD)):
            return "teacher", key
    return next((("student", key) for key in state if _BACKBONE.match(key)), None)


def strm_weight(state: State) -> str | None:
    """A weight that only STRM has; None where there is none."""
    return next((key for key in state if not set(_STRM).isdisjoint(key.split("."))), None)


def molo_weight(state: State) -> str | None:
    """A weight that only MoLo (CVPR 2023) has; None where there is none."""
    return next((key for key in state if "class_token_motion" in key.split(".")), None)


def is_head_only(state: State) -> bool:
    """Whether a file holds the head of a student or a teacher and nothing else."""
    return all(key.startswith((TEACHER_HEAD, *_STUDENT_HEADS)) for key in state)


def student_names(state: State) -> Names:
    """How this file of a student names its weights."""
    prefix = next(match.group() for match in map(_BACKBONE.match, state) if match)
    single = _begin(state, _ONE)
    branches = dict(_TWO) if _begin(state, _TWO.values()) else {LABEL: single[0]} if single else {}
    base = [*_begin(state, _STUDENT_HEADS), _STUDENT_HEADS[0]][0]
    return Names(prefix, branches, head_names(state, base))


def _begin(state: State, beginnings: Iterable[str]) -> list[str]:
    return [begin for begin in beginnings if any(key.startswith(begin) for key in state)]


def standard_names(backbone: str, branches: Sequence[str], tuple_sizes: int, source: object) -> Names:
    """The names of a student that was not read from a released file; `source` names it in messages.

    Raises:
        CheckpointError: the backbone has no released form.
    """
    family = next((key for key, begin in _FAMILIES.items() if backbone.startswith(begin)), None)
    if family is None:
        known = ", ".join(name for name in BACKBONES if name.startswith(tuple(_FAMILIES.values())))
        raise CheckpointError(f"{source}: {backbone} has no released form; a student of {known} would do")
    base = _STUDENT_HEADS[0]
    heads = [base] if tuple_sizes == 1 else [f"{base}{place}." for place in range(tuple_sizes)]
    return Names(f"backbone.{family}.", dict(_TWO) if DISTILL in branches else {LABEL: _ONE[0]}, heads)


def head_names(state: State, base: str) -> tuple[str, ...]:
    """What stands before the weights of each tuple size: `base`, with a number where the file has numbers."""
    found = (re.match(rf"{re.escape(base)}(\d+)\.", key) for key in state)
    numbers = sorted({int(match.group(1)) for match in found if match})
    return tuple(f"{base}{number}." for number in numbers) or (base,)


def teacher_places(names: Iterable[str], heads: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Of each weight of `Teacher`: its name in files, or the names of the parts it is stacked of there."""
    return {name: _teacher_place(name, heads) for name in names}


def _teacher_place(name: str, heads: Sequence[str]) -> tuple[str, ...]:
    for place, there in enumerate(heads):
        if name.startswith(here := f"head.transformers.{place}."):
            return (there + name.removeprefix(here),)
    _, path, part = name.split(".", 2)
    prefix, modalities = (ALL, 3) if path == "all" else (PAIR, 2)
    if part == "position":
        return tuple(f"{prefix}positionEncoding{m + 1}.position_embeddings.weight" for m in range(modalities))
    part = re.sub(r"^norms\.(\d+)", lambda found: f"positionEncoding{int(found[1]) + 1}.LayerNorm", part)
    part = re.sub(r"^encoder\.", "transformer_encoder.", part)
    return (prefix + re.sub(r"^project\.", "f1.", part),)


def fusion_layers(state: State) -> int:
    """How many layers the fusion of all modalities has."""
    pattern = re.compile(rf"{re.escape(ALL)}transformer_encoder\.layers\.(\d+)\.")
    return len({match.group(1) for match in map(pattern.match, state) if match})


@functools.cache
def _backbone_shapes(name: str) -> dict[str, torch.Size]:
    with torch.device("meta"):
        features = Backbone(name, normalise="none").features
    return {key: tensor.shape for key, tensor in features.state_dict().items()}


def backbone_of(state: State, prefix: str) -> str:
    """The backbone that shares most weights with the file, and among equals has fewest of its own."""
    match = _BACKBONE.match(prefix)
    assert match is not None
    family = _FAMILIES[match.group(1)]
    shapes = {key.removeprefix(prefix): x.shape for key, x in state.items() if key.startswith(prefix)}

    def likeness(name: str) -> tuple[int, int]:
        wanted = _backbone_shapes(name)
        return sum(shapes.get(key) == shape for key, shape in wanted.items()), -len(wanted)

    return max((name for name in BACKBONES if name.startswith(family)), key=likeness)
