"""`litemkd evaluate`: a test of one student."""

from __future__ import annotations

import click

from litemkd.commands.options import configured, entry_point, folded, in_processes, resumable, tracked
from litemkd.commands.training import in_folds
from litemkd.config import Config


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
def evaluate(config: Config, model: str | None, every_fold: bool, parallel: int, **resuming: bool) -> None:
    """Test a student on the test classes: accuracy and interval, per class, confusion."""
    if every_fold:
        return in_folds("evaluate", config, parallel, resuming, **{"--model": model or ""})
    from litemkd.stages.evaluate import evaluate_stage
    from litemkd.stages.setup import Setup
    from litemkd.tracking import ui_command

    source, tests = evaluate_stage(Setup.of(config, **resuming), model=model)
    for shot, test in tests.items():
        click.echo(f"{source}, {shot}-shot: {test.accuracy} % over {len(test.accuracies)} test episodes")
    click.echo(f"browse the runs:  {ui_command()}")
