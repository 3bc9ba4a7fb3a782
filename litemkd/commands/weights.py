"""`litemkd import-weights`, `export-weights`: released weights, read and written."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from litemkd.commands.closing import close, tell_changes
from litemkd.commands.options import configured, entry_point, flag, tracked
from litemkd.config import Config


@click.command("import-weights")
@entry_point(files=("file",))
@configured
@tracked
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--as",
    "kind",
    type=click.Choice(["student", "teacher"]),
    required=True,
    help="What the file holds: it is checked.",
)
@click.option("--dataset", metavar="NAME", help="Register it for this data set; data.dataset when not given.")
@click.option(
    "--modalities",
    metavar="A,B,C",
    help="Of a teacher: the order of its fusion, which files do not hold; rgb,skeleton,flow when not given.",
)
@click.option(
    "--shift",
    type=click.Choice(["published-extract", "published-train"]),
    help="Of a teacher: as the released features were made (when not given), or as it was trained.",
)
@flag("--evaluate", "Measure it on val and test, so that it can compete for champion; needs the data set.")
def import_weights(
    config: Config,
    file: Path,
    kind: Literal["student", "teacher"],
    modalities: str | None,
    shift: str | None,
    evaluate: bool,
) -> None:
    """Register the released weights in FILE, of a student or teacher of Lite-MKD or a TRX, as a model here."""
    from litemkd.stages.build import build_device
    from litemkd.stages.import_weights import fit_config, import_stage, import_words, read_file
    from litemkd.stages.prepare import prepare as prepare_data
    from litemkd.stages.setup import Setup
    from litemkd.tracking import promote

    found = read_file(file, kind)
    config = fit_config(config, found, modalities=modalities, shift=shift)
    for line in import_words(config, found):
        click.echo(line)
    setup = Setup(config, build_device(config), prepare_data(config) if evaluate else None)
    done = import_stage(setup, found)
    if done.val is None:
        click.echo("not measured: it does not compete for champion; --evaluate measures it where its data is")
    else:
        click.echo(f"imported {kind}, val: {done.val.accuracy} %")
        for shot, test in done.tests.items():
            click.echo(f"imported {kind}, {shot}-shot: {test.accuracy} % on the test classes")
        tell_changes(promote(done.name))
    close(done.name, done.version)


@click.command("export-weights")
@entry_point()
@configured
@click.argument("model")
@click.argument("file", type=click.Path(path_type=Path))
def export_weights(config: Config, model: str, file: Path) -> None:
    """Write the student MODEL, models:/NAME/VERSION or a folder, to FILE in the format of released weights."""
    from litemkd.stages.export_weights import export_student

    for line in export_student(model, file):
        click.echo(line)
