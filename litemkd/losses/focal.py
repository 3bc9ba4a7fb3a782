"""The focal weight: terms by how much there is to learn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from litemkd.extending.declared import setting

if TYPE_CHECKING:
    from torch import Tensor

    from litemkd.losses.lesson import Lesson

LIFTED = "kd"  # the term that the weight lifts; the others give way


@dataclass(frozen=True)
class Focal:
    """w = 1 - exp(-CE / CE'), a constant for the gradient; without a teacher there is none.

    `focal_rest` as None leaves the other terms as they are.
    """

    focal: Literal["none", "branches", "teacher"] = setting(
        "none", "weigh the terms by who is ahead: `none`, `branches`, `teacher`"
    )
    focal_kd: float = setting(0.0, "`kd` is multiplied by this + w", least=0)
    focal_rest: float | None = setting(None, "the other terms are multiplied by this - w", least=1)

    @property
    def needs(self) -> tuple[str, ...]:
        """As a term's."""
        return ("teacher_logits",) if self.focal == "teacher" else ()

    def weight(self, lesson: Lesson) -> Tensor | None:
        """w, (): near 1 where the label branch has much to learn from the other; None if not asked for."""
        if self.focal == "none" or lesson.answers is None:
            return None
        import torch

        from litemkd.losses.measures import EPSILON, cross_entropy
        from litemkd.models.heads import FRAME
        from litemkd.models.student import LABEL

        behind, targets = lesson.logits[LABEL][FRAME], lesson.targets
        ahead = lesson.teacher_logits if self.focal == "teacher" else lesson.logits[lesson.taught][FRAME]
        with torch.no_grad():
            ratio = cross_entropy(behind, targets) / (cross_entropy(ahead, targets) + EPSILON)
        return 1 - (-ratio.double().clamp_min(0)).exp()
