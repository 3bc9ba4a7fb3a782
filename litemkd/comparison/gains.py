"""What distillation brings: distilled students against those on labels alone, paired on the same episodes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from litemkd.comparison.entries import Entry, of_student, shots_of
from litemkd.evaluation.intervals import Interval
from litemkd.tracking import RunRecord

# Accuracy of each test episode of a run, per cent, by run id and number of shots; None where there is none.
Episodes = Callable[[str, int], np.ndarray | None]


@dataclass(frozen=True)
class Gain:
    """Points above the student on labels alone of the same seed and settings.

    Attributes:
        baseline: the run id of that student; None where `distill` recorded the difference and its student is
            not among the runs that were read.
    """

    points: Interval
    baseline: str | None


class Gains:
    """Finds the gain of a run.

    Args:
        entries: all that count, newest first: baselines are looked for among them.
        jobs: runs of the stage `distill`, which record the gain of their students.
        episodes: reads results by episode, for students that were trained in separate jobs.
    """

    def __init__(self, entries: Iterable[Entry], jobs: Iterable[RunRecord], episodes: Episodes) -> None:
        self._recorded = {job.run_id: _recorded(job) for job in jobs}
        self._episodes = episodes
        self._baselines: dict[tuple[object, ...], list[Entry]] = {}
        for entry in entries:
            if entry.distilled == "no":
                self._baselines.setdefault(_pair(entry), []).append(entry)

    def of(self, entry: Entry, shot: int) -> Gain | None:
        """The gain of a distilled student; None of others, and where there is nothing to pair it with.

        The baseline of the same job is taken before a newer one, and what the job recorded is taken as it is.
        """
        if entry.distilled != "yes":
            return None
        parent = entry.record.parent_run_id
        rivals = self._baselines.get(_pair(entry), [])
        siblings = [other for other in rivals if parent and other.record.parent_run_id == parent]
        recorded = self._recorded.get(parent or "", {}).get(shot)
        if recorded is not None:
            return Gain(recorded, siblings[0].run_id if siblings else None)
        mine = self._episodes(entry.run_id, shot) if rivals else None
        for other in (*siblings, *rivals):
            theirs = self._episodes(other.run_id, shot) if mine is not None and shot in other.accuracy else None
            if mine is not None and theirs is not None and mine.shape == theirs.shape:
                return Gain(Interval.of(mine.astype(float) - theirs), other.run_id)
        return None


def _pair(entry: Entry) -> tuple[object, ...]:
    return (
        entry.dataset,
        entry.seed,
        entry.fold,
        tuple(entry.protocol.items()),
        tuple(of_student(entry.settings).items()),
    )


def _recorded(job: RunRecord) -> Mapping[int, Interval]:
    metrics = job.metrics
    return {
        shot: Interval(metrics[name], metrics.get(f"gain/accuracy_ci95_{shot}shot", float("nan")))
        for shot in shots_of(job.params)
        if (name := f"gain/accuracy_{shot}shot") in metrics
    }
