"""Labels: the cross-entropy of the label branch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from litemkd.losses.term import Term, setting

if TYPE_CHECKING:
    from torch import Tensor

    from litemkd.losses.lesson import Lesson


class LabelCrossEntropy(Term):
    """Mean over queries of -log softmax(z)[label], added up over the parts of the head's judgement."""

    name = "ce"
    place = 0
    always = True

    weight: float = setting(1 / 16, "weight of the labels in the label branch", least=0)

    def value(self, lesson: Lesson) -> Tensor:
        """Of the label branch."""
        from litemkd.losses.measures import labels_of
        from litemkd.models.student import LABEL

        return labels_of(lesson, LABEL)
