"""`litemkd evaluate`: a test of one student."""

from __future__ import annotations

from pathlib import Path

import click

from litemkd.commands.options import configured, entry_point, flag, folded, in_processes, resumable, tracked
from litemkd.commands.training import in_folds
from litemkd.config import Config
from litemkd.errors import ConfigError


@click.command()
@entry_point("resume", "processes", "fold", "parallel")
@configured
@in_processes
@folded
@tracked
@resumable
@click.option(
    "--model",
    metavar="URI",
    help="models:/NAME@ALIAS, models:/NAME/VERSION, a folder, or check:motion, check:pixel or "
    "check:joints, which need no training; the champion.",
)
@flag("--open-set", "Measure also how well clips of classes that no example shows are told from the others.")
@click.option(
    "--unknown",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="The same with the clips in this folder, which are of no class of the data set.",
)
def evaluate(
    config: Config,
    *,
    model: str | None,
    every_fold: bool,
    parallel: int,
    open_set: bool,
    unknown: Path | None,
    **resuming: bool,
) -> None:
    """Test a student on the test classes: accuracy and interval, per class, confusion."""
    if every_fold:
        if open_set or unknown is not None:
            raise ConfigError(["--open-set: not of all folds at once; data.fold=0 would do"])
        return in_folds("evaluate", config, parallel, resuming, **{"--model": model or ""})
    from litemkd.stages.evaluate import evaluate_stage
    from litemkd.stages.setup import Setup
    from litemkd.tracking import ui_command

    more: list[str] = []
    source, tests = evaluate_stage(
        Setup.of(config, **resuming), model=model, open_set=open_set, unknown=unknown, tell=more.append
    )
    for shot, test in tests.items():
        click.echo(f"{source}, {shot}-shot: {test.accuracy} % over {len(test.accuracies)} test episodes")
    for line in more:
        click.echo(line)
    click.echo(f"browse the runs:  {ui_command()}")
