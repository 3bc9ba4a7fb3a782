"""`litemkd export`: a student for a runtime without PyTorch."""

from __future__ import annotations

from pathlib import Path

import click

from litemkd.commands.options import choosing_model, configured, entry_point, tracked
from litemkd.config import Config
from litemkd.report.tables import amount


@click.command()
@entry_point("format", "precision")
@configured
@tracked
@choosing_model
@click.option(
    "--format",
    "form",
    type=click.Choice(["onnx", "openvino", "executorch"]),
    default="onnx",
    show_default=True,
    help="What runs it.",
)
@click.option(
    "--precision",
    type=click.Choice(["float32", "float16", "int8"]),
    default="float32",
    show_default=True,
    help="Of the network; matching, which has no weights, is in float32. "
    "int8: static quantisation with clips of train; layers that it would hurt stay in float32.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    metavar="DIR",
    help="The folder that is made; nothing may be in it.",
)
@click.option(
    "--way", type=click.IntRange(2), metavar="W", help="Only for so many classes; for any if not given."
)
@click.option(
    "--shot",
    type=click.IntRange(1),
    metavar="K",
    help="Only for so many supports a class; for any if not given.",
)
@click.option(
    "--episodes",
    type=click.IntRange(0),
    metavar="N",
    help="Test episodes run on what was written; evaluation.test_episodes when not given, 0 for no test.",
)
def export(
    config: Config,
    model: str | None,
    form: str,
    precision: str,
    out: Path,
    way: int | None,
    shot: int | None,
    episodes: int | None,
) -> None:
    """Write a student as graphs for a runtime without PyTorch, check and test them.

    DIR gets the graphs, model.json and a card, if logits of real clips are PyTorch's within 1e-4; else nothing.
    `litemkd-runtime predict --model DIR` and `litemkd predict --model DIR --runtime onnx` use it.
    """
    from litemkd.export.writing import Form
    from litemkd.stages.export import Asked, export_stage
    from litemkd.stages.setup import Setup
    from litemkd.tracking import ui_command

    asked = Asked(out, model or None, Form(form, precision, way, shot), episodes)
    done = export_stage(Setup.of(config), asked)
    click.echo(
        f"logits of real clips: at most {done.agreement.apart:.1e} from PyTorch's, of {done.agreement.logits}"
    )
    for number, one in done.tests.items():
        click.echo(
            f"{number}-shot: {one.test.accuracy} % over {len(one.test.accuracies)} test episodes, "
            f"{one.points} to PyTorch on the same"
        )
    for name, value in done.costs.items():
        click.echo(f"{name.removeprefix('cost/').replace('_', ' ')}: {amount(value, 2)}")
    if done.tests:
        click.echo(f"browse the runs:  {ui_command()}")
    click.echo(f"exported {done.source} for {form}, {precision}: {done.folder}")
