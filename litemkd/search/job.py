"""What a process needs to know to work on a study: plain values, so that they travel to worker processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import optuna

from litemkd.config import Config, TrainConfig, load_config
from litemkd.search.space import Space, read_space
from litemkd.search.storage import HEARTBEAT
from litemkd.search.study import open_study


@dataclass(frozen=True)
class Recipe:
    """What a trial is to be.

    Attributes:
        config: of the trial.
        settings: what differs from the configuration that was given, by key.
        title: in words.
    """

    config: Config
    settings: Mapping[str, Any]
    title: str


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
        divisions, seeds: that judge each trial: so many choices of val classes, each with so many seeds.
        teachers: addresses of the registered teachers, by division.
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
    divisions: int = 1
    seeds: int = 1
    teachers: tuple[str, ...] = ()
    run_id: str = ""
    finalists: Finalists | None = None
    heartbeat: int = HEARTBEAT

    def config(self, overrides: tuple[str, ...] = ()) -> Config:
        """The configuration, with further overrides."""
        return load_config(self.config_file, [*self.settings, *overrides])

    @cached_property
    def space(self) -> Space:
        """The search space, as the file was when it was first asked for; workers get it as it was then."""
        return read_space(self.space_file)

    def open(self, seed: int = 0) -> optuna.Study:
        """The study; made if missing."""
        return open_study(
            self.storage,
            self.study,
            self.objectives,
            sampler=self.sampler,
            pruner=self.pruner,
            train=self._all_training(),
            seed=seed,
            heartbeat=self.heartbeat,
        )

    @property
    def trainings(self) -> int:
        """How many trainings judge a trial."""
        return self.divisions * self.seeds

    def judges(self, config: Config) -> list[Config]:
        """The configurations by which a trial is judged, all divisions with one seed, then with the next."""
        return [
            divided_config(config, division).model_copy(update={"seed": config.seed + more})
            for more in range(self.seeds)
            for division in range(self.divisions)
        ]

    def _all_training(self) -> TrainConfig:
        """The trainings of a trial as one."""
        train, count = self.config().student.train, self.trainings
        more = {"episodes": train.episodes * count, "validations": train.validations * count}
        return train.model_copy(update=more)

    def recipe(self, trial: optuna.Trial) -> Recipe:
        """What a trial is to be: values of the space are suggested, or it has a finalist and a seed."""
        if self.finalists is None:
            values = self.space.suggest(trial)
            return Recipe(self.config(tuple(self.space.overrides(values))), values, in_words(values))
        finalists = self.finalists
        place = trial.suggest_int("setting", 0, len(finalists.titles) - 1)
        seed = trial.suggest_categorical("seed", finalists.seeds)
        return Recipe(self.config_of(place, seed), finalists.values[place], f"{finalists.titles[place]} again")

    def config_of(self, place: int, seed: int) -> Config:
        """The configuration of a finalist with a seed."""
        assert self.finalists is not None
        return self.config((*self.space.overrides(self.finalists.values[place]), f"seed={seed}"))

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
            seeds=1,
            keep=len(finalists.titles) * len(finalists.seeds),
            finalists=finalists,
        )


def divided_config(config: Config, division: int) -> Config:
    """The configuration with another choice of val classes; division 0 is its own."""
    if not division:
        return config
    return config.model_copy(update={"data": config.data.model_copy(update={"division": division})})


def in_words(values: dict[str, Any]) -> str:
    """Values in one line, keys by their last part."""

    def word(value: Any) -> str:
        return f"{value:.3g}" if isinstance(value, float) else str(value)

    return ", ".join(f"{key.rsplit('.', 1)[-1]} {word(value)}" for key, value in values.items())
