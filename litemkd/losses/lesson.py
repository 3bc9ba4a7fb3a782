"""What terms are shown of a batch of episodes.

Letters for shapes: B episodes, Q queries, W way, V videos of the batch, T frames, D width.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from litemkd.errors import LitemkdError
from litemkd.models.heads import FRAME
from litemkd.models.student import DISTILL, LABEL


@dataclass(frozen=True)
class Lesson:
    """A batch of episodes: the student's judgement, the labels, and what terms need beside them.

    Attributes:
        logits: the student's, (B, Q, W) by branch, `label` and perhaps `distill`, and by part of the head's
            judgement. With one branch every term acts on it.
        targets: (B, Q) classes of the queries.
        parts: weight of each part; the frame part alone when not given.
        answers: what terms need, by the names in `litemkd.losses.term.NEEDS`; None without a teacher.
    """

    logits: Mapping[str, Mapping[str, Tensor]]
    targets: Tensor
    parts: Mapping[str, float] = field(default_factory=lambda: {FRAME: 1.0})
    answers: Mapping[str, Any] | None = None

    @property
    def taught(self) -> str:
        """The branch that learns from the teacher: the student's only one where there is one."""
        return DISTILL if DISTILL in self.logits else LABEL

    def judged(self, branch: str, *, frame_alone: bool = False) -> Iterator[tuple[float, Tensor]]:
        """The parts of a branch's judgement: their weights and logits (B, Q, W)."""
        parts = {FRAME: 1.0} if frame_alone else self.parts
        return ((weight, self.logits[branch][part]) for part, weight in parts.items())

    def _answer(self, need: str) -> Any:
        if self.answers is None or need not in self.answers:
            raise LitemkdError(
                f"a term of the loss reads lesson.{need}, which its `needs` do not name; "
                f'needs = ("{need}",) would do'
            )
        return self.answers[need]

    @property
    def teacher_logits(self) -> Tensor:
        """(B, Q, W)."""
        return self._answer("teacher_logits")

    @property
    def teacher_support(self) -> Tensor:
        """(B, W, W - 1) support distances, see `litemkd.losses.measures.support_distances`."""
        return self._answer("teacher_support")

    @property
    def teacher_relation(self) -> Tensor:
        """(B, Q, W²) cosines of the classes' prototypes, for each query."""
        return self._answer("teacher_relation")

    @property
    def teacher_features(self) -> Tensor:
        """(V, T, D) fused frame features; D is the teacher's."""
        return self._answer("teacher_features")

    @property
    def teacher_standardised(self) -> Tensor:
        """The same, each of the D numbers with mean 0 and standard deviation 1 over all train frames."""
        return self._answer("teacher_standardised")

    @property
    def student_support(self) -> Mapping[str, Tensor]:
        """(B, W, W - 1) support distances by branch."""
        return self._answer("student_support")

    @property
    def student_relation(self) -> Tensor:
        """(B, Q, W²) by the taught branch."""
        return self._answer("student_relation")

    @property
    def student_frames(self) -> Mapping[str, Tensor]:
        """(V, T, D) frame features by branch; D is the student's."""
        return self._answer("student_frames")

    @property
    def student_guess(self) -> Tensor:
        """(V, T, D) a learned linear guess of the teacher's standardised features, by the taught branch."""
        return self._answer("student_guess")
