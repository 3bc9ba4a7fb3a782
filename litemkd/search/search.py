"""A search from its first trial to the registered winner."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace

import click
import optuna

from litemkd.commands.closing import made
from litemkd.config import Config
from litemkd.errors import LitemkdError, TrackingError
from litemkd.evaluation.accuracy import Interval
from litemkd.report.tables import markdown_table, text_table
from litemkd.search.agreement import agree
from litemkd.search.finals import (
    VERDICT,
    choose_finalists,
    conclude,
    finals_name,
    queue_of,
    results,
    verdict_table,
)
from litemkd.search.job import Job, divided_config, in_words
from litemkd.search.record import close_lost_runs, record_study, run_of_study, saved
from litemkd.search.storage import exclusive
from litemkd.search.study import QUEUE, best_trials, enqueue_missing, finished, requeue_lost, running
from litemkd.search.tables import DEFAULT
from litemkd.search.trial import Inputs, shared_teacher
from litemkd.search.worker_pool import WorkerPool
from litemkd.stages.build import build_device
from litemkd.stages.prepare import prepare
from litemkd.stages.results import accuracy_metrics, gain_metrics
from litemkd.stages.setup import Setup
from litemkd.stages.teacher import teacher_stage
from litemkd.tracking import Run, is_promise, ui_command, without_password


class Search:
    """A study that this process works on.

    Args:
        job: the study and how it is worked on.
        config: of the untuned student, and of the teacher.
        teacher: `auto`, `new` or an address.
    """

    def __init__(self, job: Job, config: Config, teacher: str) -> None:
        self.job, self.config, self.teacher = job, config, teacher
        self.device = build_device(config)
        self.study = job.open()

    def run(
        self, terms: dict[str, str], trials: int, minutes: float | None, finalists: int, seeds: int
    ) -> None:
        """Search, and train the finalists again.

        Args:
            terms: what all trials share, see `agree`.
            trials: so many in all.
            minutes: after which no trial is begun.
            finalists: so many, 0 for no finals.
            seeds: of each.
        """
        deadline = None if minutes is None else time.time() + 60 * minutes
        study, dataset = self.study, self.config.data.dataset
        with ExitStack() as stack:
            # Another process that comes now waits, and finds all of this made.
            with exclusive(self.job.storage, "inputs"):
                agree(study, terms, self.job.space)
                setup = Setup(self.config, self.device, prepare(self.config), resume=True)
                run = stack.enter_context(self._run_of_study(setup))
                study.set_user_attr("run", run.run_id)
                for division, name in enumerate(self._teachers()):
                    if name not in study.user_attrs:
                        study.set_user_attr(name, self._make_teacher(self._setup_of(setup, division)))
            teachers = tuple(study.user_attrs[name] for name in self._teachers())
            job = self.job = replace(self.job, run_id=run.run_id, teachers=teachers)
            storage = without_password(job.storage)
            with exclusive(job.storage, QUEUE):
                for line in requeue_lost(study):
                    click.echo(line)
                untuned = job.space.default(self.config)
                if missing := enqueue_missing(study, trials, [untuned] if untuned else [], {DEFAULT: True}):
                    click.echo(f"study {job.study}: {missing} trials queued, storage {storage}")
            try:
                WorkerPool(job, deadline, click.echo, "search").work()
            finally:
                close_lost_runs(study, dataset)
                record_study(run, study, job.objectives, by_episode=job.pruner == "wilcoxon")
            _echo_state(study)
            if finalists and best_trials(study, 1):
                teacher = shared_teacher(self.config, setup.data, self.device, job.teachers[0])
                self._finals(run, Inputs(setup.data, teacher, self.device), finalists, seeds)
        click.echo(f"study: {job.study}, {len(finished(study))} trials, in {storage}")
        click.echo(f"browse the runs:  {ui_command()}")

    def _run_of_study(self, setup: Setup) -> AbstractContextManager[Run]:
        job, student = self.job, self.config.student
        key, run_id = run_of_study(self.study, self.config.data.dataset)
        tags = {
            "litemkd.study": job.study,
            "litemkd.storage": without_password(job.storage),
            "litemkd.space": job.space_file.stem,
            "litemkd.sampler": job.sampler,
            "litemkd.pruner": job.pruner,
            "litemkd.study_key": key,
        }
        title = f"search {student.backbone.name} + {student.head.name}, {', '.join(job.objectives)}"
        return setup.run("search", title, tags, run_id=run_id, leave_open=lambda: running(self.study) > 0)

    def _teachers(self) -> list[str]:
        """What a study calls its teachers, by division."""
        return [f"teacher {division}" if division else "teacher" for division in range(self.job.divisions)]

    def _setup_of(self, setup: Setup, division: int) -> Setup:
        if not division:
            return setup
        config = divided_config(self.config, division)
        return Setup(config, self.device, prepare(config), resume=True)

    def _make_teacher(self, setup: Setup) -> str:
        """The address of the teacher of all trials."""
        ready = teacher_stage(setup, choice=self.teacher)
        if is_promise(ready.version):
            raise TrackingError(
                f"{made(ready.name, ready.version)}; workers need it there: start the search again then, it "
                "goes on with this teacher"
            )
        return f"models:/{ready.name}/{ready.version}"

    def _finals(self, run: Run, inputs: Inputs, count: int, seeds: int) -> None:
        chosen = choose_finalists(self.job, self.study, count, seeds)
        job = self.job.final(chosen, finals_name(self.job.study, chosen))
        finals = job.open()
        with exclusive(job.storage, QUEUE):
            requeue_lost(finals)
            queue = queue_of(chosen)
            enqueue_missing(finals, len(queue), queue)
        click.echo(f"finals: {', '.join(chosen.titles)}, each with seeds {', '.join(map(str, chosen.seeds))}")
        try:
            WorkerPool(job, None, click.echo, "finals").work()
        finally:
            close_lost_runs(finals, self.config.data.dataset)
        with exclusive(job.storage, "verdict"):
            verdict = finals.user_attrs.get(VERDICT)
            if verdict is None:  # test classes are read once, whoever comes first
                verdict = _conclude(job, run, finals, inputs)
                finals.set_user_attr(VERDICT, verdict)
        click.echo(f"\n{verdict}\n")


def _conclude(job: Job, run: Run, finals: optuna.Study, inputs: Inputs) -> str:
    """The verdict of the finals, written on the study's run; its table."""
    assert job.finalists is not None
    trained = results(finals, job.finalists)
    if not trained:
        raise LitemkdError(f"{finals.study_name}: none of the finalists could be trained with all seeds")
    verdict = conclude(job, inputs, trained)
    header, rows = verdict_table(verdict)
    run.log_table([dict(zip(header, row, strict=True)) for row in rows], "result.json")
    run.log_dict({"winner": verdict.winner.title, "settings": verdict.winner.values}, "winner.yaml")
    metrics = {"val/accuracy": verdict.winner.mean}
    metrics |= accuracy_metrics({shot: Interval.of(found) for shot, found in verdict.tests["winner"].items()})
    metrics |= gain_metrics(verdict.gains)
    run.log_metrics(metrics, 0)
    run.describe(f"On the test classes:\n\n{markdown_table(header, rows)}")
    if not is_promise(verdict.version):
        run.set_tags({"litemkd.winner": f"{verdict.name} version {verdict.version}"})
    moved = [line for promotion in verdict.promotions for line in promotion.messages]
    return "\n".join([text_table(header, rows), "", made(verdict.name, verdict.version), *moved])


def _echo_state(study: optuna.Study) -> None:
    trials = finished(study)
    states = [trial.state.name.lower() for trial in trials]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    click.echo(
        f"{len(trials)} trials: {counts}; pruning saved {100 * saved(trials):.0f} % of the training episodes"
    )
    for best in best_trials(study, 1):
        click.echo(f"best on val: trial {best.number}, {best.values[0]:.2f} %: {in_words(best.params)}")
