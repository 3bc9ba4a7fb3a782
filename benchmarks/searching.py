"""Works of the search: what Optuna and MLflow take from a trial, and what a second worker brings.

Trials distil the toy student with the settings that the search starts from, on one thread, as those of
`litemkd search` do. Their study has earlier trials, so that sampler and pruner have something to look at.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar
from unittest.mock import patch

import mlflow
import optuna
import psutil

from benchmarks.published.tracking import Waiting
from benchmarks.sizes import Sizes
from benchmarks.tracking import Store
from benchmarks.work import Part, Setting, Side, Work
from litemkd.config.shipped import SPACES
from litemkd.search.interrupts import Interrupts
from litemkd.search.job import Job
from litemkd.search.study import finished
from litemkd.search.trial import READ, Inputs, TrialRunner, shared_teacher
from litemkd.search.worker_pool import WorkerPool
from litemkd.stages.build import build_device
from litemkd.stages.cost import student_cost
from litemkd.stages.prepare import prepare
from litemkd.stages.setup import Setup
from litemkd.stages.student import train_student
from litemkd.stages.teacher import teacher_stage
from litemkd.tracking import stage_run

TOY = Path(__file__).parents[1] / "experiments" / "toy" / "default.yaml"
T = TypeVar("T")
EARLIER = 12  # trials that a study has before the one that is timed
SHARED = 2  # trials of a study that workers share


class _Home:
    """A folder with toy data, a teacher of a few episodes, and a store that knows it."""

    def __init__(self, setting: Setting, side: str) -> None:
        self.store = Store(setting, side, server=False)
        sizes, folder = setting.sizes, self.store.folder
        few = (
            f"{{episodes: {sizes.taught}, validations: 1, warmup: 1, recalibrate: 16, accumulate: 1, batch: 1}}"
        )
        self.job = Job(
            config_file=TOY,
            settings=(
                f"data.root={setting.folder / 'toy'}",
                f"data.toy.clips_per_class={sizes.toy_clips}",
                "data.workers=1",
                "device=cpu",
                "threads=1",
                "episode.shot=1",
                "episode.queries=1",
                f"teacher.expert.train={few}",
                f"teacher.train={few}",
                f"evaluation.val_episodes={sizes.trial_val}",
                f"student.train.episodes={sizes.trial}",
                "student.train.warmup=1",
                f"output={folder / 'checkpoints'}",
            ),
            space_file=SPACES.find("default"),
            storage=str(folder / "optuna.journal"),
            study="benchmark",
        )
        with _silence():
            config = self.job.config()
            device, data = build_device(config), prepare(config)
            ready = teacher_stage(Setup(config, device, data), choice="new")
            self.job = replace(self.job, teachers=(f"models:/{ready.name}/{ready.version}",))
            self.inputs = Inputs(data, shared_teacher(config, data, device, self.job.teachers[0]), device)
        self.default = self.job.space.default(config) or {}

    def study(self, name: str) -> tuple[Job, optuna.Study]:
        """A study with earlier trials, all of them worse, which report what a finished trial does."""
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        job = replace(self.job, study=name)
        study, space = job.open(), job.space
        steps = range(min(READ, job.config().evaluation.val_episodes))
        for number in range(EARLIER):
            trial = study.ask()
            space.suggest(trial)
            for step in steps:
                trial.report(0.0, step)
            study.tell(trial, number / EARLIER)
        return job, study

    def anew(self, job: Job, name: str) -> Job:
        """The job with checkpoints in a folder of their own: nothing is gone on with."""
        return replace(job, settings=(*job.settings, f"output={self.store.folder / name}"))


class _Meter:
    """How much of a trial's time is not the training's own."""

    def __init__(self) -> None:
        self.trained = self.held = 0.0

    def timed(self, call: Callable[..., T]) -> Callable[..., T]:
        """A call within the training whose time is not its own."""
        return self._adding("held", call)

    def count(self, call: Callable[..., T]) -> Callable[..., T]:
        """What a trial does and would do anyway."""
        return self._adding("trained", call)

    def _adding(self, to: str, call: Callable[..., T]) -> Callable[..., T]:
        def wrapped(*given: Any, **named: Any) -> T:
            begun = time.perf_counter()
            try:
                return call(*given, **named)
            finally:
                setattr(self, to, getattr(self, to) + time.perf_counter() - begun)

        return wrapped

    def train(self, train: Callable[..., T]) -> Callable[..., T]:
        """The training, with a run and a report of validations that are timed."""

        def wrapped(setup: Setup, run: Any, *, on_validation: Any = None, **named: Any) -> T:
            timed = None if on_validation is None else self.timed(on_validation)
            return self.count(train)(setup, _Timed(run, self), on_validation=timed, **named)

        return wrapped

    @contextlib.contextmanager
    def share(self, into: list[float]) -> Iterator[None]:
        """Add the share of the block, per cent: the time beside the training, that of calls within it, and the
        processor time of the threads that send to the store.
        """
        self.trained = self.held = 0.0
        begun, sent = time.perf_counter(), _sending()
        yield
        whole = time.perf_counter() - begun
        taken = whole - self.trained + self.held + _sending() - sent
        into.append(100 * taken / whole)


class _Timed:
    """Something whose methods are timed."""

    def __init__(self, thing: Any, meter: _Meter) -> None:
        self._thing, self._meter = thing, meter

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._thing, name)
        return self._meter.timed(value) if callable(value) else value


def _sending() -> float:
    """Processor seconds so far of the threads that send to the store."""
    names = {thread.native_id: thread.name for thread in threading.enumerate()}
    threads = psutil.Process().threads()
    return sum(one.user_time + one.system_time for one in threads if "litemkd" in names.get(one.id, ""))


def _searched(setting: Setting) -> Side:
    home, meter, shares = _Home(setting, "searched"), _Meter(), list[float]()
    interrupts, numbers = Interrupts(), itertools.count()

    def run() -> float:
        """A trial as a worker runs it; its accuracy."""
        name = f"trial {next(numbers)}"
        job, study = home.study(name)
        job = home.anew(job, name)
        study.enqueue_trial(home.default)
        measured: dict[str, Any] = {
            "train_student": meter.train(train_student),
            "student_cost": meter.count(student_cost),
        }
        with (
            stage_run("search", dataset="toy", name=name) as parent,
            patch.multiple("litemkd.search.trial", **measured),
        ):
            runner = TrialRunner(job, [home.inputs], parent, interrupts, leave_queue=lambda: None)
            with _silence(), meter.share(shares):
                study.optimize(runner, n_trials=1)
        return study.trials[-1].values[0]

    return _side(run, shares, home)


def _plain(setting: Setting) -> Side:
    home, meter, shares = _Home(setting, "plain"), _Meter(), list[float]()
    numbers = itertools.count()

    def run() -> float:
        """The same training, each metric logged by itself; neither settings nor states, tables nor curves."""
        job = home.anew(home.job, f"training {next(numbers)}")
        config, inputs = job.config(tuple(job.space.overrides(home.default))), home.inputs
        with _silence(), mlflow.start_run(), meter.share(shares):
            given = (Setup(config, inputs.device, inputs.data), Waiting())
            _, progress = meter.train(train_student)(*given, teacher=inputs.teacher, picture=False)
        return progress.best_accuracy

    return _side(run, shares, home)


def _side(run: Callable[[], float], shares: list[float], home: _Home) -> Side:
    def value(repetition: int) -> float:
        run()
        return shares[-1]

    return Side(lambda: {"accuracy": run()}, (Part(value),), home.store.close)


def _with_workers(setting: Setting, workers: int) -> Side:
    home = _Home(setting, f"workers-{workers}")
    numbers = itertools.count()

    def run() -> list[optuna.trial.FrozenTrial]:
        """Trials of several workers, as a search runs them."""
        name = f"workers {next(numbers)}"
        job, study = home.study(name)
        job = home.anew(job, name)
        short = f"student.train.episodes={setting.sizes.shared}"
        job = replace(job, workers=workers, settings=(*job.settings, short))
        for _ in range(SHARED):
            study.enqueue_trial(home.default)
        with stage_run("search", dataset="toy", name=name) as parent, _silence():
            WorkerPool(replace(job, run_id=parent.run_id), None, lambda line: None, name).work()
        return finished(study)[EARLIER:]

    def seconds(repetition: int) -> float:
        lasted = [trial.duration.total_seconds() for trial in run() if trial.duration is not None]
        return statistics.mean(lasted) / workers

    return Side(lambda: {"accuracy": [trial.values[0] for trial in run()]}, (Part(seconds),), home.store.close)


def _one(setting: Setting) -> Side:
    return _with_workers(setting, 1)


def _two(setting: Setting) -> Side:
    return _with_workers(setting, SHARED)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """No progress bars."""
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        yield


def works(sizes: Sizes) -> list[Work]:
    """The works of this file."""
    return [
        Work(
            "search-trial",
            "the share of half a minute's trial that Optuna (TPE, Wilcoxon, journal) and MLflow (SQLite) take",
            _searched,
            _plain,
            "published: MLflow's metrics alone, one by one",
            at_most=2.0,
            unit="%",
            repetitions=2,
            warm_up=0,
            when_named=True,
        ),
        Work(
            "search-workers",
            "a trial's share of the time with one worker, and with two at once",
            _two,
            _one,
            "length of the trials, by workers",
            at_least=2 / 1.25,
            unit="s a trial",
            repetitions=2,
            warm_up=0,
            when_named=True,
        ),
    ]
