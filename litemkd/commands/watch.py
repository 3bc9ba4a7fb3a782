"""`litemkd watch`: a student names what is shown, as it comes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from litemkd.commands.options import choosing_model, choosing_runtime, configured, entry_point, flag
from litemkd.config import Config


def _some(_: click.Context, __: click.Parameter, value: str) -> str:
    """MLproject passes an empty text for what is not given."""
    if not value:
        raise click.BadParameter("nothing given; a video, a camera's number, an address or - would do")
    return value


def _path(_: click.Context, __: click.Parameter, value: str | None) -> Path | None:
    """A path, None where nothing or an empty text is given."""
    return Path(value) if value else None


@click.command()
@entry_point("source", "support", "out", "json")
@configured
@click.option(
    "--source",
    required=True,
    callback=_some,
    metavar="FILE|CAMERA|URL|-",
    help="A video, a camera by its number or /dev/video0, rtsp://…, or - for what is piped in.",
)
@click.option(
    "--support",
    callback=_path,
    metavar="DIR",
    help="Examples: one folder of clips for each class, its name is the class.",
)
@click.option("--names", metavar="A,B,…", default="", help="Keys 1, 2, … take examples of these.")
@click.option(
    "--enrolled",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Keep examples that were taken with keys here (.npz), and begin with those that are there.",
)
@choosing_model
@choosing_runtime
@click.option("--window", type=float, default=2.0, show_default=True, help="Seconds that a decision looks at.")
@click.option(
    "--every", type=click.IntRange(1), default=1, show_default=True, help="Decide at one in so many frames."
)
@click.option(
    "--smoothing",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.5,
    show_default=True,
    help="How much of the probabilities before stays.",
)
@click.option(
    "--hold",
    type=click.IntRange(1),
    default=2,
    show_default=True,
    help="Decisions in a row that must agree on another name.",
)
@flag("--force-choice", "Name a class whatever is shown.")
@flag("--json", "A JSON line a decision, and only that, on standard output.")
@click.option(
    "--out",
    callback=_path,
    metavar="DIR",
    help="Write segments with times here: CSV, JSON, WebVTT, ELAN, and a picture of the timeline.",
)
def watch(config: Config, *, source: str, names: str, json: bool, **rest: Any) -> None:
    """Name what is shown in a video, by a camera or at an address, as it comes.

    Frames are encoded once, windows slide over what they gave. A live source never waits: frames that come too
    fast are dropped and counted. A lost camera or address is opened again. It ends with the stream, with q or
    Ctrl-C.
    """
    from litemkd.export.live import Asked, Pace
    from litemkd.stages.watch import watch_stage

    keys = ("window", "every", "smoothing", "hold", "force_choice")
    asked = Asked(
        source,
        enrolled=rest["enrolled"],
        names=tuple(one.strip() for one in names.split(",") if one.strip()),
        pace=Pace(**{key: rest[key] for key in keys}),
        as_json=json,
        out=rest["out"],
    )
    model, found = watch_stage(
        config, asked, support=rest["support"], model=rest["model"], runtime=rest["runtime"]
    )
    for file in found.files:
        click.echo(f"written: {file}", err=json)
    click.echo(f"{source} watched by {model}: {found.words()}", err=json)
