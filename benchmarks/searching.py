"""Works of the search: what Optuna and MLflow take from a trial, and what a second worker brings.

Trials distil the toy student with the settings that the search starts from, on one thread, as those of
`tuning/search.py` do. Their study has earlier trials, so that sampler and pruner have something to look at.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import optuna

from benchmarks.published.tracking import Nowhere
from benchmarks.sizes import Sizes
from benchmarks.tracking import Store
from benchmarks.work import Part, Setting, Side, Work
from litemkd.stages.build import build_device
from litemkd.stages.cost import student_cost
from litemkd.stages.prepare import prepare
from litemkd.stages.student import train_student
from litemkd.stages.teacher import teacher_stage
from litemkd.tracking import stage_run
from tuning.crew import Crew
from tuning.interrupts import Interrupts
from tuning.job import Job, Searched
from tuning.space import SPACES
from tuning.study import finished
from tuning.trial import READ, Inputs, Objective, shared_teacher

TOY = Path(__file__).parents[1] / "experiments" / "toy" / "default.yaml"
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
            space_file=SPACES / "default.yaml",
            storage=str(folder / "optuna.journal"),
            study="benchmark",
        )
        with _silence():
            config = self.job.config()
            device, data = build_device(config), prepare(config)
            ready = teacher_stage(config, data, device, choice="new")
            self.job = replace(self.job, teacher=f"models:/{ready.name}/{ready.version}")
            self.inputs = Inputs(data, shared_teacher(config, data, device, self.job.teacher), device)
        self.default = self.job.space().default(config) or {}

    def study(self, name: str) -> tuple[Job, optuna.Study]:
        """A study with earlier trials, all of them worse, which report what a finished trial does."""
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        job = replace(self.job, study=name)
        study, space = job.open(), job.space()
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


def _searched(setting: Setting) -> Side:
    home = _Home(setting, "searched")
    interrupts, numbers = Interrupts(), itertools.count()

    def run() -> float:
        """A trial as a worker runs it; its accuracy."""
        name = f"trial {next(numbers)}"
        job, study = home.study(name)
        job = home.anew(job, name)
        study.enqueue_trial(home.default)
        with stage_run("search", dataset="toy", name=name) as parent:
            objective = Objective(
                home.inputs,
                Searched(job),
                objectives=job.objectives,
                pruner=job.pruner,
                turn=lambda: None,
                parent=parent,
                folder=job.folder(),
                keep=job.keep,
                interrupts=interrupts,
            )
            timed.begin()
            with _silence():
                study.optimize(objective, n_trials=1)
            timed.end()
        return study.trials[-1].values[0]

    timed = _Watch()
    return _side(run, timed, home)


def _bare(setting: Setting) -> Side:
    home = _Home(setting, "bare")
    numbers = itertools.count()

    def run() -> float:
        """The same training and the same count of its cost, with nobody looking on."""
        job = home.anew(home.job, f"training {next(numbers)}")
        config, inputs = job.config(tuple(job.space().overrides(home.default))), home.inputs
        timed.begin()
        with _silence():
            _, progress, _ = train_student(
                config,
                inputs.data,
                inputs.device,
                Nowhere(),  # type: ignore[arg-type]
                teacher=inputs.teacher,
                picture=False,
            )
            student_cost(config, latency=False)
        timed.end()
        return progress.best_accuracy

    timed = _Watch()
    return _side(run, timed, home)


class _Watch:
    """Seconds from begin to end, and processor seconds of other threads, which a worker's neighbour lacks."""

    def begin(self) -> None:
        self.values = time.perf_counter(), time.process_time(), time.thread_time()

    def end(self) -> None:
        wall, process, own = time.perf_counter(), time.process_time(), time.thread_time()
        begun, before, mine = self.values
        self.seconds = (wall - begun) + (process - before) - (own - mine)


def _side(run: Callable[[], float], timed: _Watch, home: _Home) -> Side:
    def value(repetition: int) -> float:
        run()
        return timed.seconds

    return Side(lambda: {"accuracy": run()}, (Part(value),), home.store.close)


def _crew(setting: Setting, workers: int) -> Side:
    home = _Home(setting, f"workers-{workers}")
    numbers = itertools.count()

    def run() -> list[optuna.trial.FrozenTrial]:
        """Trials of a crew, as a search runs them."""
        name = f"crew {next(numbers)}"
        job, study = home.study(name)
        job = replace(home.anew(job, name), workers=workers)
        job = replace(job, settings=(*job.settings, f"student.train.episodes={setting.sizes.shared}"))
        for _ in range(SHARED):
            study.enqueue_trial(home.default)
        with stage_run("search", dataset="toy", name=name) as parent, _silence():
            Crew(replace(job, run_id=parent.run_id), None, lambda line: None, name).work()
        return finished(study)[EARLIER:]

    def seconds(repetition: int) -> float:
        lasted = [trial.duration.total_seconds() for trial in run() if trial.duration is not None]
        return statistics.mean(lasted) / workers

    return Side(lambda: {"accuracy": [trial.values[0] for trial in run()]}, (Part(seconds),), home.store.close)


def _one(setting: Setting) -> Side:
    return _crew(setting, 1)


def _two(setting: Setting) -> Side:
    return _crew(setting, SHARED)


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
            "a trial with Optuna (TPE, Wilcoxon, journal) and MLflow (SQLite), and the same training alone",
            _searched,
            _bare,
            "seconds, and processor seconds of threads in the background",
            at_least=0.981,
            unit="s, with its threads",
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
