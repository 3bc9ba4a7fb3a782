"""A loss of tensors that are given one by one, as the published formulas take them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from litemkd.losses import D2M, Terms
from litemkd.losses.lesson import Lesson
from litemkd.models.heads import FRAME


@dataclass(frozen=True)
class Knowledge:
    """What the teacher says: logits, support distances, features in either form, and perhaps relations."""

    logits: Tensor
    support: Tensor
    features: Tensor
    relation: Tensor | None = None


def d2m_loss(
    spec: D2M,
    logits: Mapping[str, Mapping[str, Tensor]],
    targets: Tensor,
    *,
    parts: Mapping[str, float] | None = None,
    support: Mapping[str, Tensor] | None = None,
    knowledge: Knowledge | None = None,
    projected: Tensor | None = None,
    relation: Tensor | None = None,
) -> Terms:
    """The loss of what is there; `projected` is the student's features, in either form."""
    parts = parts or {FRAME: 1.0}
    if knowledge is None:
        return spec(Lesson(logits, targets, parts))
    answers = {
        "teacher_logits": knowledge.logits,
        "teacher_support": knowledge.support,
        "teacher_features": knowledge.features,
        "teacher_standardised": knowledge.features,
        "teacher_relation": knowledge.relation,
        "student_support": support,
        "student_relation": relation,
        "student_guess": projected,
        "student_frames": None if projected is None else dict.fromkeys(logits, projected),
    }
    return spec(Lesson(logits, targets, parts, {k: x for k, x in answers.items() if x is not None}))
