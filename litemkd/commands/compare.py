"""`litemkd compare`: tables and pictures of many runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from litemkd.commands.options import Source, configurable, entry_point, flag, tracked

FORMS = ["table", "markdown", "csv", "latex", "html", "json"]


def _words(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    """Words given once each or separated by commas; MLproject passes an empty one for none."""
    return tuple(word.strip() for value in values for word in value.split(",") if word.strip())


def _numbers(context: click.Context, option: click.Parameter, values: tuple[str, ...]) -> tuple[int, ...]:
    words = _words(context, option, values)
    for word in words:
        if not word.isdecimal() or int(word) < 1:
            raise click.BadParameter(f"{word!r} given; a number of shots such as 5 would do")
    return tuple(int(word) for word in words)


@click.command()
@entry_point("dataset", "filter", "by", "format", "published")
@configurable
@tracked
@click.option(
    "--dataset",
    "datasets",
    multiple=True,
    callback=_words,
    metavar="NAME",
    help="Only this data set; repeatable. Without it: that of --config, or all in the store.",
)
@click.option(
    "--filter",
    "condition",
    default="",
    metavar="WORDS",
    help="A condition in MLflow's own words, such as 'params.`loss.temperature` = \"2.0\"'.",
)
@click.option(
    "--by",
    multiple=True,
    callback=_words,
    metavar="KEY",
    help="What makes a row: backbone, head, distilled (these three when not given), any tag or parameter, such "
    "as loss.temperature; repeatable, or with commas.",
)
@flag("--pool", "One row for all runs with the same keys, even where other settings differ.")
@click.option(
    "--stage",
    type=click.Choice(["student", "teacher", "evaluate", "export"]),
    default="student",
    show_default=True,
    help="Whose runs: trained students, teachers, models tested later by `evaluate`, or as `export` has "
    "written them.",
)
@click.option("--shots", multiple=True, callback=_numbers, metavar="K", help="Only these numbers of shots.")
@click.option(
    "--shape",
    type=click.Choice(["rows", "published"]),
    default="rows",
    show_default=True,
    help="published: labels only beside distilled, data sets by slashes.",
)
@flag("--published", "Add the published figures, set apart and labelled as quoted.")
@click.option(
    "--runs",
    multiple=True,
    callback=_words,
    metavar="ID",
    help="Runs whose learning curves are drawn, by the beginning of their ids; one of each row when not given.",
)
@click.option(
    "--format", "form", type=click.Choice(FORMS), default="table", show_default=True, help="Of the output."
)
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), metavar="DIR", help="Write all files there."
)
@flag("--no-log", "Make no run in the store; pictures are then drawn for --out alone.")
def compare(
    source: Source,
    datasets: tuple[str, ...],
    by: tuple[str, ...],
    form: str,
    out: Path | None,
    no_log: bool,
    **asked: Any,
) -> None:
    """Lay the runs of the store side by side: accuracy, gain and cost, as tables and pictures.

    Only runs of one protocol and data digest stand in one column; the others are listed with why.
    """
    from litemkd.comparison.grouping import KEYS
    from litemkd.stages.compare import Question, compare_runs, log_answer, pictures_of, write_answer

    named, keys = datasets or _dataset_of(source), tuple(dict.fromkeys(by)) or KEYS[asked["stage"]]
    question = Question(named, by=keys, **asked)
    answer = compare_runs(question)
    click.echo(answer.render(form), nl=False)
    pictures = pictures_of(answer) if out or not no_log else {}
    if out:
        files = write_answer(answer, pictures, out)
        click.echo(f"{len(files)} files written to {out}", err=form != "table")
    if not no_log:
        run = log_answer(answer, pictures)
        click.echo(f"compared in {run.where}", err=form != "table")


def _dataset_of(source: Source) -> tuple[str, ...]:
    """The data set of a configuration that was chosen; none with the default one."""
    config = source.load()
    chosen = not source.is_default or any(word.startswith("data.dataset=") for word in source.settings)
    return (config.data.dataset,) if chosen else ()
