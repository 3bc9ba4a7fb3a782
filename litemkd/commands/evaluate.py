"""`litemkd evaluate`: a test of one student."""

from __future__ import annotations

import click

from litemkd.config import Config
from litemkd.options import configured, entry_point, in_processes, resumable, tracked


@click.command()
@entry_point("resume", "processes")
@configured
@in_processes
@tracked
@resumable
@click.option(
    "--model", metavar="URI", help="models:/NAME@ALIAS, models:/NAME/VERSION or a folder; the champion."
)
def evaluate(config: Config, resume: bool, allow_changes: bool, model: str | None) -> None:
    """Test a student on the test classes: accuracy and interval, per class, confusion."""
    from litemkd.stages.build import build_device
    from litemkd.stages.common import Going
    from litemkd.stages.evaluate import evaluate_stage
    from litemkd.stages.prepare import prepare as prepare_data
    from litemkd.tracking import ui_command

    going = Going(resume, allow_changes)
    source, tests = evaluate_stage(config, prepare_data(config), build_device(config), model=model, going=going)
    for shot, test in tests.items():
        click.echo(f"{source}, {shot}-shot: {test.accuracy} % over {len(test.accuracies)} test episodes")
    click.echo(f"browse the runs:  {ui_command()}")
