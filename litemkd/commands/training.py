"""`litemkd teacher`, `features`, `student`, `distill`: what trains, or reads what was trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from litemkd.commands.closing import close, tell_changes
from litemkd.commands.options import (
    choosing_teacher,
    configured,
    entry_point,
    flag,
    folded,
    in_processes,
    resumable,
    tracked,
)
from litemkd.config import Config

if TYPE_CHECKING:
    from litemkd.stages.folds import Stage


def in_folds(
    stage: Stage, config: Config, parallel: int, resuming: dict[str, bool], teacher: str = "", **options: str
) -> None:
    """Run a stage in every fold, and tell what came out."""
    from litemkd.stages.folds import FoldJob, folds_stage
    from litemkd.stages.teacher import with_teacher

    if teacher:
        config, options = with_teacher(config, teacher), {"--teacher": teacher, **options}
    words, run = folds_stage(FoldJob(config, stage, options=options, **resuming), parallel=parallel)
    click.echo(f"\n{words}\n")
    once = ", every class tested once" if isinstance(config.data.folds, int) else ""
    click.echo(f"{config.data.fold_count} folds of {config.data.dataset}{once}: {run.where}")


@click.command()
@entry_point("resume", "teacher", "processes", "fold", "parallel")
@configured
@in_processes
@folded
@tracked
@resumable
@choosing_teacher
def teacher(config: Config, teacher: str, every_fold: bool, parallel: int, **resuming: bool) -> None:
    """Train the multi-modal teacher: one expert a modality, then the fusion; write its features."""
    if every_fold:
        return in_folds("teacher", config, parallel, resuming, teacher)
    from litemkd.stages.setup import Setup
    from litemkd.stages.teacher import teacher_stage, with_teacher

    ready = teacher_stage(Setup.of(with_teacher(config, teacher), **resuming), choice=teacher)
    for shot, test in ready.tests.items():
        click.echo(f"teacher, {shot}-shot: {test.accuracy} % on the test classes")
    close(ready.name, ready.version)


@click.command()
@entry_point("resume", "teacher", "processes", "fold", "parallel")
@configured
@in_processes
@folded
@tracked
@resumable
@choosing_teacher
def features(config: Config, teacher: str, every_fold: bool, parallel: int, **resuming: bool) -> None:
    """Write the features of every modality and the teacher's fused ones, in the released layout."""
    if every_fold:
        return in_folds("teacher", config, parallel, resuming, teacher)
    from litemkd.data.features import FUSED, feature_folder
    from litemkd.stages.setup import Setup
    from litemkd.stages.teacher import teacher_stage, with_teacher

    ready = teacher_stage(Setup.of(with_teacher(config, teacher), **resuming), choice=teacher)
    videos, (frames, width) = sum(map(len, ready.fused.values())), next(iter(ready.fused.values())).shape[1:]
    click.echo(f"features of {videos} videos, {frames} x {width}: {feature_folder(config.made_dir, FUSED)}")


@click.command()
@entry_point("resume", "processes", "fold", "parallel")
@configured
@in_processes
@folded
@tracked
@resumable
def student(config: Config, every_fold: bool, parallel: int, **resuming: bool) -> None:
    """Train the student on labels alone: what distillation is compared with."""
    if every_fold:
        return in_folds("student", config, parallel, resuming)
    from litemkd.stages.setup import Setup
    from litemkd.stages.student import student_stage
    from litemkd.tracking import promote

    trained = student_stage(Setup.of(config, **resuming))
    for shot, test in trained.tests.items():
        click.echo(f"student, labels only, {shot}-shot: {test.accuracy} % on the test classes")
    tell_changes(promote(trained.name))
    close(trained.name, trained.version)


@click.command()
@entry_point("resume", "teacher", "processes", "fold", "parallel")
@configured
@in_processes
@folded
@tracked
@resumable
@choosing_teacher
@flag("--no-baseline", "Leave out the labels-only student that the distilled one is laid beside.")
def distill(
    config: Config, teacher: str, no_baseline: bool, every_fold: bool, parallel: int, **resuming: bool
) -> None:
    """The main job: teacher, labels-only student, distilled student, tested on the same episodes."""
    if every_fold:
        more = {"--no-baseline": str(no_baseline).lower()}
        return in_folds("distill", config, parallel, resuming, teacher, **more)
    from litemkd.stages.setup import Setup
    from litemkd.stages.student import distill_stage, outcome_words
    from litemkd.stages.teacher import with_teacher

    setup = Setup.of(with_teacher(config, teacher), **resuming)
    outcome = distill_stage(setup, choice=teacher, baseline=not no_baseline)
    click.echo(f"\n{outcome_words(outcome)}\n")
    tell_changes(*outcome.promotions)
    close(outcome.distilled.name, outcome.distilled.version)
