"""Released weights of Lite-MKD (Huang et al., ACM MM 2023) and TRX (Perrett et al., CVPR 2021), and back.

Of CLIP-FSAR (Wang et al., IJCV 2023) the head is read, see `litemkd.models.released_clip_fsar`.

A released file says what it is by the names and shapes of its weights alone. They name an architecture; an
empty model of it says which weights there must be; reading and writing are then one renaming. What files hold
and models here do not (the position table, which is computed here, and a norm that nothing uses) is kept, so
that a student can be written back as it came.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from litemkd.errors import CheckpointError
from litemkd.models.backbones import Backbone
from litemkd.models.catalogue import BACKBONES
from litemkd.models.heads import TRX, ClipFSAR
from litemkd.models.layers import sinusoid
from litemkd.models.released_clip_fsar import FRAMES as CLIP_FRAMES
from litemkd.models.released_clip_fsar import HEADS, SMOOTHING, clip_fsar_weight, read_clip_fsar
from litemkd.models.released_names import (
    ALL,
    TEACHER_HEAD,
    Kind,
    Names,
    State,
    backbone_of,
    fusion_layers,
    head_names,
    is_head_only,
    kind_of,
    molo_weight,
    strm_weight,
    student_names,
    teacher_places,
)
from litemkd.models.student import LABEL, Student
from litemkd.models.teacher import Fusion, NoFusion, Teacher

# What all known files have; assumed of one whose weights do not say, which is then refused for lacking them.
FRAMES, WIDTH, HEAD_WIDTH, TUPLE, FEED_FORWARD, LAYERS = 8, 2048, 1152, 2, 2048, 2
ROUNDING = 1e-5  # a position table so far off is the same one
_SHOWN = {"resnet": "ResNet", "mobilenet_v3_": "MobileNetV3-"}


@dataclass(frozen=True)
class Released:
    """What a released file holds, in the terms used here.

    Attributes:
        kind: student or teacher.
        words: what it is, for people.
        section: of the configuration, what the file says of `student` or `teacher`.
        frames: T.
        width: D.
        weights: of `Student` or `Teacher`, by their own names; not copied, a teacher has gigabytes.
        kept: what models here do not hold, by the file's names.
        names: of a student.
        notes: what its user should know, a sentence each.
    """

    kind: Kind
    words: str
    section: dict[str, Any]
    frames: int
    width: int
    weights: dict[str, Tensor] = field(repr=False)
    kept: dict[str, Tensor] = field(repr=False)
    names: Names | None = None
    notes: tuple[str, ...] = ()

    @property
    def fuses(self) -> bool:
        """Whether it is a teacher with a fusion; one without holds a head only."""
        return self.kind == "teacher" and self.section["fusion"]["layers"] > 0


def read_released(state: Mapping[str, Any], kind: Kind | None, source: object) -> Released:
    """A released state dict, recognised and checked.

    Args:
        state: names to tensors.
        kind: what it is said to be; None for either.
        source: names it in messages.

    Raises:
        CheckpointError: of no known layout, of the other kind, or with weights that are missing, unknown, of
            another shape or type, or not finite.
    """
    odd = [str(key) for key, value in state.items() if not (isinstance(key, str) and _is_plain(value))]
    if odd or not state:
        found = f"{len(odd)} entries that are no plain tensors (first: {odd[0]})" if odd else "no weights"
        raise CheckpointError(f"{source}: its model_state_dict holds {found}; a released file would do")
    if key := strm_weight(state):
        raise CheckpointError(
            f"{source}: this is STRM ({key}), whose published code does not save all that it needs: the "
            "layers of its distance are not in the file. A file of Lite-MKD or TRX would do, or an STRM "
            "trained here (student.head.name=strm)"
        )
    if key := molo_weight(state):
        raise CheckpointError(
            f"{source}: this is MoLo ({key}), whose published code looks for motion in maps of 7 x 7 places, "
            "which features here do not have. A file of Lite-MKD, TRX or CLIP-FSAR would do, or a MoLo trained "
            "here (student.head.name=molo)"
        )
    if clip_fsar_weight(state):
        if kind == "student":
            raise CheckpointError(
                f"{source}: holds CLIP-FSAR, whose head alone can be taken; imported as teacher it would do"
            )
        return _read_clip_fsar(state, source)
    recognised = kind_of(state)
    if recognised is None and is_head_only(state):
        raise CheckpointError(
            f"{source}: holds the head of a student only (first: {next(iter(state))}), without a backbone; the "
            "file of the whole student would do"
        )
    if recognised is None:
        raise CheckpointError(
            f"{source}: {len(state)} weights of no known layout (first: {next(iter(state))}); known are "
            "students with weights backbone.resnet.…, backbone.mobile.… or resnet.…, and teachers with "
            "three_fusion.…"
        )
    found_kind, example = recognised
    if found_kind != (kind or found_kind):
        part = "the head of a " if is_head_only(state) else "a "
        raise CheckpointError(
            f"{source}: holds {part}{found_kind} ({example}), not a {kind}; imported as {found_kind} it would "
            "do"
        )
    return _read_student(state, source) if found_kind == "student" else _read_teacher(state, source)


def _is_plain(value: object) -> bool:
    return isinstance(value, Tensor) and value.layout is torch.strided and value.device.type == "cpu"


def _read_student(state: State, source: object) -> Released:
    names = student_names(state)
    backbone = backbone_of(state, names.backbone)
    width = BACKBONES[backbone].channels
    if names.branches:
        width = (
            _side(state, f"{names.branches[LABEL]}weight", 0)
            or _side(state, f"{names.heads[0]}pe.pe", 2)
            or WIDTH
        )
    frames, head = _head_section(state, names.heads, width, source)
    with torch.device("meta"):
        empty = Student(
            Backbone(backbone, normalise="none"),
            _trx(head, width, frames),
            width=width,
            branches=tuple(names.branches),
        )
    branches = ("no branch", "one branch", "two branches")[len(names.branches)]
    words = (
        f"{_shown(backbone)} student with {branches}, features of {width}, {_head_words(head)}, {frames} frames"
    )
    places = {name: (there,) for name in empty.state_dict() if (there := names.in_file(name))}
    weights, kept = _taken(state, empty, places, names.heads, f"{source}: a {words}")
    plain = not names.backbone.startswith("backbone.")  # TRX's own code, which averages the whole map
    notes = _table_notes(kept, names.heads)
    if plain:
        notes.append("it is in TRX's own layout: its features are means of the backbone's whole map")
    if plain and len(names.heads) > 1:
        notes.append("logits of its tuple sizes are averaged; the first version of TRX's code took their norm")
    if not names.branches:
        weights |= {f"branches.{LABEL}.weight": torch.eye(width), f"branches.{LABEL}.bias": torch.zeros(width)}
        notes.append(
            "it has no branch: one that changes nothing stands in its place here, and is counted as cost"
        )
    section: dict[str, Any] = {
        "backbone": {
            "name": backbone,
            "weights": "none",
            "pooling": "average" if plain else "mean",
            "normalise": "none",
        },
        "temporal": "none",  # whatever the experiment's own students see
        "width": width,
        "head": head,
    }
    if len(names.branches) < 2:
        section["branches"] = 1
    return Released("student", words, section, frames, width, weights, kept, names, tuple(notes))


def _read_teacher(state: State, source: object) -> Released:
    heads = head_names(state, TEACHER_HEAD)
    if is_head_only(state):
        return _read_teacher_head(state, heads, source)
    width = _side(state, f"{ALL}f1.weight", 0) or WIDTH
    frames, head = _head_section(state, heads, width, source)
    inner = f"{ALL}transformer_encoder.layers.0.linear1.weight"
    fusion: dict[str, Any] = {
        "layers": fusion_layers(state) or LAYERS,
        "feed_forward": _side(state, inner, 0) or FEED_FORWARD,
    }
    with torch.device("meta"):
        empty = Teacher(Fusion(("1", "2", "3"), width, frames=frames, **fusion), _trx(head, width, frames))
    words = (
        f"teacher of three modalities, features of {width}, fusion of {fusion['layers']} layers, "
        f"{_head_words(head)}, {frames} frames"
    )
    places = teacher_places(empty.state_dict(), heads)
    weights, kept = _taken(state, empty, places, heads, f"{source}: a {words}")
    section = {"experts": "features", "fusion": fusion, "head": head}
    notes = tuple(_table_notes(kept, heads))
    return Released("teacher", words, section, frames, width, weights, kept, notes=notes)


def _read_teacher_head(state: State, heads: Sequence[str], source: object) -> Released:
    width = _side(state, f"{heads[0]}pe.pe", 2) or WIDTH
    frames, head = _head_section(state, heads, width, source)
    with torch.device("meta"):
        empty = Teacher(NoFusion("1", width), _trx(head, width, frames))
    words = f"teacher's head only, without a fusion, features of {width}, {_head_words(head)}, {frames} frames"
    places = teacher_places(empty.state_dict(), heads)
    weights, kept = _taken(state, empty, places, heads, f"{source}: a {words}")
    section = {"experts": "features", "fusion": {"layers": 0}, "head": head}
    notes = [
        "it has no fusion: its head takes the features of one modality as they are; for the head of a whole "
        "teacher these are features that were fused before",
        *_table_notes(kept, heads),
    ]
    return Released("teacher", words, section, frames, width, weights, kept, notes=tuple(notes))


def _read_clip_fsar(state: State, source: object) -> Released:
    found = read_clip_fsar(state, source)
    head = {
        "name": ClipFSAR.name,
        "smoothing": SMOOTHING,
        "attention_heads": HEADS,
        "feed_forward": found.feed_forward,
    }
    words = f"teacher's head only, without a fusion, features of {found.width}, CLIP-FSAR, {CLIP_FRAMES} frames"
    notes = (
        f"its visual tower ({found.tower} weights) is left out: the head takes what this tower makes of "
        "frames, from disk",
        "its head was trained with features of class names; supports are matched without them here",
        f"not told by the file, taken as published: {CLIP_FRAMES} frames, {HEADS} heads of attention, a "
        f"smoothing of {SMOOTHING}",
    )
    section = {"experts": "features", "fusion": {"layers": 0}, "head": head}
    weights = {f"head.{name}": tensor for name, tensor in found.weights.items()}
    return Released("teacher", words, section, CLIP_FRAMES, found.width, weights, {}, notes=notes)


def write_student(weights: State, names: Names, kept: State, frames: int, source: object) -> dict[str, Tensor]:
    """A student's weights by the names of released files.

    Args:
        weights: of `Student`.
        names: from `Released`, or `standard_names`.
        kept: from `Released`; what is not there is made: the position table, and an idle norm.
        frames: T.
        source: names the student in messages.

    Raises:
        CheckpointError: weights that the layout has no place for.
    """
    state: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        if there := names.in_file(name):
            state[there] = tensor
        elif not _changes_nothing(name, tensor):
            raise CheckpointError(f"{source}: files of its layout have no place for its weights {name}")
    dim = len(weights[f"branches.{LABEL}.bias"])
    for place, there in enumerate(names.heads):
        width = len(weights[f"head.transformers.{place}.norm_k.weight"])
        made = {
            "pe.pe": sinusoid(_rows(frames), dim)[None],
            "norm_v.weight": torch.ones(width),
            "norm_v.bias": torch.zeros(width),
        }
        state |= {f"{there}{name}": kept.get(f"{there}{name}", tensor) for name, tensor in made.items()}
    return state


def _changes_nothing(name: str, tensor: Tensor) -> bool:
    neutral = torch.eye(len(tensor)) if name.endswith("weight") else torch.zeros(len(tensor))
    return name.startswith(f"branches.{LABEL}.") and torch.equal(tensor, neutral)


def _head_section(state: State, heads: Sequence[str], width: int, source: object) -> tuple[int, dict[str, Any]]:
    """T, and the section `head` of the configuration."""
    frames = -(-2 * (_side(state, f"{heads[0]}pe.pe", 1) or _rows(FRAMES)) // 3)  # undoes `_rows`
    sizes = []
    for head in heads:
        columns = [_side(state, f"{head}{name}_linear.weight", 1) or 0 for name in "kv"]
        fitting = [c // width for c in columns if c % width == 0 and 1 <= c // width <= frames]
        sizes.append(fitting[0] if fitting else TUPLE)
    if len(set(sizes)) < len(sizes):
        raise CheckpointError(
            f"{source}: has {len(sizes)} heads, on tuples of {_listed(sizes)} frames; one a size would do"
        )
    head_width = _side(state, f"{heads[0]}k_linear.weight", 0) or HEAD_WIDTH
    return frames, {"name": "trx", "width": head_width, "tuples": sizes}


def _rows(frames: int) -> int:
    """Rows of a file's position table."""
    return int(frames * 1.5)


def _trx(head: Mapping[str, Any], width: int, frames: int) -> TRX:
    return TRX(width, width=head["width"], frames=frames, tuples=head["tuples"])


def _side(state: State, name: str, axis: int) -> int | None:
    """The length of an axis of a weight, None if it is not there."""
    tensor = state.get(name)
    return tensor.shape[axis] if tensor is not None and tensor.ndim > axis else None


def _taken(
    state: State, empty: nn.Module, places: Mapping[str, tuple[str, ...]], heads: Sequence[str], what: str
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The weights of the empty model, and what is kept, out of a state that must hold just these.

    `places` tells of each weight where the state has it, or the parts that it is stacked of.
    """
    own, wanted = empty.state_dict(), dict[str, Tensor]()
    for name, there in places.items():
        wanted |= dict(zip(there, own[name] if len(there) > 1 else [own[name]], strict=True))
    for place, head in enumerate(heads):
        part = empty.get_submodule(f"head.transformers.{place}")
        rows, dim = part.get_buffer("pe.pe").shape
        wanted[f"{head}pe.pe"] = torch.empty(1, _rows(rows), dim, device="meta")
        wanted |= {f"{head}norm_v.{name}": part.get_parameter(f"norm_k.{name}") for name in ("weight", "bias")}
    common = [name for name in wanted if name in state]
    found = {
        "missing": [name for name in wanted if name not in state],
        "unknown": [name for name in state if name not in wanted],
        "of another form": [
            f"{name} is {_form(state[name])}, not {_form(wanted[name])}"
            for name in common
            if _form(state[name]) != _form(wanted[name])
        ],
        "with NaN or infinity": [name for name in common if not bool(torch.isfinite(state[name]).all())],
    }
    parts = [f"{len(names)} {word} (first: {names[0]})" for word, names in found.items() if names]
    if parts:
        raise CheckpointError(f"{what}, to judge by its names, but of its weights {'; '.join(parts)}")
    weights = {
        name: torch.stack([state[one] for one in there]) if len(there) > 1 else state[there[0]]
        for name, there in places.items()
    }
    listed = {one for there in places.values() for one in there}
    return weights, {name: state[name] for name in wanted if name not in listed}


def _form(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


def _table_notes(kept: State, heads: Sequence[str]) -> list[str]:
    tables = [kept[f"{head}pe.pe"][0] for head in heads]
    apart = max(float((table - sinusoid(*table.shape)).abs().max()) for table in tables)
    if apart <= ROUNDING:
        return []
    return [
        f"its position table is up to {apart:.2g} off the sinusoids that are computed here instead: its logits "
        "will not be those of the published code"
    ]


def _shown(backbone: str) -> str:
    begin = next(key for key in _SHOWN if backbone.startswith(key))
    return backbone.replace(begin, _SHOWN[begin])


def _head_words(head: Mapping[str, Any]) -> str:
    return f"TRX on tuples of {_listed(head['tuples'])} (width {head['width']})"


def _listed(numbers: Sequence[int]) -> str:
    return " and ".join(map(str, numbers))
