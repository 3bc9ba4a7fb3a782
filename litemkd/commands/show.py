"""`litemkd show` and `litemkd report`: data, episodes and mistakes to look at, in one file of HTML."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from litemkd.commands.options import choosing_model, configured, entry_point, in_processes, resumable, tracked
from litemkd.config import Config

_open = click.option("--open", "open_page", is_flag=True, help="Open the page in a browser, too.")


def _output(name: str) -> Any:
    path = click.Path(path_type=Path, dir_okay=False)
    return click.option(
        "--output", type=path, default=name, show_default=True, metavar="FILE", help="The page to write."
    )


@click.command()
@entry_point("model", "output")
@configured
@click.argument("what", nargs=-1, type=click.Choice(["classes", "episode", "mistakes", "map"]))
@choosing_model
@click.option("--episode", type=click.IntRange(0), metavar="N", help="The test episode to draw.")
@_output("show.html")
@_open
def show(
    config: Config, what: tuple[str, ...], model: str | None, episode: int | None, output: Path, open_page: bool
) -> None:
    """Look at data and at what a student makes of it; WHAT is classes, episode, mistakes, map, or all of them.

    \b
    litemkd show classes               # the test classes, a few clips of each; needs no model
    litemkd show episode --episode 7   # queries, examples, logits, attention, which frames matter
    litemkd show mistakes              # the clips that are named wrongly most often
    litemkd show map                   # test clips as student, teacher and modalities see them

    One page that needs no server and no network; no run is made.
    """  # noqa: D301 - \b keeps click from joining the lines
    from litemkd.stages.looking import PARTS, show_stage
    from litemkd.stages.setup import Setup
    from litemkd.storage.files import write_text

    title, text = show_stage(Setup.of(config), model=model or None, parts=what or PARTS, episode=episode)
    write_text(output, text)
    _tell(title, output, open_page)


@click.command()
@entry_point("model", "output", "resume", "processes")
@configured
@in_processes
@tracked
@resumable
@choosing_model
@_output("report.html")
@_open
def report(config: Config, model: str | None, output: Path, open_page: bool, **resuming: bool) -> None:
    """Test a student and write a report in pictures: result, episodes, mistakes, a map, the classes.

    One page that needs no server and no network; it is among the artifacts of the run, too, as it is of every
    evaluation (`evaluation.report`).
    """
    from litemkd.stages.evaluate import evaluate_stage
    from litemkd.stages.setup import Setup

    source, tests = evaluate_stage(Setup.of(config, **resuming), model=model or None, report=output)
    for shot, test in tests.items():
        click.echo(f"{source}, {shot}-shot: {test.accuracy} % over {len(test.accuracies)} test episodes")
    _tell(source, output, open_page)


def _tell(title: str, page: Path, open_page: bool) -> None:
    click.echo(f"{title}: {page} ({page.stat().st_size / 1e6:.1f} MB)")
    if open_page:
        click.launch(str(page))
