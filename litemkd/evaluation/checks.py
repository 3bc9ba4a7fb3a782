"""Checks without training: what a nearest prototype makes of the very clips that a student sees.

A trained model that does not beat them has learned nothing that was worth training for. Distances are cosines
after the mean of an episode's supports is taken off.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from litemkd.data.episodes import Episodes
from litemkd.data.packs.clips import ClipSource
from litemkd.errors import LitemkdError
from litemkd.evaluation.accuracy import Classifier
from litemkd.evaluation.embedding import embed
from litemkd.extending.outside import near
from litemkd.models.temporal import frame_differences

PREFIX = "check:"
SIDE = 24  # pixels of the frames that are compared


def _pixels(clips: Tensor) -> Tensor:
    """(V, T, 3, H, W) frames in [0, 1] -> (V, T, 3, SIDE, SIDE)."""
    return F.adaptive_avg_pool2d(clips.flatten(0, 1), SIDE).unflatten(0, clips.shape[:2])


def _motion(clips: Tensor) -> Tensor:
    """(V, T, 3, H, W) frames in [0, 1] -> (V, T - 1, SIDE, SIDE): how much each place changed."""
    return frame_differences(_pixels(clips))[:, 1:].amax(2)


# By name: clips (V, T, 3, H, W) -> what is compared, (V, …).
CHECKS: Mapping[str, Callable[[Tensor], Tensor]] = {"motion": _motion, "pixel": _pixels}


def is_check(model: str) -> bool:
    """Whether a model's name asks for a check."""
    return model.startswith(PREFIX)


def check_classifier(model: str, clips: ClipSource) -> Classifier:
    """Logits of any episode of the split.

    Args:
        model: `check:NAME`, a key of `CHECKS`.
        clips: of the split.

    Raises:
        LitemkdError: no such check, or clips of one frame for one of motion.
    """
    name = model.removeprefix(PREFIX)
    if name not in CHECKS:
        raise LitemkdError(f"{model}: no such check; {near(name, CHECKS)}")
    if name == "motion" and clips.pack.T < 2:
        raise LitemkdError(f"{model}: clips of {clips.pack.T} frame show no motion; data.frames=8 would do")
    seen = embed(lambda frames: {name: CHECKS[name](frames).flatten(1)}, clips)[name]

    def classify(episodes: Episodes) -> Tensor:
        support, labels, query = (
            torch.from_numpy(rows).to(seen.device)
            for rows in (episodes.support, episodes.support_labels, episodes.query)
        )
        return nearest_prototype(seen[support], labels, seen[query], episodes.way)

    return classify


def nearest_prototype(support: Tensor, labels: Tensor, query: Tensor, way: int) -> Tensor:
    """Cosines of queries and the means of classes, (B, S, D), (B, S), (B, Q, D) -> (B, Q, W)."""
    centre = support.mean(1, keepdim=True)
    shares = F.one_hot(labels, way).to(support)
    means = (shares / shares.sum(1, keepdim=True)).mT @ (support - centre)
    return F.normalize(query - centre, dim=-1) @ F.normalize(means, dim=-1).mT
