"""What a process needs to know to work on a study: plain values, so that they travel to worker processes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import optuna

from litemkd.config import Config, load_config
from litemkd.search.space import Space, read_space
from litemkd.search.storage import HEARTBEAT
from litemkd.search.study import open_study
from litemkd.search.trial import Recipe


@dataclass(frozen=True)
class Finalists:
    """The settings that are trained again with fresh seeds.

    Attributes:
        titles: in words; the first one is the configuration as it was given.
        values: what differs from it, by key.
        seeds: of the trainings.
    """

    titles: tuple[str, ...]
    values: tuple[dict[str, Any], ...]
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class Job:
    """A study and how it is worked on.

    Attributes:
        config_file, settings: the configuration, as the command line gave it.
        space_file: the search space.
        storage, study: where the study is kept, and its name.
        objectives, sampler, pruner: by name.
        keep: the best so many trials keep their checkpoints.
        workers: processes on this machine.
        teacher: address of the registered teacher.
        run_id: MLflow's run of the study.
        finalists: None while the space is searched.
        heartbeat: seconds, see `litemkd.search.storage`.
    """

    config_file: Path
    settings: tuple[str, ...]
    space_file: Path
    storage: str
    study: str
    objectives: tuple[str, ...] = ("accuracy",)
    sampler: str = "tpe"
    pruner: str = "wilcoxon"
    keep: int = 3
    workers: int = 1
    teacher: str = ""
    run_id: str = ""
    finalists: Finalists | None = None
    heartbeat: int = HEARTBEAT

    def config(self, overrides: tuple[str, ...] = ()) -> Config:
        """The configuration, with further overrides."""
        return load_config(self.config_file, [*self.settings, *overrides])

    def space(self) -> Space:
        """The search space."""
        return read_space(self.space_file)

    def open(self, seed: int = 0) -> optuna.Study:
        """The study; made if missing."""
        return open_study(
            self.storage,
            self.study,
            self.objectives,
            sampler=self.sampler,
            pruner=self.pruner,
            train=self.config().student.train,
            seed=seed,
            heartbeat=self.heartbeat,
        )

    def folder(self) -> Path:
        """Where its trials keep checkpoints, and its workers their logs."""
        return self.config().output / "search" / self.study

    def final(self, finalists: Finalists, name: str) -> Job:
        """The job of training finalists: a study of its own, in which nothing is pruned or suggested."""
        return replace(
            self,
            study=name,
            objectives=("accuracy",),
            sampler="random",
            pruner="none",
            keep=len(finalists.titles) * len(finalists.seeds),
            finalists=finalists,
        )


class Searched:
    """The recipe of a trial of the space."""

    def __init__(self, job: Job) -> None:
        self.job, self.space = job, job.space()

    def __call__(self, trial: optuna.Trial) -> Recipe:
        """Suggest values and make the trial's configuration."""
        values = self.space.suggest(trial)
        config = self.job.config(tuple(self.space.overrides(values)))
        return Recipe(config, values, in_words(values))


class Final:
    """The recipe of a finalist's training."""

    def __init__(self, job: Job, finalists: Finalists) -> None:
        self.job, self.finalists, self.space = job, finalists, job.space()

    def __call__(self, trial: optuna.Trial) -> Recipe:
        """Which finalist and seed is in the trial's parameters."""
        place = trial.suggest_int("setting", 0, len(self.finalists.titles) - 1)
        seed = trial.suggest_categorical("seed", self.finalists.seeds)
        config, values = self.config(place, seed), self.finalists.values[place]
        return Recipe(config, values, f"{self.finalists.titles[place]} again")

    def config(self, place: int, seed: int) -> Config:
        """The configuration of a finalist with a seed."""
        overrides = self.space.overrides(self.finalists.values[place])
        return self.job.config((*overrides, f"seed={seed}"))


def in_words(values: dict[str, Any]) -> str:
    """Values in one line, keys by their last part."""

    def word(value: Any) -> str:
        return f"{value:.3g}" if isinstance(value, float) else str(value)

    return ", ".join(f"{key.rsplit('.', 1)[-1]} {word(value)}" for key, value in values.items())
