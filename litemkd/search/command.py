"""The command line of the search: `litemkd search --help`."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Any

import click
import optuna
import torch

from litemkd.commands.options import (
    Source,
    choosing_teacher,
    configurable,
    entry_point,
    flag,
    plain_mistakes,
    set_up_process,
    tracked,
)
from litemkd.config import Config, digest_of, flatten
from litemkd.config.shipped import SPACES
from litemkd.errors import ConfigError
from litemkd.search.agreement import SPACE
from litemkd.search.job import Job
from litemkd.search.search import Search
from litemkd.search.storage import HEARTBEAT, default_storage
from litemkd.search.study import PRUNERS, SAMPLERS
from litemkd.stages.build import build_device
from litemkd.stages.teacher import CHOICES, with_teacher

OBJECTIVES = ("accuracy", "accuracy,gmacs")


@dataclass(frozen=True)
class Options:
    """What the command line says beside the configuration; see `litemkd search --help`."""

    space_name: str
    trials: int
    timeout: float | None
    workers: int | None
    storage: str | None
    study: str | None
    sampler: str
    pruner: str | None
    objective: str
    keep: int
    finalists: int
    final_seeds: int
    divisions: int
    seeds: int
    heartbeat: int
    teacher: str

    @property
    def objectives(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(self.objective.split(","))

    @property
    def chosen_pruner(self) -> str:
        """The pruner, also where none was named. ConfigError: one that cannot prune two objectives."""
        if len(self.objectives) == 1:
            return self.pruner or "wilcoxon"
        if self.pruner not in (None, "none"):
            raise ConfigError(
                [f"--pruner: {self.pruner!r} given, but two objectives cannot be pruned; none would do"]
            )
        return "none"


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
@click.option(
    "--seeds", type=click.IntRange(1), default=1, show_default=True, help="Seeds that each trial is judged by."
)
@click.option(
    "--divisions",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    metavar="N",
    help="Choices of val classes that each trial is judged by, each with a teacher of its own; the test "
    "classes stay what they are.",
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
    help="What is searched, see docs/searching.md: a file, or a name: default, loss, architecture.",
)
def main(source: Source, **given: Any) -> None:
    """Search the settings of distillation: each trial distils a student and is judged on the val classes.

    The teacher and all other inputs are made once, before the first trial. At the end the best trials are
    trained again with fresh seeds, the winner on val is tested beside the untuned settings and registered. The
    same command again goes on where it was stopped, or shows what came out; a larger --trials continues a
    finished study.

    \b
    litemkd search
    litemkd search --space architecture --objective accuracy,gmacs --trials 40
    litemkd search --config ucf101 --storage postgresql+psycopg://…
    """  # noqa: D301 - \b keeps click from joining the lines
    set_up_process()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    options = Options(**given)
    pruner, config = options.chosen_pruner, source.load()
    workers = options.workers or _as_many_as_fit(config)
    settings = source.settings  # of the trials
    if config.threads is None:  # workers that share cores wait for one another; what is made once takes all
        settings = (*settings, f"threads={max(1, _cores() // workers)}")
    job = Job(
        config_file=source.file,
        settings=settings,
        space_file=SPACES.find(options.space_name),
        storage=options.storage or default_storage(),
        study=options.study or "",
        objectives=options.objectives,
        sampler=options.sampler,
        pruner=pruner,
        keep=max(options.keep, options.finalists),
        workers=workers,
        heartbeat=options.heartbeat,
        divisions=options.divisions,
        seeds=options.seeds,
    )
    if job.divisions > 1 and options.teacher not in CHOICES:
        raise ConfigError(
            [
                f"--teacher: {options.teacher!r} given beside --divisions: it may know the val classes of the "
                "others; auto or new would do"
            ]
        )
    job.space.check(source.file, source.settings)
    config = with_teacher(config, options.teacher)
    terms = _terms(config, job, options.teacher)
    if not job.study:
        job = replace(job, study=f"{config.data.dataset}-{job.space_file.stem}-{digest_of(terms)[:6]}")
    Search(job, config, options.teacher).run(
        terms, options.trials, options.timeout, options.finalists, options.final_seeds
    )


def _terms(config: Config, job: Job, teacher: str) -> dict[str, str]:
    """What every trial of a study has in common, wherever it is run."""
    elsewhere = ("output", "threads", "device", "deterministic", "data.root", "data.source", "data.workers")
    shared = {key: value for key, value in flatten(config).items() if key not in elsewhere}
    shared |= {SPACE: job.space.digest, "--objective": ",".join(job.objectives), "--teacher": teacher}
    shared |= {f"--{name}": count for name in ("divisions", "seeds") if (count := getattr(job, name)) > 1}
    return {key: str(value) for key, value in shared.items()}


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _as_many_as_fit(config: Config) -> int:
    if build_device(config).type == "cuda":
        return torch.cuda.device_count()
    return min(4, _cores())
