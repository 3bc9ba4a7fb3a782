"""Naming clips from a few examples of each class, with a student in its evaluation form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from litemkd.errors import EpisodeError
from litemkd.evaluation.calibration import UNCALIBRATED, Calibration
from litemkd.evaluation.embedding import CLIPS_AT_ONCE, frame_features
from litemkd.models.backbones import Backbone
from litemkd.models.folding import EvaluationForm
from litemkd.models.heads import Code
from litemkd.models.student import Student

MATCHED_AT_ONCE = 32  # queries


@dataclass(frozen=True)
class Recognition:
    """What queries are.

    Attributes:
        probabilities: (Q, W) of the classes.
        known: (Q,) whether a query is of one of the classes; None where the model has no threshold.
    """

    probabilities: np.ndarray
    known: np.ndarray | None


@dataclass(frozen=True)
class Examples:
    """Supports as they are matched.

    Attributes:
        codes: by branch, class after class.
        marks: (1, S) classes.
        way, shot: W, and how many there are of a class.
    """

    codes: Mapping[str, Code]
    marks: Tensor
    way: int
    shot: int


class Recogniser:
    """A student, and what its clips look like.

    Args:
        student: in eval mode, on the device to compute on.
        frames: T of a clip.
        crop: height and width of a frame, pixels.
        short_side: that frames are resized to before they are cut, pixels.
        calibration: makes probabilities honest; without one they are as the logits have them.

    Raises:
        ValueError: the student is in training mode.
    """

    def __init__(
        self,
        student: Student,
        *,
        frames: int,
        crop: int,
        short_side: int,
        calibration: Calibration | None = None,
    ) -> None:
        self.student = student
        self.frames, self.crop, self.short_side = frames, crop, short_side
        self.calibration = calibration
        self._form = EvaluationForm(student)
        self.device = next(self._form.parameters()).device

    @property
    def frame_by_frame(self) -> bool:
        """Whether frames can be encoded one by one: of a `Backbone` by what it says, never of whole clips."""
        one = self.student.backbone
        return isinstance(one, Backbone) and one.single_frames

    def features(self, clips: np.ndarray) -> Tensor:
        """Features (V, T[, places], C) of clips.

        Args:
            clips: (V, T, crop, crop, 3), uint8, or float32 from 0 to 1.
        """
        scale = 255.0 if clips.dtype == np.uint8 else 1.0
        parts = []
        for start in range(0, len(clips), CLIPS_AT_ONCE):
            part = torch.from_numpy(clips[start : start + CLIPS_AT_ONCE]).to(self.device)
            parts.append(frame_features(self._form.backbone, part.permute(0, 1, 4, 2, 3).float() / scale))
        return torch.cat(parts)

    def probabilities(self, support: Tensor, labels: np.ndarray, query: Tensor) -> np.ndarray:
        """Probabilities (Q, W) of the classes for each query; see `recognise`."""
        return self.recognise(support, labels, query).probabilities

    def recognise(self, support: Tensor, labels: np.ndarray, query: Tensor) -> Recognition:
        """What the queries are.

        Args:
            support: (S, T[, places], C) features.
            labels: (S,) classes of the supports, 0 … W - 1, in any order and number.
            query: (Q, T[, places], C) features.

        Raises:
            EpisodeError: a class has no support, or there are no queries.
        """
        if not len(labels) or not len(query):
            raise EpisodeError(
                f"{len(labels)} supports and {len(query)} queries; at least one of each would do"
            )
        return self.answer(self.examples(support, labels), query)

    def examples(self, support: Tensor, labels: np.ndarray) -> Examples:
        """Supports, encoded once for all queries; see `recognise`."""
        order = labels.argsort(kind="stable")  # class after class: then heads copy less
        marks = torch.from_numpy(labels[order])[None].to(self.device)
        with torch.inference_mode():
            codes = self._encode(support[torch.from_numpy(order).to(support.device)])
        return Examples(codes, marks, int(labels.max()) + 1, shot_of(labels))

    def answer(self, examples: Examples, query: Tensor) -> Recognition:
        """What the queries of these features are; see `recognise`."""
        found = []
        with torch.inference_mode():
            for start in range(0, len(query), MATCHED_AT_ONCE):
                asked = self._encode(query[start : start + MATCHED_AT_ONCE])
                logits = self._form.match(examples.codes, examples.marks, asked, examples.way)[0]
                found.append(logits.float().cpu())
        logits = torch.cat(found)
        if self.calibration is None:
            return Recognition(logits.softmax(-1).numpy(), None)
        warmth = self.calibration.nearest(examples.way, examples.shot).temperature
        known = self.calibration.known(logits.numpy(), examples.shot)
        return Recognition((logits / warmth).softmax(-1).numpy(), known)

    def note(self, labels: np.ndarray) -> str | None:
        """What to say of the probabilities of queries with such supports: not calibrated, or for others."""
        if self.calibration is None:
            return UNCALIBRATED
        return self.calibration.note(int(labels.max()) + 1, shot_of(labels))

    def _encode(self, features: Tensor) -> dict[str, tuple[Tensor, ...]]:
        """Codes of videos, as one episode's."""
        return {name: tuple(x[None] for x in code) for name, code in self._form.encode(features).items()}


def shot_of(labels: np.ndarray) -> int:
    """Supports of a class; where classes have unequally many their mean, rounded."""
    return max(1, round(float(np.bincount(labels).mean())))
