"""The command line: a thin skin over the stages. `mlflow run . -e NAME` calls the same commands."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from litemkd import distributed
from litemkd.config import Config
from litemkd.errors import ConfigError
from litemkd.files import write_whole
from litemkd.options import (
    choosing_teacher,
    configured,
    flag,
    in_processes,
    plain_mistakes,
    resumable,
    set_up_process,
    tracked,
)

if TYPE_CHECKING:
    from litemkd.tracking import Promotion

# In a log file every redrawing of a progress bar is one more line. tqdm reads this when it is imported.
if not sys.stderr.isatty():
    os.environ.setdefault("TQDM_MININTERVAL", "10")


class _Commands(click.Group):
    """Prints a user's mistake as one message without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        with plain_mistakes(lambda: f"litemkd {ctx.invoked_subcommand}"):
            result = super().invoke(ctx)
            distributed.finish()
            return result


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="litemkd")
def main() -> None:
    """Distil a multi-modal teacher into a light RGB student for few-shot action recognition.

    Without --config every command works on the toy data set, which is made on first use. Runs, models and
    comparison tables are in MLflow; the last line of each command says where to look.
    """
    distributed.start()
    set_up_process()


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
    "--lists", metavar="DIR", help="Folder of published lists; they are checked and copied to splits/."
)
@click.option("--videos", metavar="DIR", help="Folder of videos as it came out of the data set's archive.")
@click.option(
    "--dataset", metavar="NAME", help="Data set; without --config its own experiment file is started from."
)
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
    from litemkd.report.card import card_markdown
    from litemkd.stages.build import build_device
    from litemkd.stages.common import run_of
    from litemkd.stages.prepare import prepare as prepare_data
    from litemkd.stages.prepare import with_derived

    config, also = with_derived(config, derive)
    data = prepare_data(config, also)
    for line in data.told:
        click.echo(line)
    sheet = data.contact_sheet()
    with run_of(config, data, "prepare", "prepare", build_device(config)) as run:
        card = data.card()
        run.log_dict(card, "data_card.json")
        run.log_text(card_markdown(card), "data_card.md")
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
@in_processes
@tracked
@resumable
@choosing_teacher
def teacher(config: Config, resume: bool, teacher: str) -> None:
    """Train the multi-modal teacher: one expert a modality, then the fusion; write its features."""
    from litemkd.stages.build import build_device
    from litemkd.stages.prepare import prepare as prepare_data
    from litemkd.stages.teacher import teacher_stage, with_teacher

    device = build_device(config)
    config = with_teacher(config, teacher)
    ready = teacher_stage(config, prepare_data(config), device, choice=teacher, resume=resume)
    for shot, test in ready.tests.items():
        click.echo(f"teacher, {shot}-shot: {test.accuracy} % on the test classes")
    _close(ready.name, ready.version)


@main.command()
@configured
@in_processes
@tracked
@resumable
@choosing_teacher
def features(config: Config, resume: bool, teacher: str) -> None:
    """Write the features of every modality and the teacher's fused ones, in the released layout."""
    from litemkd.data.features import FUSED, feature_folder
    from litemkd.stages.build import build_device
    from litemkd.stages.prepare import prepare as prepare_data
    from litemkd.stages.teacher import teacher_stage, with_teacher

    config = with_teacher(config, teacher)
    data = prepare_data(config)
    ready = teacher_stage(config, data, build_device(config), choice=teacher, resume=resume)
    videos, (frames, width) = sum(map(len, ready.fused.values())), next(iter(ready.fused.values())).shape[1:]
    click.echo(f"features of {videos} videos, {frames} x {width}: {feature_folder(config.dataset_dir, FUSED)}")


@main.command()
@configured
@in_processes
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
@in_processes
@tracked
@resumable
@choosing_teacher
@flag("--no-baseline", "Leave out the labels-only student that the distilled one is laid beside.")
def distill(config: Config, resume: bool, teacher: str, no_baseline: bool) -> None:
    """The main job: teacher, labels-only student, distilled student, tested on the same episodes."""
    from litemkd.stages.build import build_device
    from litemkd.stages.distill import distill_stage, outcome_words
    from litemkd.stages.prepare import prepare as prepare_data
    from litemkd.stages.teacher import with_teacher

    device = build_device(config)
    config = with_teacher(config, teacher)
    outcome = distill_stage(
        config,
        prepare_data(config),
        device,
        choice=teacher,
        baseline=not no_baseline,
        resume=resume,
    )
    click.echo(f"\n{outcome_words(outcome)}\n")
    _tell_changes(*outcome.promotions)
    _close(outcome.distilled.name, outcome.distilled.version)


@main.command()
@configured
@in_processes
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


@main.command(
    add_help_option=False, context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False}
)
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
def search(words: tuple[str, ...]) -> None:
    """Search distillation settings with Optuna: python tuning/search.py, with the same WORDS.

    The search lies beside the package, in the project's folder, and is started from there; --help tells more.
    """
    script = Path("tuning") / "search.py"
    if not script.is_file():
        raise ConfigError([f"search: no {script} here; start it in the project's folder, where MLproject lies"])
    os.execv(sys.executable, [sys.executable, str(script), *words])


@main.command("import-weights")
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
    from litemkd.tracking import promote

    found = read_file(file, kind)
    config = fit_config(config, found, modalities=modalities, shift=shift)
    for line in import_words(config, found):
        click.echo(line)
    data = prepare_data(config) if evaluate else None
    done = import_stage(config, found, build_device(config), data=data)
    if done.val is None:
        click.echo("not measured: it does not compete for champion; --evaluate measures it where its data is")
    else:
        click.echo(f"imported {kind}, val: {done.val.accuracy} %")
        for shot, test in done.tests.items():
            click.echo(f"imported {kind}, {shot}-shot: {test.accuracy} % on the test classes")
        _tell_changes(promote(done.name))
    _close(done.name, done.version)


@main.command("export-weights")
@configured
@click.argument("model")
@click.argument("file", type=click.Path(path_type=Path))
def export_weights(config: Config, model: str, file: Path) -> None:
    """Write the student MODEL, models:/NAME/VERSION or a folder, to FILE in the format of released weights."""
    from litemkd.stages.export_weights import export_student

    for line in export_student(model, file):
        click.echo(line)


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
