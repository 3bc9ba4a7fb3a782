"""What a term of the loss is: what it can be set to, what it needs to be shown, and how it is computed.

The configuration reads the terms' settings, and it does without torch, which takes seconds to load: this module
and those in `terms/` import torch where they compute and for annotations, nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, dataclass_transform

from litemkd.extending.declared import setting
from litemkd.extending.outside import Wanted, near

if TYPE_CHECKING:
    from torch import Tensor

    from litemkd.losses.lesson import Lesson

# What a term may ask for beside the student's logits and the labels: attributes of a `Lesson`, described there.
NEEDS = (
    "teacher_logits",
    "teacher_support",
    "teacher_relation",
    "teacher_features",
    "teacher_standardised",
    "student_support",
    "student_relation",
    "student_frames",
    "student_guess",
)


@dataclass(frozen=True)
class Around:
    """What a loss has to fit to.

    Attributes:
        way: of the training episodes.
        width: of the student's branches.
        teacher_width: of the teacher's fused features; None while that is not known.
        teacher_key: where that width comes from, in words.
    """

    way: int
    width: int
    teacher_width: int | None = None
    teacher_key: str = "teacher.expert.width"


@dataclass_transform(frozen_default=True, kw_only_default=True)
@dataclass(frozen=True, kw_only=True)
class Term:
    """A term of D2M. A subclass is a frozen dataclass by itself; its annotated attributes are its settings.

    Attributes:
        name: of a term that comes with litemkd; its weight stands under `loss.<name>`, its settings beside it.
        place: terms are added up in this order, and then by name. The last bits of a sum depend on it.
        always: computed, and so logged, even where its weight is 0.
        logged: whether its value is a metric, `train/loss_<name>`.
        weight: of the term in the sum; 0 leaves it out.
    """

    name: ClassVar[str] = ""
    place: ClassVar[int] = 100
    always: ClassVar[bool] = False
    logged: ClassVar[bool] = True

    weight: float = setting(1.0, "weight of the term", least=0)

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        dataclass(frozen=True, kw_only=True)(cls)

    @property
    def needs(self) -> tuple[str, ...]:
        """Which of `NEEDS` it looks at. A subclass may simply say `needs = ("teacher_logits",)`.

        A term that needs something takes no part where it is not there, as without a teacher.
        """
        return ()

    def value(self, lesson: Lesson) -> Tensor | None:
        """The term of a batch of episodes, unweighted, (); None where it has nothing to say."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it is computed: it has no `value`")

    def clashes(self, around: Around) -> Mapping[str, str]:
        """What does not go together with other settings, by setting: what was given and what would do."""
        return {}


class Softened(Term):
    """A term with the temperature that terms share."""

    temperature: float = setting(4.0, "T of `kd`, of `relation`, and of the support term as `kl`", above=0)


def find_term(use: str) -> type[Term]:
    """A term that others wrote, by what an experiment says under `use`; see `litemkd.extending.outside`.

    Raises:
        ValueError: what is wrong with it, and what would do.
    """
    found: type[Term] = _TERM.find(use)
    if found.value is Term.value:
        raise ValueError(f"no method `value` in {found.__name__}, which says how the term is computed")
    needs: Any = found.needs
    strange = [] if isinstance(needs, property) else [need for need in needs if need not in NEEDS]
    if strange:
        raise ValueError(f"it needs {strange[0]!r}; {near(strange[0], NEEDS)}")
    return found


_TERM = Wanted("term", Term, "litemkd.losses.Term", "litemkd.losses", "my_terms:Margin")
