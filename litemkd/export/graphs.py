"""A student as graphs: frames or clips to features and codes, and codes of episodes to logits.

A graph has no labels: what is matched is a table of supports, K places for each of W classes, with a mark of
which places are taken. So one graph does for any number of classes and shots.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from litemkd_runtime.exported import CLIPS, CODES, FEATURES, MATCH
from torch import Tensor, nn

from litemkd.models.backbones import POOLED, Backbone, windows_maximum
from litemkd.models.folding import EvaluationForm
from litemkd.models.heads import Code, Folded
from litemkd.models.heads.base import in_a_table

# Axes of any length, by their letters in shapes: the largest that a graph is checked for, not a bound of it.
AXES = {"B": 1024, "V": 1024, "N": 8192, "W": 1024, "K": 1024, "Q": 8192}
EXAMPLE = {"B": 2, "V": 2, "N": 3, "W": 3, "K": 2, "Q": 4}  # lengths that a graph is made with


@dataclass(frozen=True)
class Graph:
    """A module with tensors in and out, and what it is exported with.

    Attributes:
        module: called with `inputs`.
        inputs: examples, in the order of `names`; lists of tensors are inputs one after another.
        names: of the inputs.
        outputs: names of the outputs.
        axes: letters of the axes of any length, by name of an input or output.
    """

    module: nn.Module
    inputs: tuple[Tensor | list[Tensor], ...]
    names: tuple[str, ...]
    outputs: tuple[str, ...]
    axes: dict[str, dict[int, str]]


class _Windows(nn.Module):
    """Adaptive maximum pooling by operations that every format has."""

    def forward(self, maps: Tensor) -> Tensor:
        return windows_maximum(maps, POOLED)


class _Features(nn.Module):
    """(N, H, W, 3) uint8 -> (N[, places], C), of a backbone that sees single frames."""

    def __init__(self, form: EvaluationForm) -> None:
        super().__init__()
        self.backbone = form.backbone

    def forward(self, frames: Tensor) -> Tensor:
        features: Tensor = self.backbone(frames.permute(0, 3, 1, 2).float() / 255)
        return features


class _Codes(nn.Module):
    """(V, T[, places], C) features of frames -> the tensors of the clips' codes, branch after branch."""

    def __init__(self, form: EvaluationForm) -> None:
        super().__init__()
        self.form = form

    def forward(self, features: Tensor) -> Code:
        return tuple(x for code in self.form.encode(features).values() for x in code)


class _Clips(nn.Module):
    """(V, T, H, W, 3) uint8 -> the tensors of the clips' codes."""

    def __init__(self, form: EvaluationForm) -> None:
        super().__init__()
        self.backbone, self.codes = form.backbone, _Codes(form)

    def forward(self, clips: Tensor) -> Code:
        return cast(Code, self.codes(self.backbone(clips.permute(0, 1, 4, 2, 3).float() / 255)))


class _Match(nn.Module):
    """Tables of supports and queries -> logits (B, Q, W).

    Args:
        form: whose branches match.
        sizes: how many tensors the code of each branch has.
    """

    def __init__(self, form: EvaluationForm, sizes: Sequence[int]) -> None:
        super().__init__()
        self.branches, self.sizes = form.branches, list(sizes)

    def forward(self, present: Tensor, support: list[Tensor], query: list[Tensor]) -> Tensor:
        """`present` (B, W, K); `support` (B, W, K, …) and `query` (B, Q, …), a tensor for each of the code."""
        batch, way, shots = present.shape
        labels = torch.arange(way)[:, None].expand(way, shots).flatten().expand(batch, -1)
        logits = []
        with in_a_table(present):
            for branch, held, asked in zip(
                self.branches.values(),
                _split([x.flatten(1, 2) for x in support], self.sizes),
                _split(query, self.sizes),
                strict=True,
            ):
                logits.append(cast(Folded, branch)._match(held, labels, asked, way))
        return torch.stack(logits).sum(0)


def _split(tensors: list[Tensor], sizes: list[int]) -> list[Code]:
    ends = [sum(sizes[: place + 1]) for place in range(len(sizes))]
    return [tuple(tensors[end - size : end]) for size, end in zip(sizes, ends, strict=True)]


def graphs_of(
    form: EvaluationForm, frames: int, crop: int, *, way: int | None = None, shot: int | None = None
) -> dict[str, Graph]:
    """The graphs of a student by name: `features` and `codes`, or `clips` where whole clips are seen; `match`.

    Args:
        form: of the student, on the CPU.
        frames: T.
        crop: side of a frame, pixels.
        way: the only number of classes that `match` is for; any when not given.
        shot: the only number of supports a class; any when not given.
    """
    made = copy.deepcopy(form)
    backbone = cast(Backbone, made.backbone)
    backbone.pool = _Windows()  # type: ignore[assignment]
    clips = torch.randint(0, 256, (EXAMPLE["V"], frames, crop, crop, 3), dtype=torch.uint8)
    with torch.no_grad():
        features = backbone(clips.permute(0, 1, 4, 2, 3).float() / 255)
        by_branch = made.encode(features)
    codes = [x for code in by_branch.values() for x in code]
    names = tuple(f"code_{place}" for place in range(len(codes)))
    of_codes = {name: {0: "V"} for name in names}
    found = {}
    if backbone.single_frames:
        single = clips[0, : EXAMPLE["N"]]
        axes = {"frames": {0: "N"}, "features": {0: "N"}}
        found[FEATURES] = Graph(_Features(made), (single,), ("frames",), ("features",), axes)
        axes = {"features": {0: "V"}, **of_codes}
        found[CODES] = Graph(_Codes(made), (features,), ("features",), names, axes)
    else:
        found[CLIPS] = Graph(_Clips(made), (clips,), ("clips",), names, {"clips": {0: "V"}, **of_codes})
    found[MATCH] = _match_graph(_Match(made, [len(code) for code in by_branch.values()]), codes, way, shot)
    return found


def _match_graph(module: _Match, codes: list[Tensor], way: int | None, shot: int | None) -> Graph:
    batch, queries = EXAMPLE["B"], EXAMPLE["Q"]
    table = {1: way, 2: shot}
    sizes = (batch, way or EXAMPLE["W"], shot or EXAMPLE["K"])
    free = {0: "B"} | {axis: letter for axis, letter in {1: "W", 2: "K"}.items() if table[axis] is None}

    def rows(*leading: int) -> list[Tensor]:
        return [torch.randn(*leading, *x.shape[1:]) for x in codes]

    supports = [f"support_{place}" for place in range(len(codes))]
    queried = [f"query_{place}" for place in range(len(codes))]
    axes = dict.fromkeys(("present", *supports), free) | {name: {0: "B", 1: "Q"} for name in queried}
    axes["logits"] = {0: "B", 1: "Q"} | ({2: "W"} if way is None else {})
    present = torch.ones(sizes, dtype=torch.bool)
    inputs = (present, rows(*sizes), rows(batch, queries))
    return Graph(module, inputs, ("present", *supports, *queried), ("logits",), axes)
