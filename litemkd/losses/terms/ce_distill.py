"""Labels in the branch that learns from the teacher, where a student has two."""

from __future__ import annotations

from typing import TYPE_CHECKING

from litemkd.losses.term import Term, setting

if TYPE_CHECKING:
    from torch import Tensor

    from litemkd.losses.lesson import Lesson


class DistillCrossEntropy(Term):
    """As `ce`, of the distill branch. Runs have never shown it by itself."""

    name = "ce_distill"
    place = 1
    logged = False

    weight: float = setting(0.0, "weight of the labels in the distill branch", least=0)

    def value(self, lesson: Lesson) -> Tensor | None:
        """Of the distill branch; None where there is none."""
        from litemkd.losses.measures import labels_of
        from litemkd.models.student import DISTILL

        return labels_of(lesson, DISTILL) if DISTILL in lesson.logits else None
