"""What a student learns on val when its weights are fixed: temperatures by kind of episode."""

from __future__ import annotations

from litemkd.data.episodes import EpisodeSampler
from litemkd.data.splits import Split
from litemkd.evaluation.accuracy import Classifier, evaluate
from litemkd.evaluation.calibration import Calibration, Temperature, fit_temperature
from litemkd.evaluation.embedding import student_classifier
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
    way_of, found = setup.config.episode.way, []
    for way, shot in kinds(setup, split):
        sampler = EpisodeSampler(split, way=way, shot=shot, queries=e.queries, seed=e.seed)
        count = e.val_episodes if way == way_of and shot in e.shots else min(EPISODES, e.val_episodes)
        label = f"calibrating, val, {way}-way {shot}-shot"
        seen = evaluate(classify, sampler, range(count), progress=label)
        found.append(Temperature(way, shot, fit_temperature(seen.logits, seen.labels), count))
    return Calibration(tuple(found)) if found else None


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
