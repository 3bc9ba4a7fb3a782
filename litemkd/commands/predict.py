"""`litemkd predict`: a registered student names clips in folders."""

from __future__ import annotations

import contextlib
from pathlib import Path

import click

from litemkd.commands.options import choosing_model, choosing_runtime, configured, entry_point, flag
from litemkd.config import Config

SHOWN = 20  # rows of the table beside a file that holds them all


@click.command()
@entry_point(files=("support", "query"))
@configured
@click.option(
    "--support",
    type=click.Path(path_type=Path),
    required=True,
    metavar="DIR",
    help="Examples: one folder of clips for each class, its name is the class.",
)
@click.option(
    "--query",
    type=click.Path(path_type=Path),
    required=True,
    metavar="DIR",
    help="What is to be named: a folder of clips, or of class folders, or one clip.",
)
@choosing_model
@choosing_runtime
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write all probabilities here, as CSV.",
)
@click.option("--trace", is_flag=True, help="Write a trace of the answer to MLflow, see docs/tracking.md.")
@flag("--force-choice", "Name a class whatever a clip shows; else `none of these` where nothing fits.")
def predict(
    config: Config,
    *,
    support: Path,
    query: Path,
    model: str | None,
    runtime: str,
    out: Path | None,
    trace: bool,
    force_choice: bool,
) -> None:
    """Name clips from a few examples of each class: a table of class probabilities.

    A clip is a video, or a folder of pictures. Frames are chosen, resized and cut as for evaluation. Nothing is
    written to MLflow without --trace.
    """
    from litemkd.report.tables import text_table
    from litemkd.stages.predict import predict_stage, write_csv
    from litemkd.tracking.tracing import traces_in

    with traces_in(config.data.dataset) if trace else contextlib.nullcontext():
        found = predict_stage(config, support, query, model=model, runtime=runtime, force_choice=force_choice)
    rows = [
        [_printable(clip.name), _printable(name), *(f"{value:.3f}" for value in row)]
        for clip, name, row in zip(found.queries, found.predicted, found.probabilities, strict=True)
    ]
    shown = rows if out is None else rows[:SHOWN]
    click.echo(text_table(["query", "predicted", *map(_printable, found.classes)], shown))
    if len(shown) < len(rows):
        click.echo(f"and {len(rows) - len(shown)} more, see {out}")
    for note in found.notes:
        click.echo(f"note: {_printable(note)}", err=True)
    if found.agreement is not None:
        right, asked = found.agreement
        share = f"{100 * right / asked:.1f} %, {right} of {asked} queries"
        click.echo(f"accuracy: {share}, by the class folders that they lie in")
    if out is not None:
        write_csv(found, out)
        click.echo(f"probabilities: {out}")
    counts = sorted(set(found.supports))
    each = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    named = f"{len(rows)} {'query' if len(rows) == 1 else 'queries'}"
    click.echo(f"{named} named by {found.source}: {len(found.classes)} classes, {each} supports each")


def _printable(name: str) -> str:
    """A file's name for a terminal, whatever it holds."""
    return "".join(one if one.isprintable() else "?" for one in name)
