"""The evaluation form of a student: the same logits for less work.

Branches of a network that are made for training alone (RepVGG, MobileOne, FastViT, RepGhost) become one
convolution, each batch norm behind a convolution becomes a part of it, and each branch with the head becomes
what `Head.folded` makes of them. That takes a fraction of a second, so each validation makes its own form.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Mapping
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval

from litemkd.models.backbones import Backbone
from litemkd.models.cutting import TimmMap
from litemkd.models.experts import WholeClips
from litemkd.models.heads import Code, Folded
from litemkd.models.student import Student
from litemkd.models.temporal import Excitation, Shift

B = TypeVar("B", bound=Backbone | WholeClips)


def refuse_training(model: nn.Module, where: str) -> None:
    """ValueError: dropout and batch statistics would go into what is told as the model's figures."""
    if any(module.training for module in model.modules()):
        raise ValueError(f"{where}: the model is in training mode; call its eval() first")


def fold_norms(backbone: B) -> B:
    """A copy of a backbone in eval mode with every batch norm in the convolution before it.

    Of a network that is deployed in another form than it is trained in, it is of that form, see `deployed`. A
    norm stays where no convolution stands before it, or where the way through the network depends on frames,
    and so do those of experts that look at whole clips.

    Raises:
        ValueError: the backbone is in training mode.
    """
    refuse_training(backbone, "fold_norms")
    if not isinstance(backbone, Backbone):
        return copy.deepcopy(backbone).requires_grad_(False)
    features = _without_norms(deployed(backbone.features, copied=True))
    return copy.deepcopy(backbone, {id(backbone.features): features}).requires_grad_(False)


def deployed(network: nn.Module, *, copied: bool = False) -> nn.Module:
    """A network with parallel branches of its blocks added up, as it is to be used once it is trained.

    The features are those of the network in eval mode (Ding et al., RepVGG, CVPR 2021).

    Args:
        network: left as it is; in eval mode.
        copied: give a copy also where there is nothing to add up, not the network itself.
    """
    if not isinstance(network, TimmMap):
        return copy.deepcopy(network) if copied else network
    from timm.utils.model import reparameterize_model

    whole = copy.deepcopy(network)
    with next(whole.parameters()).device:  # its new layers are made where the default is
        reparameterize_model(whole, inplace=True)
    return whole


class _Tracer(fx.Tracer):
    """Looks into everything but convolutions, norms (those of libraries among them) and shifts in time."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, nn.Conv2d | _BatchNorm | Shift | Excitation) or super().is_leaf_module(
            m, module_qualified_name
        )


def _without_norms(network: nn.Module) -> nn.Module:
    """The network, which is changed, with its norms in its convolutions."""
    if not any(isinstance(part, nn.BatchNorm2d) for part in network.modules()):
        return network
    try:
        graph = _Tracer().trace(network)
    except Exception:  # a way that depends on the frames, told by all kinds of errors: its norms stay
        return network
    parts = dict(network.named_modules())
    calls = [node for node in graph.nodes if node.op == "call_module"]
    uses = Counter(node.target for node in calls)
    for node in calls:
        before, norm = node.args[0], parts[node.target]
        if not (isinstance(norm, nn.BatchNorm2d) and norm.track_running_stats and isinstance(before, fx.Node)):
            continue
        convolution = parts.get(str(before.target)) if before.op == "call_module" else None
        once = len(before.users) == 1 == uses[before.target] == uses[node.target]
        if not (once and isinstance(convolution, nn.Conv2d)):
            continue
        behind: Any = norm
        if type(norm) is not nn.BatchNorm2d and not (hasattr(norm, "drop") and hasattr(norm, "act")):
            continue  # what else it does is not known
        network.set_submodule(str(before.target), fuse_conv_bn_eval(convolution, norm))
        if type(norm) is nn.BatchNorm2d:
            node.replace_all_uses_with(before)
            graph.erase_node(node)
        else:  # timm's, with its activation
            network.set_submodule(str(node.target), nn.Sequential(behind.drop, behind.act))
    return fx.GraphModule(network, graph)


class EvaluationForm(nn.Module):
    """A student for evaluation. It does not follow what becomes of the student's weights later.

    Args:
        student: in eval mode, on any device; it is left as it is.

    Raises:
        ValueError: the student is in training mode.
    """

    def __init__(self, student: Student) -> None:
        super().__init__()
        refuse_training(student, "EvaluationForm")
        with torch.no_grad():
            self.backbone = fold_norms(student.backbone)
            self.branches = nn.ModuleDict(
                {name: student.head.folded(branch) for name, branch in student.branches.items()}
            )
        self.eval()

    def frame_features(self, frames: Tensor) -> Tensor:
        """(V, T, 3, H, W) frames in [0, 1] -> (V, T[, places], C) features of the backbone."""
        return self.backbone(frames)

    def encode(self, features: Tensor) -> dict[str, Code]:
        """(V, T[, places], C) features of the backbone -> codes of the videos, by branch."""
        return {name: cast(Folded, branch).encode(features) for name, branch in self.branches.items()}

    def match(self, support: Mapping[str, Code], labels: Tensor, query: Mapping[str, Code], way: int) -> Tensor:
        """The prediction: the sum over the branches, (B, Q, W).

        Args:
            support: codes by branch, with leading axes (B, S).
            labels: (B, S) classes of the supports.
            query: codes by branch, with leading axes (B, Q).
            way: W.

        Raises:
            EpisodeError: a class has no support.
        """
        logits = [
            cast(Folded, branch).match(support[name], labels, query[name], way)
            for name, branch in self.branches.items()
        ]
        return torch.stack(logits).sum(0)
