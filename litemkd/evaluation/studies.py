"""How well a mean over trainings is known: an interval that counts seeds, classes and episodes.

An accuracy, or a gain, is a mean over things that could have been others: the classes that were tested, the
seeds of the trainings, the test episodes. Each is a random effect of a linear mixed model, and the interval is
that of its mean, with variance components from mean squares (analysis of variance) and Student's t with the
degrees of freedom of Satterthwaite (An approximate distribution of estimates of variance components, Biometrics
2, 1946):

* Folds, seeds within them: y = m + fold + seed(fold) + e. The folds' means are independent and alike, whatever
  the seeds and episodes in them add, so the interval is Student's t over these means; that is exact where every
  fold has as many seeds. That folds share classes to train on, and so are not quite independent, no estimate
  can count (Bengio and Grandvalet, JMLR 5, 2004).
* One division, several seeds, each tested on the same classes: y = m + seed + class + e, crossed; the variance
  of the mean is that of its three parts together. With few seeds Satterthwaite's interval is a little short,
  and that of Howe (Approximate confidence limits on the mean of X + Y, JASA 69, 1974) a little long: of their
  squared widths two parts of the first are taken and one of the second, which simulated studies speak for.
* One training: Student's t over its classes, which says nothing of other seeds.

`benchmarks/coverage.py` measures how often such intervals hold what is true.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from scipy.special import stdtr, stdtrit

from litemkd.evaluation.intervals import Z95, Interval

Over = Literal["folds", "seeds and classes", "seeds", "classes", "episodes"]
MOST = 100  # seeds or folds that are thought of


@dataclass(frozen=True)
class Training:
    """What one training reached, or gained.

    Attributes:
        value: per cent or points, with the interval over its test episodes.
        fold: which division of the classes it is of; the same word for all where there is one.
        by_class: the value of each test class; empty where it is not known.
    """

    value: Interval
    fold: str = ""
    by_class: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Estimate:
    """A mean with its intervals.

    Attributes:
        mean: of trainings; of several folds that of their means.
        error: standard error of the mean, NaN where nothing is known of it.
        df: degrees of freedom.
        runs: how many trainings.
        folds: of how many divisions of the classes.
        over: what the interval counts beside episodes.
        episodes: half the width of the 95 % interval of these very trainings over test episodes alone. Those of
            one fold are tested on the same episodes, so they count as if they erred alike: never too narrow.
    """

    mean: float
    error: float
    df: float
    runs: int
    folds: int
    over: Over
    episodes: float

    @property
    def half(self) -> float:
        """Half the width of the 95 % interval."""
        return quantile(self.df) * self.error

    @property
    def p(self) -> float:
        """Two-sided, that the mean is 0; NaN where nothing is known of it."""
        if not self.error:
            return math.nan if math.isnan(self.mean) else float(self.mean == 0)
        return float(2 * stdtr(min(self.df, 1e9), -abs(self.mean) / self.error))


def quantile(df: float) -> float:
    """Student's t of a 95 % interval; 1.96 for infinitely many degrees of freedom."""
    return Z95 if math.isinf(df) else float(stdtrit(df, 0.975))


def estimate(trainings: Sequence[Training]) -> Estimate:
    """The mean over trainings with its intervals, see above; at least one training."""
    folds = _by_fold(trainings)
    means = np.array([np.mean([one.value.mean for one in fold]) for fold in folds])
    inside = np.array([np.mean([one.value.half for one in fold]) for fold in folds])
    episodes, mean = float(np.sqrt((inside**2).sum()) / len(folds)), float(means.mean())

    def found(error: float, df: float, over: Over) -> Estimate:
        return Estimate(mean, float(error), float(df), len(trainings), len(folds), over, episodes)

    if len(folds) > 1:
        return found(means.std(ddof=1) / math.sqrt(len(folds)), len(folds) - 1, "folds")
    table = class_table(trainings)
    if len(trainings) > 1 and table is not None:
        return found(*_Crossed.of(table).error(len(trainings)), "seeds and classes")
    if len(trainings) > 1:
        values = np.array([one.value.mean for one in trainings])
        return found(values.std(ddof=1) / math.sqrt(len(values)), len(values) - 1, "seeds")
    if table is not None:
        return found(table.std(ddof=1) / math.sqrt(table.size), table.size - 1, "classes")
    return found(episodes / Z95, math.inf, "episodes")


def class_table(trainings: Sequence[Training]) -> np.ndarray | None:
    """(S, C) values by training and class; None where they are not all of the same two classes or more."""
    names = sorted(trainings[0].by_class)
    if len(names) < 2 or any(sorted(one.by_class) != names for one in trainings):
        return None
    return np.array([[one.by_class[name] for name in names] for one in trainings])


def _by_fold(trainings: Sequence[Training]) -> list[list[Training]]:
    folds: dict[str, list[Training]] = {}
    for one in trainings:
        folds.setdefault(one.fold, []).append(one)
    return list(folds.values())


@dataclass(frozen=True)
class _Crossed:
    """Variance components of a table of seeds by classes, none below 0."""

    seed: float
    cls: float
    rest: float
    classes: int

    @classmethod
    def of(cls, table: np.ndarray) -> _Crossed:
        """Of (S, C) values, S and C of 2 or more."""
        S, C = table.shape
        seeds, classes = table.mean(1) - table.mean(), table.mean(0) - table.mean()
        rest = ((table - table.mean() - seeds[:, None] - classes) ** 2).sum() / ((S - 1) * (C - 1))
        of_seeds, of_classes = C * (seeds**2).sum() / (S - 1), S * (classes**2).sum() / (C - 1)
        return cls(max(of_seeds - rest, 0.0) / C, max(of_classes - rest, 0.0) / S, rest, C)

    def error(self, S: int) -> tuple[float, float]:
        """Standard error of the mean of S seeds, and the degrees of freedom of its interval.

        Two parts of Satterthwaite's and one of Howe's, who adds the squared widths of the parts, see above.
        """
        from scipy.optimize import brentq  # half a second, which single runs need not wait for

        C = self.classes
        parts = np.array([self.seed / S, self.cls / C, self.rest / (S * C)])
        df = np.array([S - 1, C - 1, (S - 1) * (C - 1)])
        variance = parts.sum()
        if not variance:
            return 0.0, float(df.max())
        satterthwaite = np.clip(variance**2 / (parts**2 / df).sum(), df.min(), df.max())
        howe = (stdtrit(df, 0.975) ** 2 * parts).sum()
        wide = math.sqrt((2 * quantile(satterthwaite) ** 2 + howe / variance) / 3)
        return math.sqrt(variance), float(brentq(lambda free: quantile(free) - wide, 0.5, 1e6))


def holm(values: Sequence[float]) -> list[float]:
    """The p values of several tests, corrected: the chance of one false finding among all stays below each.

    Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6, 1979.
    Unknown ones (NaN) stay unknown, and count for nothing.
    """
    known = sorted((p, place) for place, p in enumerate(values) if not math.isnan(p))
    corrected, most = [math.nan] * len(values), 0.0
    for rank, (p, place) in enumerate(known):
        most = max(most, min(1.0, (len(known) - rank) * p))
        corrected[place] = most
    return corrected


def needed(trainings: Sequence[Training], points: float = 1.0) -> str:
    """What would make the 95 % interval as narrow as plus or minus `points`, in words.

    It is worked out of the variance components that were found, which few trainings say little of.
    """
    now, folds = estimate(trainings), _by_fold(trainings)
    target = f"{points:g} point{'s' * (points != 1)}"
    if math.isnan(now.half):
        return "nothing is known of how it varies"
    if now.half <= points and now.over not in ("classes", "episodes"):
        return f"nothing more for {target}"
    if now.over in ("classes", "episodes"):
        return "one training says nothing of others: two more seeds would tell how much they differ"
    if now.over == "folds":
        return _needed_of_folds(now, [[one.value.mean for one in fold] for fold in folds], points, target)
    seeds = range(len(trainings) + 1, MOST + 1)
    if now.over == "seeds":
        spread = now.error * math.sqrt(now.runs)
        enough = next((S for S in seeds if quantile(S - 1) * spread / math.sqrt(S) <= points), None)
    else:
        table = class_table(trainings)
        assert table is not None
        parts = _Crossed.of(table)
        errors = ((S, *parts.error(S)) for S in seeds)
        enough = next((S for S, error, df in errors if quantile(df) * error <= points), None)
        if enough is None:
            return f"no number of seeds for {target}: {parts.classes} classes differ; folds would test others"
    return f"more than {MOST} seeds for {target}" if enough is None else _more(enough - now.runs, target)


def _needed_of_folds(now: Estimate, folds: Sequence[Sequence[float]], points: float, target: str) -> str:
    repeated = [np.var(fold, ddof=1) for fold in folds if len(fold) > 1]
    if not repeated:
        return f"a second seed of each fold would tell what more of them bring; now ± {now.half:.1f}"
    S, of_means = now.runs / now.folds, now.error**2 * now.folds
    of_seeds = min(float(np.mean(repeated)), S * of_means)
    of_folds = of_means - of_seeds / S

    def half(F: int, seeds: float) -> float:
        return quantile(F - 1) * math.sqrt((of_folds + of_seeds / seeds) / F)

    for more in range(1, MOST + 1):
        if half(now.folds, S + more) <= points:
            return f"{_more(more, target)} in each fold"
    enough = next((F for F in range(now.folds + 1, MOST + 1) if half(F, S) <= points), None)
    would = "more classes" if enough is None else f"{enough} folds of as many classes"
    return f"no number of seeds for {target}: the folds differ; {would} would"


def _more(count: int, target: str) -> str:
    return f"{count} more seed{'s' * (count != 1)} would tell {target} apart"
