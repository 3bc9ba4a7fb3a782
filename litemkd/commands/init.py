"""`litemkd init`: an experiment file for a folder of videos."""

from __future__ import annotations

from pathlib import Path

import click

from litemkd.commands.options import entry_point
from litemkd.errors import some


@click.command()
@entry_point("output", "name", files={"dir"})
@click.argument("dir", type=click.Path(path_type=Path))
@click.option("--output", metavar="FILE", help="The experiment file to write; NAME.yaml here when not given.")
@click.option("--name", metavar="NAME", help="Of the data set; that of the folder when not given.")
def init(dir: Path, output: str | None, name: str | None) -> None:
    """Look at a folder of videos, DIR/<class>/<clip>.mp4, and write an experiment file that trains on it.

    It says in comments what was found (classes, clips, lengths, classes that a mirror would confuse, too few
    clips) and what was chosen because of it, to be changed as you like. A file that is there stays as it is.
    """
    from litemkd.stages.init import init_stage

    file, found, plan = init_stage(dir, file=Path(output) if output else None, name=name or None)
    splits = ", ".join(f"{split} {len(classes)}" for split, classes in plan.classes.items())
    click.echo(f"found: {sum(found.clips.values())} clips of {len(found.clips)} classes, in {dir}")
    for words, told in (
        ("left out, too few clips or no class", plan.left_out),
        ("cannot be read, skipped", found.unreadable),
        ("a mirror would make another class of them, so clips are not flipped", found.sided),
    ):
        if told:
            click.echo(f"{words}: {some(told)}")
    click.echo(f"classes: {splits}; {plan.way}-way, {plan.shot}-shot episodes")
    click.echo(f"written: {file}\nnext:    litemkd distill --config {file}")
