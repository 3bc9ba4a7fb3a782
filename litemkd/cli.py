"""The command line: a thin skin over the stages. `mlflow run . -e NAME` calls the same commands."""

from __future__ import annotations

import functools
import json
import logging
import shlex
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from litemkd.config import Config, load_config
from litemkd.errors import ConfigError, LitemkdError, Terminated, TrackingError
from litemkd.files import write_whole

DEFAULT_CONFIG = Path("experiments/toy/default.yaml")
if TYPE_CHECKING:
    from litemkd.tracking import Promotion

F = TypeVar("F", bound=Callable[..., Any])


class _Commands(click.Group):
    """Prints a user's mistake as one message without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except LitemkdError as error:
            click.secho(f"litemkd {ctx.invoked_subcommand}: {error}", fg="red", err=True)
            sys.exit(1)
        except KeyboardInterrupt:
            click.secho("litemkd: interrupted", fg="red", err=True)
            sys.exit(130)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="litemkd")
def main() -> None:
    """Distil a multi-modal teacher into a light RGB student for few-shot action recognition.

    Without --config every command works on the toy data set, which is made on first use. Runs, models and
    comparison tables are in MLflow; the last line of each command says where to look.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    before = signal.signal(signal.SIGTERM, _terminated)
    click.get_current_context().call_on_close(lambda: signal.signal(signal.SIGTERM, before))


def _terminated(signum: int, _: object) -> None:
    raise Terminated(signum)


def configured(command: F) -> F:
    """Give a command the common options, and pass it the configuration they name as its first argument."""

    @functools.wraps(command)
    def run(
        config_file: Path | None,
        settings: tuple[str, ...],
        overrides: str,
        data_root: Path | None,
        seed: int | None,
        device: str | None,
        **rest: Any,
    ) -> Any:
        chosen = [*_words(overrides), *settings]
        for key, value in (("data.root", data_root), ("seed", seed), ("device", device)):
            if value is not None:  # in quotes where it is text: a folder may be called 2024, or `no`
                quoted = value if isinstance(value, int) else json.dumps(str(value), ensure_ascii=False)
                chosen.append(f"{key}={quoted}")
        return command(load_config(config_file or DEFAULT_CONFIG, chosen), **rest)

    for option in (
        click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), help="Where to compute."),
        click.option("--seed", type=int, metavar="N", help="Seed of weights, episodes and augmentation."),
        click.option(
            "--data-root", type=click.Path(path_type=Path), metavar="DIR", help="Folder of data sets."
        ),
        click.option(
            "--overrides", default="", metavar='"K=V …"', help="Several --set in one word, for MLproject."
        ),
        click.option(
            "--set",
            "settings",
            multiple=True,
            metavar="KEY=VALUE",
            help="Override a key of the file, for instance --set loss.temperature=2; repeatable.",
        ),
        click.option(
            "--config",
            "config_file",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help=f"Experiment file; {DEFAULT_CONFIG} when not given.",
        ),
    ):
        run = option(run)
    return cast(F, run)


def _words(overrides: str) -> list[str]:
    try:
        return shlex.split(overrides)
    except ValueError as error:
        raise ConfigError([f"--overrides {overrides!r}: {error}; quotes must be closed"]) from None


def flag(name: str, help_text: str) -> Callable[[F], F]:
    """A switch that also takes true or false, as MLproject parameters do."""
    return click.option(
        name, type=bool, is_flag=False, flag_value=True, default=False, metavar="[true|false]", help=help_text
    )


resumable = flag("--resume", "Go on from the checkpoints of an interrupted run.")
choosing_teacher = click.option(
    "--teacher",
    type=click.Choice(["auto", "new"]),
    default="auto",
    show_default=True,
    help="Use the registered teacher of this configuration and data if there is one, or train a new one.",
)


def tracked(command: F) -> F:
    """A command that writes runs: what earlier ones left open or unsent is settled first, and told."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> Any:
        from litemkd.tracking import close_orphans, send_unsent

        for line in close_orphans():
            click.echo(line, err=True)
        try:
            for line in send_unsent():
                click.echo(f"sent what was kept for later: {line}", err=True)
        except TrackingError as error:
            click.echo(str(error), err=True)
        return command(*args, **kwargs)

    return cast(F, run)


def _close(name: str, version: int) -> None:
    from litemkd.tracking import ui_command

    click.echo(f"registered model: {name} version {version}\nbrowse the runs:  {ui_command()}")


def _tell_changes(*promotions: Promotion) -> None:
    for promotion in promotions:
        for change in promotion.changes:
            click.echo(change)


@main.command()
@configured
@tracked
@click.option(
    "--derive",
    default="",
    metavar="M[=METHOD],…",
    help="Make these modalities too, for instance flow=raft,depth,skeleton; see docs/modalities.md.",
)
@click.option(
    "--contact-sheet",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write a picture of some clips in all modalities here (.png), too.",
)
def prepare(config: Config, derive: str, contact_sheet: Path | None) -> None:
    """Read raw videos and make what training reads: frames of every modality, and packs of them."""
    from litemkd.stages.build import build_device
    from litemkd.stages.common import run_of
    from litemkd.stages.prepare import prepare as prepare_data
    from litemkd.stages.prepare import with_derived

    config, also = with_derived(config, derive)
    data = prepare_data(config, also)
    sheet = data.contact_sheet()
    with run_of(config, data, "prepare", "prepare", build_device(config)) as run:
        run.log_dict(data.card(), "data_card.json")
        run.log_picture(sheet, "contact_sheet.png")
    if contact_sheet is not None:
        write_whole(contact_sheet, lambda beside: sheet.save(beside, "PNG"))
        click.echo(f"contact sheet: {contact_sheet}")
    click.echo(data.summary())
    counts = ", ".join(f"{name} {len(split.videos)}" for name, split in data.splits.items())
    click.echo(
        f"prepared {config.dataset_dir}: videos {counts}; modalities {', '.join(data.packs)}; {data.digest}"
    )


@main.command()
@configured
@tracked
@resumable
@choosing_teacher
def teacher(config: Config, resume: bool, teacher: str) -> None:
    """Train the multi-modal teacher: one expert a modality, then the fusion; write its features."""
    from litemkd.stages.build import build_device
    from litemkd.stages.prepare import prepare as prepare_data
    from litemkd.stages.teacher import teacher_stage

    device = build_device(config)
    ready = teacher_stage(config, prepare_data(config), device, new=teacher == "new", resume=resume)
    for shot, test in ready.tests.items():
        click.echo(f"teacher, {shot}-shot: {test.accuracy} % on the test classes")
    _close(ready.name, ready.version)


@main.command()
@configured
@tracked
@resumable
@choosing_teacher
def features(config: Config, resume: bool, teacher: str) -> None:
    """Write the features of every modality and the teacher's fused ones, in the released layout."""
    from litemkd.data.features import FUSED, feature_folder
    from litemkd.stages.build import build_device
    from litemkd.stages.prepare import prepare as prepare_data
    from litemkd.stages.teacher import teacher_stage

    data = prepare_data(config)
    ready = teacher_stage(config, data, build_device(config), new=teacher == "new", resume=resume)
    videos, (frames, width) = sum(map(len, ready.fused.values())), next(iter(ready.fused.values())).shape[1:]
    click.echo(f"features of {videos} videos, {frames} x {width}: {feature_folder(config.dataset_dir, FUSED)}")


@main.command()
@configured
@tracked
@resumable
def student(config: Config, resume: bool) -> None:
    """Train the student on labels alone: what distillation is compared with."""
    from litemkd.stages.build import build_device
    from litemkd.stages.prepare import prepare as prepare_data
    from litemkd.stages.student import student_stage
    from litemkd.tracking import promote

    trained = student_stage(config, prepare_data(config), build_device(config), resume=resume)
    for shot, test in trained.tests.items():
        click.echo(f"student, labels only, {shot}-shot: {test.accuracy} % on the test classes")
    _tell_changes(promote(trained.name))
    _close(trained.name, trained.version)


@main.command()
@configured
@tracked
@resumable
@choosing_teacher
@flag("--no-baseline", "Leave out the labels-only student that the distilled one is laid beside.")
def distill(config: Config, resume: bool, teacher: str, no_baseline: bool) -> None:
    """The main job: teacher, labels-only student, distilled student, tested on the same episodes."""
    from litemkd.stages.build import build_device
    from litemkd.stages.distill import distill_stage, outcome_words
    from litemkd.stages.prepare import prepare as prepare_data

    device = build_device(config)
    outcome = distill_stage(
        config,
        prepare_data(config),
        device,
        new_teacher=teacher == "new",
        baseline=not no_baseline,
        resume=resume,
    )
    click.echo(f"\n{outcome_words(outcome)}\n")
    _tell_changes(*outcome.promotions)
    _close(outcome.distilled.name, outcome.distilled.version)


@main.command()
@configured
@tracked
@click.option(
    "--model", metavar="URI", help="models:/NAME@ALIAS, models:/NAME/VERSION or a folder; the champion."
)
def evaluate(config: Config, model: str | None) -> None:
    """Test a student on the test classes: accuracy and interval, per class, confusion."""
    from litemkd.stages.build import build_device
    from litemkd.stages.evaluate import evaluate_stage
    from litemkd.stages.prepare import prepare as prepare_data
    from litemkd.tracking import ui_command

    source, tests = evaluate_stage(config, prepare_data(config), build_device(config), model=model)
    for shot, test in tests.items():
        click.echo(f"{source}, {shot}-shot: {test.accuracy} % over {len(test.accuracies)} test episodes")
    click.echo(f"browse the runs:  {ui_command()}")


@main.command()
@configured
@click.option(
    "--preset", type=click.Choice(["published"]), help="The published models beside the published figures."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else.")
def cost(config: Config, preset: str | None, as_json: bool) -> None:
    """What a student costs: thop MACs and exact FLOPs of an episode, parameters, latency."""
    from litemkd.report.tables import text_table
    from litemkd.stages.cost import published_table, student_cost

    rows: list[dict[str, Any]] = published_table() if preset else [dict(student_cost(config))]
    if as_json:
        click.echo(json.dumps(rows if preset else rows[0], indent=2))
        return
    columns = list(rows[0])
    if preset:
        click.echo(text_table(columns, [[_cell(row.get(column)) for column in columns] for row in rows]))
    else:
        click.echo(text_table(["what", "figure"], [[name, _cell(value)] for name, value in rows[0].items()]))


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if isinstance(value, float) else str(value)
