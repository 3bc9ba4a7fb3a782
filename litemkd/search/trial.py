"""One trial: a student distilled with the trial's settings, judged on the val classes."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import optuna
import torch

from litemkd.config import Config, TrainConfig, digest_of
from litemkd.errors import LitemkdError
from litemkd.evaluation.accuracy import Evaluation
from litemkd.evaluation.intervals import Interval
from litemkd.runtime.processes import this_process
from litemkd.runtime.seeding import numpy_generator
from litemkd.search.interrupts import Interrupts
from litemkd.search.job import Job
from litemkd.search.study import FIRST, INTERRUPTED, RETRY_OF, WORKED_BY, best_trials
from litemkd.search.tables import REASON
from litemkd.stages.cost import student_cost
from litemkd.stages.prepare import Prepared, prepare
from litemkd.stages.setup import Setup
from litemkd.stages.student import student_tags, train_student
from litemkd.stages.teacher import ReadyTeacher, registered_teacher
from litemkd.tracking import Run, find_address
from litemkd.training.loop import Progress, validation_episodes

READ = 240  # val episodes of a trial that the Wilcoxon test reads, spread over its validations
LEAST = 60  # of them in each of several trainings
EPISODES, OF, RUN = "episodes", "of", "run"  # noted by a trial: episodes trained, out of how many, MLflow's run


@dataclass(frozen=True)
class Inputs:
    """What all trials share of a division of the classes, made once."""

    data: Prepared
    teacher: ReadyTeacher
    device: torch.device


def shared_teacher(config: Config, data: Prepared, device: torch.device, address: str) -> ReadyTeacher:
    """The registered teacher at `address` as all trials and finals use it."""
    version = find_address(address)
    fingerprint = digest_of("teacher", f"{version.name} {version.version}")
    return registered_teacher(Setup(config, device, data), version, fingerprint)


def shared(config: Config, device: torch.device, address: str) -> Inputs:
    """What all trials share of a division, which the configuration names."""
    data = prepare(config)
    return Inputs(data, shared_teacher(config, data, device, address), device)


class TrialRunner:
    """What Optuna calls with a trial.

    Args:
        job: the study and how it is worked on.
        inputs: what all trials share, by division.
        parent: MLflow's run of the study.
        interrupts: of this process; training may be interrupted, what else a trial does may not.
        leave_queue: gives back the lock under which the trial was taken, once it has an owner.
    """

    def __init__(
        self,
        job: Job,
        inputs: Sequence[Inputs],
        parent: Run,
        interrupts: Interrupts,
        leave_queue: Callable[[], None],
    ) -> None:
        self.job, self.inputs, self.parent = job, inputs, parent
        self.interrupts, self.leave_queue = interrupts, leave_queue
        self.folder = job.folder()

    def __call__(self, trial: optuna.Trial) -> float | tuple[float, ...]:
        """The trial's objectives. What goes wrong is noted on the trial and raised."""
        try:
            trial.set_user_attr(WORKED_BY, this_process())
        finally:
            self.leave_queue()
        first = trial.user_attrs.get(FIRST, trial.number)
        try:
            values = self._run(trial, first)
        except KeyboardInterrupt:
            trial.set_user_attr(REASON, INTERRUPTED)
            raise
        except optuna.TrialPruned as pruned:
            trial.set_user_attr(REASON, str(pruned))
            self._drop(first)
            raise
        except Exception as error:
            words = str(error) if isinstance(error, LitemkdError) else f"{type(error).__name__}: {error}"
            trial.set_user_attr(REASON, " ".join(words.split())[:500])
            self._drop(first)
            raise
        return values[0] if len(values) == 1 else tuple(values)

    def checkpoints(self, first: int) -> Path:
        """Where the trial that began under the number `first` keeps its checkpoints."""
        return self.folder / f"trial-{first}"

    def _run(self, trial: optuna.Trial, first: int) -> list[float]:
        recipe = self.job.recipe(trial)
        config = recipe.config.model_copy(update={"output": self.checkpoints(first)})
        judges = self.job.judges(config)
        setup = self._setup(config)
        study = trial.study.study_name
        tags = student_tags(setup, self.inputs[0].teacher) | {"litemkd.study": study}
        tags |= {"litemkd.trial": str(trial.number)}
        tags |= {f"litemkd.setting.{key}": str(value) for key, value in recipe.settings.items()}
        if RETRY_OF in trial.user_attrs:
            tags["litemkd.retry_of"] = str(trial.user_attrs[RETRY_OF])
        name = f"trial {trial.number}: {recipe.title}"
        with setup.run(
            "trial",
            name,
            tags,
            parent_run_id=self.parent.run_id,
            system_metrics=False,
            stopped_by=(optuna.TrialPruned,),
        ) as run:
            trial.set_user_attr(RUN, run.run_id)
            trial.set_user_attr(OF, config.student.train.episodes * len(judges))
            try:
                if len(judges) == 1:
                    accuracy = self._train(trial, setup, run, 0).best_accuracy
                else:
                    accuracy = self._judged(trial, run, judges)
                cost = student_cost(config, latency=False)
                run.log_metrics(cost, 0)
            except BaseException as error:
                run.set_tags({"litemkd.state": "PRUNED" if isinstance(error, optuna.TrialPruned) else "FAIL"})
                if isinstance(error, optuna.TrialPruned):
                    run.describe(f"Stopped early: {error}.")
                raise
            run.set_tags({"litemkd.state": "COMPLETE"})
        found = {"accuracy": accuracy, "gmacs": cost["cost/gmacs_per_episode"]}
        self._make_room(trial, first, found["accuracy"])
        return [found[objective] for objective in self.job.objectives]

    def _setup(self, config: Config) -> Setup:
        inputs = self.inputs[config.data.division]
        return Setup(config, inputs.device, inputs.data, resume=True)

    def _judged(self, trial: optuna.Trial, run: Run, judges: Sequence[Config]) -> float:
        """The mean val accuracy of several trainings, each a run below the trial's."""
        accuracies = []
        for place, config in enumerate(judges):
            setup = self._setup(config)
            title = f"trial {trial.number}, division {config.data.division}"
            with setup.run("judge", title, stopped_by=(optuna.TrialPruned,), system_metrics=False) as child:
                accuracies.append(self._train(trial, setup, child, place).best_accuracy)
        mean, half = float(np.mean(accuracies)), float(Interval.of(np.array(accuracies)).half)
        last = judges[0].student.train.episodes
        run.log_metrics({"val/accuracy": mean, "val/accuracy_ci95": half, "val/best_accuracy": mean}, last)
        return mean

    def _train(self, trial: optuna.Trial, setup: Setup, run: Run, place: int) -> Progress:
        """One training of a trial, the `place`-th that judges it."""
        config = setup.config
        report = PruningReports(
            trial,
            config.student.train,
            config.evaluation.val_episodes,
            self.job.pruner,
            place=place,
            of=self.job.trainings,
        )

        def undisturbed(evaluation: Evaluation, episodes: int) -> None:
            with self.interrupts.taken(at_once=False):
                report(evaluation, episodes)

        teacher = self.inputs[config.data.division].teacher
        run.draws = False  # the study draws the curves of all its trials
        with self.interrupts.taken(at_once=True):
            _, progress = train_student(setup, run, teacher=teacher, on_validation=undisturbed)
        trial.set_user_attr(EPISODES, place * config.student.train.episodes + progress.episodes)
        return progress

    def _drop(self, first: int) -> None:
        shutil.rmtree(self.checkpoints(first), ignore_errors=True)

    def _make_room(self, trial: optuna.Trial, first: int, accuracy: float) -> None:
        """Remove the checkpoints of all complete trials but the best few, this one among them."""
        others = best_trials(trial.study)
        ranked = [(-other.values[0], other.user_attrs.get(FIRST, other.number)) for other in others]
        for _, number in sorted([*ranked, (-accuracy, first)])[self.job.keep :]:
            self._drop(number)


class PruningReports:
    """Reports a trial's validations to its study, and stops the trial if the study says so.

    For Wilcoxon's test all trials read the same val episodes in one shuffled order: the first part of them at
    the first validation, the next at the second, and so on, each reported with its number as the step. So
    trials are compared in pairs, on the same episodes after the same training.
    """

    def __init__(
        self,
        trial: optuna.Trial,
        train: TrainConfig,
        val_episodes: int,
        pruner: str,
        *,
        place: int = 0,
        of: int = 1,
    ) -> None:
        self.trial, self.pruner, self.val_episodes = trial, pruner, val_episodes
        self.train, self.place, self.of = train, place, of
        self.ends = sorted(validation_episodes(train))
        read = READ if of == 1 else max(READ // of, LEAST)
        order = numpy_generator(0, "search").permutation(val_episodes)[:read]
        self.parts = dict(zip(self.ends, np.array_split(order, len(self.ends)), strict=True))

    def __call__(self, evaluation: Evaluation, episodes: int) -> None:
        """After a validation at so many training episodes.

        Raises:
            TrialPruned: the trial is not worth going on with.
        """
        trial, done = self.trial, self.place * self.train.episodes + episodes
        trial.set_user_attr(EPISODES, done)
        if len(trial.study.directions) > 1:
            return
        with warnings.catch_warnings():  # a trial that is gone on with may report a step again
            warnings.simplefilter("ignore", UserWarning)
            if self.pruner == "wilcoxon":
                for number in self.parts[episodes].tolist():
                    trial.report(float(evaluation.accuracies[number]), self.place * self.val_episodes + number)
            else:
                trial.report(evaluation.accuracy.mean, done)
            if (self.place + 1 == self.of and episodes == self.ends[-1]) or not trial.should_prune():
                return
            if self.pruner == "wilcoxon":
                # The last step's value stands for the trial.
                trial.report(self._estimate(), self.of * self.val_episodes)
        whole = self.of * self.train.episodes
        raise optuna.TrialPruned(f"pruned by {self.pruner} after {done} of {whole} episodes")

    def _estimate(self) -> float:
        """What the trial would have reached, were it as far behind the best one as it is now, per cent."""
        best = self.trial.study.best_trial
        mine = self.trial.study.get_trials(deepcopy=False)[self.trial.number].intermediate_values
        shared = [step for step in mine if step in best.intermediate_values]
        return best.values[0] - float(np.mean([best.intermediate_values[step] - mine[step] for step in shared]))
