"""The teacher's frame features: guessed from the distill branch's, or compared with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from litemkd.losses.term import Around, Term, setting

if TYPE_CHECKING:
    from torch import Tensor

    from litemkd.losses.lesson import Lesson


class FrameFeatures(Term):
    """Mean squared error of a learned linear guess of the standardised features, or of the features."""

    name = "feature"
    place = 5

    weight: float = setting(0.0, "weight of the teacher's frame features", least=0)
    feature_form: Literal["projected", "plain"] = setting(
        "projected", "a learned guess of the teacher's features (`projected`), or the branch's own (`plain`)"
    )

    @property
    def needs(self) -> tuple[str, ...]:
        """Of both sides, by form."""
        if self.feature_form == "plain":
            return ("teacher_features", "student_frames")
        return ("teacher_standardised", "student_guess")

    def value(self, lesson: Lesson) -> Tensor:
        """Of the taught branch."""
        from litemkd.losses.measures import unexplained

        if self.feature_form == "plain":
            return unexplained(lesson.student_frames[lesson.taught], lesson.teacher_features)
        return unexplained(lesson.student_guess, lesson.teacher_standardised)

    def clashes(self, around: Around) -> dict[str, str]:
        """Features of two widths cannot be compared as they are."""
        theirs = around.teacher_width
        if not self.weight or self.feature_form != "plain" or theirs in (None, around.width):
            return {}
        return {
            "feature_form": "'plain' given, which compares features of one width; student.width is "
            f"{around.width}, {around.teacher_key} {theirs}: make them equal, or `projected` would do"
        }
