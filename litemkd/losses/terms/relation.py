"""How the classes relate for each query."""

from __future__ import annotations

from typing import TYPE_CHECKING

from litemkd.losses.term import Softened, setting

if TYPE_CHECKING:
    from torch import Tensor

    from litemkd.losses.lesson import Lesson


class Relation(Softened):
    """KL at T, for each query, of the W² cosines of the classes' prototypes."""

    name = "relation"
    place = 4
    needs = ("teacher_relation", "student_relation")

    weight: float = setting(0.0, "weight of how the classes relate for each query", least=0)

    def value(self, lesson: Lesson) -> Tensor:
        """Of the taught branch."""
        from litemkd.losses.measures import distillation

        return distillation(lesson.student_relation, lesson.teacher_relation, self.temperature)
