"""Search distillation settings with Optuna: `litemkd search --help`."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from dataclasses import replace

import click
import optuna
import torch

from litemkd.commands.closing import made
from litemkd.config import Config, digest_of, flatten
from litemkd.errors import ConfigError, LitemkdError, TrackingError
from litemkd.evaluation import Interval
from litemkd.options import (
    Source,
    choosing_teacher,
    configurable,
    entry_point,
    flag,
    plain_mistakes,
    set_up_process,
    tracked,
)
from litemkd.report.tables import markdown_table, text_table
from litemkd.search.agreement import SPACE, agree
from litemkd.search.crew import Crew
from litemkd.search.finals import (
    DONE,
    choose_finalists,
    conclude,
    finals_name,
    queue_of,
    results,
    verdict_table,
)
from litemkd.search.job import Job, in_words
from litemkd.search.record import reconcile, record_study, run_of_study, saved
from litemkd.search.storage import HEARTBEAT, default_storage, exclusive
from litemkd.search.study import PRUNERS, QUEUE, SAMPLERS, best_trials, finished, running, settle, top_up
from litemkd.search.tables import DEFAULT
from litemkd.search.trial import Inputs, shared_teacher
from litemkd.shipped import SPACES
from litemkd.stages.build import build_device
from litemkd.stages.prepare import prepare
from litemkd.stages.results import accuracy_metrics, gain_metrics
from litemkd.stages.setup import Setup
from litemkd.stages.teacher import teacher_stage, with_teacher
from litemkd.tracking import Run, is_promise, ui_command, without_password

OBJECTIVES = ("accuracy", "accuracy,gmacs")


class _Command(click.Command):
    """Prints a user's mistake as one message without a traceback."""

    def invoke(self, ctx: click.Context) -> object:
        with plain_mistakes(lambda: "search"):
            return super().invoke(ctx)


@click.command(cls=_Command, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@entry_point("teacher", "space", "trials")
@configurable
@tracked
@choosing_teacher
@click.option(
    "--heartbeat",
    type=click.IntRange(1),
    default=HEARTBEAT,
    show_default=True,
    metavar="SECONDS",
    help="Between signs of life of a trial on PostgreSQL; after three without one it is taken for dead.",
)
@click.option(
    "--final-seeds", type=click.IntRange(1), default=2, show_default=True, help="Seeds of each finalist."
)
@click.option(
    "--finalists",
    type=click.IntRange(0),
    default=2,
    show_default=True,
    help="Best trials that are trained again with fresh seeds, beside the untuned settings; 0: no end.",
)
@flag("--resume", "Taken, not needed: the same command always goes on with its study.", expose_value=False)
@click.option(
    "--keep", type=click.IntRange(1), default=3, show_default=True, help="Trials that keep checkpoints."
)
@click.option(
    "--objective",
    type=click.Choice(OBJECTIVES),
    default="accuracy",
    show_default=True,
    help="What is sought: val accuracy, or its best compromises with GMACs an episode.",
)
@click.option(
    "--pruner",
    type=click.Choice(PRUNERS),
    help="What stops poor trials: wilcoxon when not given, none with two objectives.",
)
@click.option(
    "--sampler", type=click.Choice(SAMPLERS), default="tpe", show_default=True, help="What suggests values."
)
@click.option(
    "--study", metavar="NAME", help="Of the study; made of data set, space and settings when not given."
)
@click.option(
    "--storage",
    metavar="FILE|URL",
    envvar="LITEMKD_STORAGE",
    help="Journal file (one machine) or postgresql+psycopg://… (many); optuna.journal beside the MLflow store.",
)
@click.option(
    "--workers",
    type=click.IntRange(1),
    metavar="N",
    help="Processes here; one a GPU, or one a core (at most 4).",
)
@click.option(
    "--timeout", type=click.FloatRange(0), metavar="MINUTES", help="Begin no trial after so many minutes."
)
@click.option(
    "--trials", type=click.IntRange(1), default=10, show_default=True, help="Trials of the study in all."
)
@click.option(
    "--space",
    "space_name",
    type=str,
    default="default",
    show_default=True,
    metavar="FILE|NAME",
    help="What is searched, see docs/search.md: a file, or a name: default, loss, architecture.",
)
def main(
    source: Source,
    space_name: str,
    trials: int,
    timeout: float | None,
    workers: int | None,
    storage: str | None,
    study: str | None,
    sampler: str,
    pruner: str | None,
    objective: str,
    keep: int,
    finalists: int,
    final_seeds: int,
    heartbeat: int,
    teacher: str,
) -> None:
    r"""Search the settings of distillation: each trial distils a student and is judged on the val classes.

    The teacher and all other inputs are made once, before the first trial. At the end the best trials are
    trained again with fresh seeds, the winner on val is tested beside the untuned settings and registered. The
    same command again goes on where it was stopped, or shows what came out; a larger --trials continues a
    finished study.

    \b
    litemkd search
    litemkd search --space architecture --objective accuracy,gmacs --trials 40
    litemkd search --config ucf101 --storage postgresql+psycopg://…
    """
    set_up_process()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    objectives = tuple(objective.split(","))
    if len(objectives) > 1 and pruner not in (None, "none"):
        raise ConfigError([f"--pruner: {pruner!r} given, but two objectives cannot be pruned; none would do"])
    config = source.load()
    workers = workers or _as_many_as_fit(config)
    settings = source.settings  # of the trials
    if config.threads is None:  # workers that share cores wait for one another; what is made once takes all
        settings = (*settings, f"threads={max(1, _cores() // workers)}")
    job = Job(
        config_file=source.file,
        settings=settings,
        space_file=SPACES.find(space_name),
        storage=storage or default_storage(),
        study=study or "",
        objectives=objectives,
        sampler=sampler,
        pruner=pruner or ("none" if len(objectives) > 1 else "wilcoxon"),
        keep=max(keep, finalists),
        workers=workers,
        heartbeat=heartbeat,
    )
    space = job.space()
    space.check(source.file, source.settings)
    config = with_teacher(config, teacher)
    terms = _terms(config, job, space.digest, teacher)
    if not job.study:
        job = replace(job, study=f"{config.data.dataset}-{job.space_file.stem}-{digest_of(terms)[:6]}")
    _search(job, config, terms, teacher, trials, timeout, finalists, final_seeds)


def _search(
    job: Job,
    config: Config,
    terms: dict[str, str],
    teacher: str,
    trials: int,
    timeout: float | None,
    finalists: int,
    seeds: int,
) -> None:
    device = build_device(config)
    study = job.open()
    deadline = None if timeout is None else time.time() + 60 * timeout
    title = f"search {config.student.backbone.name} + {config.student.head.name}, {', '.join(job.objectives)}"
    tags = {
        "litemkd.study": job.study,
        "litemkd.storage": without_password(job.storage),
        "litemkd.space": job.space_file.stem,
        "litemkd.sampler": job.sampler,
        "litemkd.pruner": job.pruner,
    }
    with ExitStack() as stack:
        with exclusive(
            job.storage, "inputs"
        ):  # another process that comes now waits, and finds all of this made
            agree(study, terms, job.space())
            setup = Setup(config, device, prepare(config), resume=True)
            tags["litemkd.study_key"], run_id = run_of_study(study, config.data.dataset)
            run = stack.enter_context(
                setup.run("search", title, tags, run_id=run_id, leave_open=lambda: running(study) > 0)
            )
            study.set_user_attr("run", run.run_id)
            if "teacher" not in study.user_attrs:
                ready = teacher_stage(setup, choice=teacher)
                if is_promise(ready.version):
                    raise TrackingError(
                        f"{made(ready.name, ready.version)}; workers need it there: start the search again "
                        "then, it goes on with this teacher"
                    )
                study.set_user_attr("teacher", f"models:/{ready.name}/{ready.version}")
        job = replace(job, run_id=run.run_id, teacher=study.user_attrs["teacher"])
        with exclusive(job.storage, QUEUE):
            for line in settle(study):
                click.echo(line)
            untuned = job.space().default(config)
            if missing := top_up(study, trials, [untuned] if untuned else [], {DEFAULT: True}):
                click.echo(
                    f"study {job.study}: {missing} trials queued, storage {without_password(job.storage)}"
                )
        try:
            Crew(job, deadline, click.echo, "search").work()
        finally:
            reconcile(study, config.data.dataset)
            record_study(run, study, job.objectives, by_episode=job.pruner == "wilcoxon")
        _tell(study)
        if finalists and best_trials(study, 1):
            _finish(
                job,
                config,
                run,
                study,
                Inputs(setup.data, shared_teacher(config, setup.data, device, job.teacher), device),
                finalists,
                seeds,
            )
    click.echo(f"study: {job.study}, {len(finished(study))} trials, in {without_password(job.storage)}")
    click.echo(f"browse the runs:  {ui_command()}")


def _finish(
    job: Job, config: Config, run: Run, study: optuna.Study, inputs: Inputs, count: int, seeds: int
) -> None:
    chosen = choose_finalists(job, study, count, seeds)
    final = job.final(chosen, finals_name(job.study, chosen))
    finals = final.open()
    with exclusive(final.storage, QUEUE):
        settle(finals)
        queue = queue_of(chosen)
        top_up(finals, len(queue), queue)
    click.echo(f"finals: {', '.join(chosen.titles)}, each with seeds {', '.join(map(str, chosen.seeds))}")
    try:
        Crew(final, None, click.echo, "finals").work()
    finally:
        reconcile(finals, config.data.dataset)
    with exclusive(final.storage, "verdict"):
        told = finals.user_attrs.get(DONE)
        if told is None:  # test classes are read once, whoever comes first
            told = _conclude(final, config, run, study, finals, inputs)
            finals.set_user_attr(DONE, told)
    click.echo(f"\n{told}\n")


def _conclude(
    job: Job, config: Config, run: Run, study: optuna.Study, finals: optuna.Study, inputs: Inputs
) -> str:
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


def _tell(study: optuna.Study) -> None:
    trials = finished(study)
    states = [trial.state.name.lower() for trial in trials]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    click.echo(
        f"{len(trials)} trials: {counts}; pruning saved {100 * saved(trials):.0f} % of the training episodes"
    )
    for best in best_trials(study, 1):
        click.echo(f"best on val: trial {best.number}, {best.values[0]:.2f} %: {in_words(best.params)}")


def _terms(config: Config, job: Job, space: str, teacher: str) -> dict[str, str]:
    """What every trial of a study has in common, wherever it is run."""
    elsewhere = ("output", "threads", "device", "deterministic", "data.root", "data.source", "data.workers")
    shared = {key: value for key, value in flatten(config).items() if key not in elsewhere}
    shared |= {SPACE: space, "--objective": ",".join(job.objectives), "--teacher": teacher}
    return {key: str(value) for key, value in shared.items()}


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _as_many_as_fit(config: Config) -> int:
    if build_device(config).type == "cuda":
        return torch.cuda.device_count()
    return min(4, _cores())
