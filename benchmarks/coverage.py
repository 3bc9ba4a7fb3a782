"""How often the intervals of `litemkd.evaluation.studies` hold what is true, in simulated studies.

    python -m benchmarks.coverage [--studies 1000] [--seed 0]

A study has folds, seeds and classes with effects of known size and accuracies that are counted, not normal: a
query of a class is answered right with the chance that the effects say. What is true is the mean over all
folds, seeds and classes that could have been. Gains are differences of two such models on the same classes. The
table of docs/protocol.md is made by this.
"""

from __future__ import annotations

from dataclasses import dataclass

import click
import numpy as np

from litemkd.evaluation.intervals import Interval
from litemkd.evaluation.studies import Training, estimate
from litemkd.report.tables import markdown_table

QUERIES = 1000  # of each class, in 10,000 episodes of 5 ways on 50 classes; more on fewer


@dataclass(frozen=True)
class Study:
    """What studies of a kind look like; standard deviations in points of accuracy.

    Attributes:
        folds, seeds, classes: how many; classes are those that a fold tests.
        fold, seed, cls, rest: of the effects; `rest` is of a class in one training.
        gain: the value is a difference of two models, whose fold and class effects are a half in common.
        lost: so many seeds of the last fold are missing.
    """

    folds: int
    seeds: int
    classes: int
    fold: float = 2.0
    seed: float = 1.5
    cls: float = 8.0
    rest: float = 3.0
    gain: bool = False
    lost: int = 0

    @property
    def words(self) -> tuple[str, ...]:
        """In cells of a table."""
        sizes = [f"{value:g}" for value in (self.fold, self.seed, self.cls, self.rest)]
        return (
            "gain" if self.gain else "accuracy",
            str(self.folds),
            f"{self.seeds}{f', {self.seeds - self.lost} in one' if self.lost else ''}",
            str(self.classes),
            *sizes,
        )


STUDIES = (
    Study(3, 1, 3),
    Study(3, 3, 3),
    Study(4, 1, 5),
    Study(4, 3, 5),
    Study(4, 3, 5, fold=0.0),
    Study(4, 3, 5, cls=0.0, fold=0.0),
    Study(4, 3, 5, lost=2),
    Study(10, 2, 10),
    Study(4, 3, 5, gain=True, cls=4.0),
    Study(3, 3, 3, gain=True, cls=4.0),
    Study(1, 3, 5, fold=0.0),
    Study(1, 3, 19, fold=0.0),
    Study(1, 5, 19, fold=0.0),
    Study(1, 3, 19, fold=0.0, gain=True, cls=4.0),
    Study(1, 5, 24, fold=0.0, seed=4.0, cls=4.0),
    Study(1, 1, 19, fold=0.0, seed=0.0),
)
# Where the interval cannot hold what it should: two seeds, what one seed and one division do not tell.
BEYOND = (
    Study(1, 2, 19, fold=0.0, seed=4.0, cls=4.0),
    Study(1, 1, 19, fold=0.0),
    Study(1, 3, 19),
)
MEAN = 75.0  # per cent


def simulate(study: Study, rng: np.random.Generator) -> list[Training]:
    """The trainings of one study."""

    def model(shared: np.ndarray) -> np.ndarray:
        """(F, S, C) accuracies of one model, per cent, with half of the shared effects (F, 1, C)."""
        shape = study.folds, study.seeds, study.classes
        whole = study.gain * 0.5
        effects = shared * whole**0.5 * study.gain
        own = 1.0 if not study.gain else 0.5**0.5
        value = MEAN + effects + own * study.fold * rng.normal(size=(study.folds, 1, 1))
        value = value + own * study.cls * rng.normal(size=(study.folds, 1, study.classes))
        value = value + study.seed * rng.normal(size=(study.folds, study.seeds, 1))
        chance = np.clip(value + study.rest * rng.normal(size=shape), 0, 100) / 100
        return 100 * rng.binomial(QUERIES, chance) / QUERIES

    shared = study.cls * rng.normal(size=(study.folds, 1, study.classes)) + study.fold * rng.normal(
        size=(study.folds, 1, 1)
    )
    values = model(shared) - (model(shared) if study.gain else 0)
    half = 1.96 * 43 / np.sqrt(QUERIES * study.classes)
    return [
        Training(Interval(float(row.mean()), half), str(f), {str(c): float(one) for c, one in enumerate(row)})
        for f, fold in enumerate(values)
        for s, row in enumerate(fold)
        if not (study.lost and f == study.folds - 1 and s >= study.seeds - study.lost)
    ]


def covered(study: Study, count: int, seed: int = 0) -> tuple[float, float, float]:
    """Shares of studies whose interval holds what is true: the full one and that of episodes; and the width.

    Args:
        study: the kind.
        count: of studies.
        seed: of the effects.

    Returns:
        Coverage of both, from 0 to 1, and the mean half width of the full one, in points.
    """
    rng, truth = np.random.default_rng(seed), 0.0 if study.gain else MEAN
    found = [estimate(simulate(study, rng)) for _ in range(count)]
    off = np.array([abs(one.mean - truth) for one in found])
    halves = np.array([one.half for one in found])
    episodes = np.array([one.episodes for one in found])
    return float((off <= halves).mean()), float((off <= episodes).mean()), float(halves.mean())


@click.command()
@click.option("--studies", default=1000, show_default=True, help="Simulated studies of each kind.")
@click.option("--seed", default=0, show_default=True)
def main(studies: int, seed: int) -> None:
    """Print the table of coverage."""
    header = [
        "of",
        "folds",
        "seeds",
        "classes",
        "fold",
        "seed",
        "class",
        "rest",
        "covered",
        "half",
        "episodes only",
    ]
    rows = []
    for study in (*STUDIES, *BEYOND):
        full, episodes, half = covered(study, studies, seed)
        rows.append([*study.words, f"{100 * full:.1f} %", f"{half:.2f}", f"{100 * episodes:.1f} %"])
    print(markdown_table(header, rows))


if __name__ == "__main__":
    main()
