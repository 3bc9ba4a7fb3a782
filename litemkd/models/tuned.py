"""What is trained of an expert's backbone, and what stands in its place where nothing is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from litemkd.errors import BackboneError
from litemkd.models.adapters import adapt
from litemkd.models.backbones import Backbone
from litemkd.models.cutting import TimmMap, VisionTransformerMap
from litemkd.models.experts import WholeClips
from litemkd.models.passes import blocks
from litemkd.models.student import Student
from litemkd.models.tuning import ALL, FROZEN, LAST, Tuning

# Where the networks of timm keep their blocks; others have them one after another.
_BODIES = ("blocks", "stages", "layers", "features")


def tune(student: Student, tuning: Tuning) -> None:
    """Say which weights of a student's backbone are trained; those of its branches and head are.

    What is not trained stays in eval mode when the student is in training mode: batch norm uses its running
    statistics and leaves them, and there is no dropout.

    Args:
        student: changed; adapters draw from torch's generator.
        tuning: which.

    Raises:
        BackboneError: more blocks than there are, or adapters for a network without attention.
    """
    backbone = student.backbone
    if tuning.way == ALL:
        return
    if tuning.way == FROZEN:
        backbone.requires_grad_(False)
        student.held = tuple(backbone.modules())
    elif tuning.way == LAST:
        student.held = _hold_all_but_last(backbone, tuning)
    else:
        _adapt(backbone, tuning)
        student.held = tuple(backbone.modules())


def _hold_all_but_last(backbone: Backbone | WholeClips, tuning: Tuning) -> tuple[nn.Module, ...]:
    """Freeze what stands before the last N blocks, in a network's order of parts, and give these parts."""
    found = [block for block in blocks_of(backbone) if any(True for _ in block.parameters())]
    if not found:
        words = "it does not say what its blocks are, `all` or `frozen` would do"
        raise BackboneError("tune", str(tuning), words)
    if tuning.count > len(found):
        words = f"it has {len(found)} blocks, `last:{len(found)}` or fewer, or `all`, would do"
        raise BackboneError("tune", str(tuning), words)
    parts = list(backbone.modules())
    first = next(part for part in found[-tuning.count].modules() if part in parts)
    before = parts[: parts.index(first)]
    for part in before:
        for weight in part.parameters(recurse=False):
            weight.requires_grad_(False)
    return tuple(part for part in before if first not in part.modules())


def _adapt(backbone: Backbone | WholeClips, tuning: Tuning) -> None:
    network = backbone.features if isinstance(backbone, Backbone) else backbone.model
    try:
        adapters = adapt(network, tuning.count)
    except ValueError as error:
        raise BackboneError("tune", str(tuning), str(error)) from error
    if not adapters:
        words = "it has no linear maps of attention, a vision transformer, or `last:N`, would do"
        raise BackboneError("tune", str(tuning), words)


def blocks_of(backbone: Backbone | WholeClips) -> list[nn.Module]:
    """The blocks of a network in the order of their work; none where they are not known.

    An expert that looks at whole clips may say them, as `blocks`.
    """
    if isinstance(backbone, WholeClips):
        return list(getattr(backbone.model, "blocks", ()))
    network: Any = backbone.features
    if isinstance(network, VisionTransformerMap):
        return list(network.encoder.layers.children())  # type: ignore[union-attr]
    if isinstance(network, TimmMap):
        children = dict(network.body.named_children())
        body = next((children[name] for name in _BODIES if name in children), network.body)
        return blocks(nn.Sequential(*body.children()))
    return blocks(network)


def counted(student: Student) -> dict[str, float]:
    """Weights of a student in millions: those that are trained, and all, as metrics of its training."""
    weights = list(student.parameters())
    trained = sum(weight.numel() for weight in weights if weight.requires_grad)
    return {"params/trained_m": trained / 1e6, "params/all_m": sum(x.numel() for x in weights) / 1e6}


class Given(WholeClips):
    """Features that were made before, in the place of the frozen backbone that made them.

    Args:
        backbone: that one.
    """

    def __init__(self, backbone: Backbone | WholeClips) -> None:
        nn.Module.__init__(self)
        self.channels, self.out_channels, self._shape = backbone.channels, backbone.out_channels, backbone.shape

    @property
    def shape(self) -> tuple[int, ...]:
        """Axes of the features of one frame, as the backbone's."""
        return self._shape

    def forward(self, frames: Tensor, through: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """(V, T[, places], C) features -> themselves; `through` is of backbones, and not looked at."""
        return frames
