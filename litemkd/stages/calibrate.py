"""What a student learns on val when its weights are fixed: temperatures, and what is none of the classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from litemkd.data.episodes import fixed_episodes
from litemkd.data.splits import Split
from litemkd.evaluation.accuracy import Classifier, evaluate
from litemkd.evaluation.calibration import Calibration, Temperature, fit_temperature
from litemkd.evaluation.embedding import student_classifier
from litemkd.evaluation.unknown import SCORES, OpenSet, auroc, stranger_logits, threshold_of
from litemkd.models.student import Student
from litemkd.stages.setup import Setup

# Beside those that the student is tested with, where val has so many classes and clips; and their episodes.
WAYS, SHOTS, EPISODES = (2, 3, 5, 10), (1, 2, 5), 200


def calibrate(setup: Setup, student: Student) -> Calibration | None:
    """Temperatures of a student in eval mode by kind of episode; None where val has too few clips for any."""
    return temperatures(setup, student_classifier(student, setup.clips("rgb", "val")))


def temperatures(setup: Setup, classify: Classifier) -> Calibration | None:
    """Temperatures of what classifies val episodes; see `calibrate`."""
    e, split = setup.config.evaluation, setup.data.splits["val"]
    way_of = setup.config.episode.way
    found: list[Temperature] = []
    open_sets: dict[int, OpenSet] = {}  # by place in `found`
    for way, shot in kinds(setup, split):
        sampler = fixed_episodes(split, way, shot, e.queries, e.seed)
        count = e.val_episodes if way == way_of and shot in e.shots else min(EPISODES, e.val_episodes)
        label = f"calibrating, val, {way}-way {shot}-shot"
        seen = evaluate(classify, sampler, range(count), progress=label)
        if way < len(split.classes):
            strangers = stranger_logits(classify, sampler, range(count), progress=f"{label}, none of these")
            open_sets[len(found)] = OpenSet(seen.logits, strangers)
        found.append(Temperature(way, shot, fit_temperature(seen.logits, seen.labels), count))
    return with_thresholds(found, open_sets) if found else None


def with_thresholds(found: Sequence[Temperature], open_sets: Mapping[int, OpenSet]) -> Calibration:
    """A calibration with the score that tells strangers best on val, and a threshold for each kind of episode.

    Args:
        found: temperatures.
        open_sets: by place in `found`, of those kinds that can have strangers.
    """
    if not open_sets:
        return Calibration(tuple(found))

    def told_apart(score: str) -> float:
        return sum(auroc(*one.scores(score, found[i].temperature)) for i, one in open_sets.items())

    best = max(SCORES, key=told_apart)
    kept = {i: threshold_of(one.scores(best, found[i].temperature)[0]) for i, one in open_sets.items()}
    return Calibration(tuple(replace(one, threshold=kept.get(i)) for i, one in enumerate(found)), best)


def kinds(setup: Setup, split: Split) -> list[tuple[int, int]]:
    """The kinds of episode, ways and shots, that a split has classes and clips for."""
    config = setup.config
    fewest = min(int((split.labels == label).sum()) for label in range(len(split.classes)))
    ways = {config.episode.way, *WAYS}
    shots = {*config.evaluation.shots, *SHOTS}
    return [
        (way, shot)
        for way in sorted(ways)
        for shot in sorted(shots)
        if way <= len(split.classes) and shot + config.evaluation.queries <= fewest
    ]
