"""The end of a search: the best few trained again with fresh seeds, the winner of these on val, tested once.

Trials were all trained with one seed and the best of many was taken, so their val accuracies flatter them. Here
the best few and the configuration as it was given are trained with seeds no trial has seen. The highest mean on
val wins; only the winner and the given configuration are then read on the test classes, on the same episodes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import optuna
from optuna.trial import TrialState

from litemkd.config import digest_of
from litemkd.evaluation.accuracy import Evaluation, Interval, paired_difference
from litemkd.models.student import Student
from litemkd.search.job import Finalists, Job, in_words
from litemkd.search.study import FIRST, Parameters, best_trials
from litemkd.search.trial import Inputs
from litemkd.stages.build import load_model
from litemkd.stages.setup import Setup
from litemkd.stages.student import student_checkpoints, student_stage
from litemkd.tracking import Promotion, promote

GIVEN = "untuned"
VERDICT = "result"  # what the study of the finals notes at its end: the table


@dataclass(frozen=True)
class Trained:
    """A finalist's trainings.

    Attributes:
        title: in words.
        values: its settings.
        accuracies: best val accuracy of each seed, per cent.
        numbers: of its trials, by seed, as their folders are called.
    """

    title: str
    values: Parameters
    accuracies: tuple[float, ...]
    numbers: dict[int, int]

    @property
    def mean(self) -> float:
        """Over the seeds."""
        return float(np.mean(self.accuracies))


@dataclass(frozen=True)
class Verdict:
    """How a search ended.

    Attributes:
        trained: the finalists, the configuration as given first.
        winner: the one of the highest mean on val.
        tests: of the winner and of the configuration as given, by shots: mean over seeds, by episode.
        name, version: of the registered winner; see `tracking.register_model` for what is no version yet.
        promotions: what moved in the registry.
    """

    trained: list[Trained]
    winner: Trained
    tests: dict[str, dict[int, np.ndarray]]
    name: str
    version: int | str
    promotions: list[Promotion]

    @property
    def gains(self) -> dict[int, Interval]:
        """The winner above the configuration as given, paired by episode; none if it won, or failed."""
        if self.winner.title == GIVEN or GIVEN not in self.tests:
            return {}
        given = self.tests[GIVEN]
        return {shot: paired_difference(self.tests["winner"][shot], given[shot]) for shot in given}


def choose_finalists(job: Job, study: optuna.Study, count: int, seeds: int) -> Finalists:
    """The configuration as given and the best `count` trials that differ from it, with fresh seeds."""
    space, given = job.space, job.config()
    titles, values = [GIVEN], [Parameters()]
    for trial in best_trials(study):
        found = space.values_of(trial.params)
        differs = job.config(tuple(space.overrides(found))) != given
        if len(titles) <= count and differs and found not in values:
            titles.append(f"trial {trial.number}")
            values.append(found)
    return Finalists(tuple(titles), tuple(values), tuple(given.seed + 1 + place for place in range(seeds)))


def finals_name(study: str, finalists: Finalists) -> str:
    """The name of the study in which these finalists are trained."""
    return f"{study}/finals-{digest_of(list(finalists.values), list(finalists.seeds))[:8]}"


def queue_of(finalists: Finalists) -> list[Parameters]:
    """The trials of the finals."""
    places = range(len(finalists.titles))
    return [{"setting": place, "seed": seed} for seed in finalists.seeds for place in places]


def results(study: optuna.Study, finalists: Finalists) -> list[Trained]:
    """Finalists all of whose trainings were completed, in their order."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    found = []
    for place, (title, values) in enumerate(zip(finalists.titles, finalists.values, strict=True)):
        mine = {trial.params["seed"]: trial for trial in complete if trial.params["setting"] == place}
        if len(mine) == len(finalists.seeds):
            numbers = {seed: trial.user_attrs.get(FIRST, trial.number) for seed, trial in mine.items()}
            accuracies = tuple(mine[seed].values[0] for seed in finalists.seeds)
            found.append(Trained(title, values, accuracies, numbers))
    return found


def conclude(job: Job, inputs: Inputs, trained: list[Trained]) -> Verdict:
    """Test and register the winner; the test classes are read here and nowhere else in a search.

    Args:
        job: of the finals.
        inputs: what all trials shared.
        trained: the finalists, see `results`.
    """
    assert job.finalists is not None
    seeds = job.finalists.seeds
    winner = max(trained, key=lambda one: one.mean)  # the first of equals, so the given one before others
    best_seed = seeds[int(np.argmax(winner.accuracies))]
    given = next((one for one in trained if one.title == GIVEN), None)
    tests: dict[str, dict[int, np.ndarray]] = {}
    version: int | str = 0
    name = ""
    for label, one in (("winner", winner), (GIVEN, given)):
        if one is None or (label == GIVEN and one is winner):
            continue
        by_seed: list[dict[int, Evaluation]] = []
        for seed in seeds:
            config = job.config_of(job.finalists.titles.index(one.title), seed)
            config = config.model_copy(update={"output": job.folder() / f"trial-{one.numbers[seed]}"})
            setup = Setup(config, inputs.device, inputs.data, resume=True)
            if label == "winner" and seed == best_seed:
                registered = student_stage(setup, teacher=inputs.teacher)
                version, name = registered.version, registered.name
                by_seed.append(registered.tests)
            else:
                trained_in = student_checkpoints(setup, inputs.teacher).folder
                student = load_model(trained_in).to(inputs.device)
                assert isinstance(student, Student)
                label_of = f"{one.title}, seed {seed}"
                by_seed.append(setup.test_student(student, label_of))
        tests[label] = {
            shot: np.mean([each[shot].accuracies for each in by_seed], axis=0) for shot in by_seed[0]
        }
    if winner is given:
        tests[GIVEN] = tests["winner"]
    return Verdict(trained, winner, tests, name, version, [promote(name)])


def verdict_table(verdict: Verdict) -> tuple[list[str], list[list[str]]]:
    """The closing table: header and rows."""
    shots = list(verdict.tests["winner"])
    header = ["settings", "val, %", *(f"test, {shot}-shot, %" for shot in shots)]
    rows = []
    for one in verdict.trained:
        label = "winner" if one is verdict.winner else one.title
        found = verdict.tests.get(label, {})
        tested = [str(Interval.of(found[shot])) if shot in found else "" for shot in shots]
        title = one.title if one.title == GIVEN else f"{one.title}: {in_words(one.values)}"
        rows.append([f"{title}{' (winner)' if one is verdict.winner else ''}", f"{one.mean:.2f}", *tested])
    if verdict.gains:
        gains = [f"{gain.mean:+.2f} ± {gain.half:.2f}" for gain in verdict.gains.values()]
        rows.append(["winner above untuned", f"{verdict.winner.mean - verdict.trained[0].mean:+.2f}", *gains])
    return header, rows
