"""D2M, the distillation of Lite-MKD (ACM MM 2023): a weighted sum of terms.

The paper's weights, the defaults, are `kd` 1, `support` 0.5 and `ce` 1/16, KL at T = 4 and Pearson.
`litemkd.losses.presets` has every published combination by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from litemkd.errors import LitemkdError
from litemkd.extending.declared import settings_of
from litemkd.losses.focal import LIFTED, Focal
from litemkd.losses.term import Around, Term, find_term
from litemkd.losses.terms import TERMS

if TYPE_CHECKING:
    from torch import Tensor

    from litemkd.losses.lesson import Lesson


@dataclass(frozen=True)
class Terms:
    """The terms of a batch of episodes and their weighted sum.

    Attributes:
        loss: the weighted sum, ().
        values: the terms that took part, unweighted, by name.
        told: what is logged, by metric name, where it was computed.
    """

    loss: Tensor
    values: Mapping[str, Tensor]
    told: Mapping[str, Tensor]

    @property
    def metrics(self) -> dict[str, float]:
        """`told` as numbers, which a device is waited for."""
        return {name: float(value) for name, value in self.told.items()}


@dataclass(frozen=True)
class D2M:
    """A weighted sum of terms.

    Attributes:
        terms: by name, in the order in which they are added up; of several terms of one class each has its own.
        focal: what they are weighed by beside their weights.
    """

    terms: Mapping[str, Term]
    focal: Focal = field(default_factory=Focal)

    @classmethod
    def of(cls, *, terms: Mapping[str, Mapping[str, Any]] | None = None, **settings: Any) -> D2M:
        """The loss of settings as the section `loss` of an experiment has them, checked before.

        Args:
            terms: those from outside by name: what to `use`, and settings.
            settings: weights by the name of their term, and the other settings; defaults where not given.

        Raises:
            TypeError: a setting that no term has.
            ValueError: an outside term that is not there.
        """
        taken: set[str] = set()

        def given(declared: type[Any], weight: str = "") -> dict[str, Any]:
            keys = {one: weight if weight and one == "weight" else one for one in settings_of(declared)}
            taken.update(keys.values())
            return {one: settings[key] for one, key in keys.items() if key in settings}

        found: dict[str, Term] = {one.name: one(**given(one, one.name)) for one in TERMS}
        focal = Focal(**given(Focal))
        if unknown := settings.keys() - taken:
            raise TypeError(f"no such settings of the loss: {', '.join(sorted(unknown))}")
        for name, own in (terms or {}).items():
            found[name] = find_term(own["use"])(**{key: value for key, value in own.items() if key != "use"})
        return cls(found, focal)

    @property
    def needs(self) -> frozenset[str]:
        """What a lesson has to answer for the terms that have a weight; see `litemkd.losses.term.NEEDS`."""
        counted = (term.needs for term in self.terms.values() if term.weight)
        return frozenset(self.focal.needs).union(*counted)

    def clashes(self, around: Around) -> list[str]:
        """What does not go together with other settings, each with the key, what was given, what would do."""
        own = {one.name for one in TERMS}
        problems = []
        for name, term in self.terms.items():
            for key, words in term.clashes(around).items():
                place = (name if key == "weight" else key) if name in own else f"terms.{name}.{key}"
                problems.append(f"loss.{place}: {words}")
        return problems

    def __call__(self, lesson: Lesson) -> Terms:
        """The loss of a batch of episodes. Without a teacher only the terms count that need none.

        Raises:
            LitemkdError: a term that is no single number, or that reads what it did not ask for.
        """
        answers = lesson.answers or {}
        values: dict[str, Tensor] = {}
        for name, term in self.terms.items():
            if (term.weight or term.always) and all(need in answers for need in term.needs):
                value = term.value(lesson)
                if value is not None:
                    values[name] = _single(name, value)
        w = self.focal.weight(lesson)
        others = [self.terms[name].weight * value for name, value in values.items() if name != LIFTED]
        parts = [sum(others[1:], others[0])] if others else []
        if parts and w is not None and self.focal.focal_rest is not None:
            parts = [(self.focal.focal_rest - w).to(parts[0].dtype) * parts[0]]
        if LIFTED in values:
            kd = values[LIFTED]
            lifted = kd if w is None else (self.focal.focal_kd + w).to(kd.dtype) * kd
            parts.append(self.terms[LIFTED].weight * lifted)
        loss = sum(parts[1:], parts[0])
        told = {"train/loss": loss.detach()} | {
            f"train/loss_{name}": value.detach() for name, value in values.items() if self.terms[name].logged
        }
        return Terms(loss, values, told if w is None else told | {"train/focal_weight": w})


def _single(name: str, value: Tensor) -> Tensor:
    shape = getattr(value, "shape", None)
    if shape is None or len(shape):
        what = f"a {type(value).__name__}" if shape is None else f"a tensor of shape {tuple(shape)}"
        raise LitemkdError(f"the loss term {name} is {what}; a single number, such as the mean, would do")
    return value
