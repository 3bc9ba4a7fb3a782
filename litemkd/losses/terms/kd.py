"""The teacher's logits, taught to the distill branch; to the only one where there is one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from litemkd.losses.term import Softened, setting

if TYPE_CHECKING:
    from torch import Tensor

    from litemkd.losses.lesson import Lesson


class TeacherLogits(Softened):
    """How far the taught branch's logits are from the teacher's, added up over parts of the head's judgement.

    Standardised logits make T mean the same for logits of any scale (CVPR 2024).
    """

    name = "kd"
    place = 2
    needs = ("teacher_logits",)

    weight: float = setting(1.0, "weight of the teacher's logits in the distill branch", least=0)
    kd_form: Literal["kl", "pearson", "decoupled", "dist"] = setting(
        "kl", "`kl`, `pearson`, `decoupled`, `dist`"
    )
    kd_parts: Literal["all", "frame"] = setting(
        "all", "of a head that judges in parts: `all`, or `frame` alone"
    )
    standardise_logits: bool = setting(False, "standardise logits before the temperature")
    decoupled_target: float = setting(1.0, "weight of the target's share in `decoupled`", least=0)
    decoupled_others: float = setting(8.0, "weight of the other classes in `decoupled`", least=0)
    dist_inter: float = setting(1.0, "weight of the correlation over classes in `dist`", least=0)
    dist_intra: float = setting(1.0, "weight of the correlation over queries in `dist`", least=0)

    def value(self, lesson: Lesson) -> Tensor:
        """Over the parts by their weights, or of the frame part alone."""
        from litemkd.losses.measures import added

        values = []
        for weight, logits in lesson.judged(lesson.taught, frame_alone=self.kd_parts == "frame"):
            values.append(weight * self.distance(logits, lesson.teacher_logits, lesson.targets))
        return added(values)

    def distance(self, student: Tensor, teacher: Tensor, targets: Tensor) -> Tensor:
        """Of logits (B, Q, W); targets (B, Q)."""
        from litemkd.losses import measures

        if self.standardise_logits:
            student, teacher = measures.standardise(student), measures.standardise(teacher)
        if self.kd_form == "pearson":
            return measures.pearson_distance(student, teacher)
        if self.kd_form == "decoupled":
            weights = self.decoupled_target, self.decoupled_others
            return measures.decoupled_distillation(student, teacher, targets, self.temperature, *weights)
        if self.kd_form == "dist":
            return measures.dist_distance(student, teacher, self.temperature, self.dist_inter, self.dist_intra)
        return measures.distillation(student, teacher, self.temperature)
