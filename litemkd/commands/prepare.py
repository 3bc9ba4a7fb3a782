"""`litemkd prepare`: raw videos to what training reads."""

from __future__ import annotations

from pathlib import Path

import click

from litemkd.commands.options import configured, entry_point, flag, resumable, tracked
from litemkd.config import Config
from litemkd.storage.files import write_whole


@click.command()
@entry_point("dataset", "videos", "lists", "derive", "resume")
@configured
@tracked
@resumable
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
@flag("--verify", "Read packs that are there through; one whose pixels have changed is built anew.")
def prepare(config: Config, derive: str, contact_sheet: Path | None, verify: bool, **resuming: bool) -> None:
    """Read raw videos and make what training reads: frames of every modality, and packs of them."""
    from litemkd.report.card import card_markdown
    from litemkd.stages.build import build_device
    from litemkd.stages.prepare import prepare as prepare_data
    from litemkd.stages.prepare import with_derived
    from litemkd.stages.setup import Setup

    config, also = with_derived(config, derive)
    if config.data.folds is not None and config.data.fold is None:
        click.echo(f"of all {config.data.fold_count} folds, which share it; what is told is of fold 0")
        config = config.model_copy(update={"data": config.data.model_copy(update={"fold": 0})})
    data = prepare_data(config, also, verify=verify)
    for line in data.remarks:
        click.echo(line)
    sheet = data.contact_sheet()
    counts = ", ".join(f"{name} {len(split.videos)}" for name, split in data.splits.items())
    found = f"videos {counts}; modalities {', '.join(data.packs)}"
    setup = Setup(config, build_device(config), data, options={"--derive": derive}, **resuming)
    with setup.run("prepare", "prepare", resumable=True) as run:
        card = data.card()
        run.log_dict(card, "data_card.json")
        run.log_text(card_markdown(card), "data_card.md")
        run.log_picture(sheet, "contact_sheet.png")
        run.describe(f"Found and made: {found}.")
    if contact_sheet is not None:
        write_whole(contact_sheet, lambda beside: sheet.save(beside, "PNG"))
        click.echo(f"contact sheet: {contact_sheet}")
    click.echo(data.summary())
    click.echo(f"prepared {config.dataset_dir}: {found}; {data.digest}")
