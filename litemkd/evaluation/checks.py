"""Checks without training: what a nearest prototype makes of the very clips that a student or an expert sees.

A trained model that does not beat them has learned nothing that was worth training for. They are the head
`sequence` on pixels, or on joints.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn
from torch.nn import functional as F

from litemkd.data.packs.arrays import Source
from litemkd.errors import LitemkdError
from litemkd.evaluation.accuracy import Classifier
from litemkd.evaluation.embedding import embed, match_rows
from litemkd.extending.outside import near
from litemkd.models.heads.sequence import Sequence
from litemkd.models.temporal import frame_differences

PREFIX = "check:"
SIDE = 24  # pixels of the frames that are compared


def _pixels(clips: Tensor) -> Tensor:
    """(V, T, 3, H, W) frames in [0, 1] -> (V, T, 3, SIDE, SIDE)."""
    return F.adaptive_avg_pool2d(clips.flatten(0, 1), SIDE).unflatten(0, clips.shape[:2])


def _motion(clips: Tensor) -> Tensor:
    """(V, T, 3, H, W) frames in [0, 1] -> (V, T - 1, SIDE, SIDE): how much each place changed."""
    return frame_differences(_pixels(clips))[:, 1:].amax(2)


def _joints(clips: Tensor) -> Tensor:
    """(V, T, J, 4) joints -> their places, (V, T, J, 3)."""
    return clips[..., :3]


@dataclass(frozen=True)
class Check:
    """A check: clips of a modality, and what is compared of each of their frames, (V, T', …)."""

    modality: str
    seen: Callable[[Tensor], Tensor]


CHECKS: Mapping[str, Check] = {
    "motion": Check("rgb", _motion),
    "pixel": Check("rgb", _pixels),
    "joints": Check("joints", _joints),
}


@dataclass(frozen=True)
class AsTheyAre:
    """Looks at arrays as they are; see `litemkd.data.packs.arrays.Taker`."""

    takes: tuple[int, ...]
    window: float = 0.0

    def vary(self, clip: np.ndarray, rng: np.random.Generator, flip: bool) -> np.ndarray:
        """The clip."""
        return clip


def is_check(model: str) -> bool:
    """Whether a model's name asks for a check."""
    return model.startswith(PREFIX)


def find_check(model: str) -> Check:
    """The check that `check:NAME` asks for; LitemkdError if there is none."""
    name = model.removeprefix(PREFIX)
    if name not in CHECKS:
        raise LitemkdError(f"{model}: no such check; {near(name, CHECKS)}")
    return CHECKS[name]


def check_classifier(model: str, clips: Source) -> Classifier:
    """Logits of any episode of the split.

    Args:
        model: `check:NAME`, a key of `CHECKS`.
        clips: of the split, and of the check's modality.

    Raises:
        LitemkdError: no such check, or clips of one frame for one of motion.
    """
    check = find_check(model)
    if check.seen is _motion and clips.frames < 2:
        raise LitemkdError(f"{model}: clips of {clips.frames} frame show no motion; data.frames=8 would do")
    seen = embed(lambda frames: {model: check.seen(frames).flatten(2)}, clips)[model]
    head = Sequence(seen.shape[2], frames=seen.shape[1]).folded(nn.Identity())
    code = head.encode(seen)
    return lambda episodes: match_rows(head.match, code, episodes, seen.device)
