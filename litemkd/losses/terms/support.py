"""Support distances: how differently student and teacher lay the classes of an episode out.

Squared distances of wide features are so large that their softmax is one-hot and the gradient of the published
form is zero; `tempered` standardises each row of distances first, so the term compares their pattern whatever
their scale and its gradient stays alive.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Literal

from litemkd.losses.term import Around, Softened, setting

if TYPE_CHECKING:
    from torch import Tensor

    from litemkd.losses.lesson import Lesson


class SupportDistances(Softened):
    """Likeness of rows of support distances, added up over the branches whose features lay the classes out."""

    name = "support"
    place = 3
    needs = ("teacher_support", "student_support")

    weight: float = setting(0.5, "weight of the support term", least=0)
    support_form: Literal["published", "tempered", "kl"] = setting("published", "`published`, `tempered`, `kl`")
    support_branch: Literal["label", "distill", "both"] = setting("label", "`label`, `distill`, `both`")
    support_temperature: float = setting(1.0, "T of the tempered form", above=0)

    def value(self, lesson: Lesson) -> Tensor:
        """Of each branch that counts."""
        from litemkd.losses.measures import added

        rows = (lesson.student_support[branch] for branch in self.branches(lesson.logits))
        return added(self.distance(row, lesson.teacher_support) for row in rows)

    def branches(self, there: Collection[str]) -> list[str]:
        """Those of a student's branches whose support distances count: its only one where there is one."""
        wanted = ("label", "distill") if self.support_branch == "both" else (self.support_branch,)
        return [branch for branch in wanted if branch in there] or ["label"]

    def distance(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Of support distances (B, W, W - 1)."""
        from litemkd.losses import measures

        if self.support_form == "kl":
            return measures.distillation(student, teacher, self.temperature)
        if self.support_form == "tempered":
            student = measures.standardise(student) / self.support_temperature
            teacher = measures.standardise(teacher) / self.support_temperature
        return measures.pearson_distance(student, teacher)

    def clashes(self, around: Around) -> dict[str, str]:
        """With fewer than four ways."""
        if not self.weight or around.way >= 4:
            return {}
        return {
            "weight": f"{self.weight} given; with episode.way = {around.way} the support term has no gradient "
            "(a correlation of fewer than 3 numbers): 0, or 4 ways or more, would do"
        }
