"""`litemkd prepare`: raw videos to what training reads."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from litemkd.commands.options import configured, entry_point, flag, resumable, tracked
from litemkd.config import Config
from litemkd.runtime.distributed import Group, barrier, group
from litemkd.storage.files import write_whole


def _shard(_: click.Context, __: click.Parameter, word: str) -> Group | None:
    """Which part of how many; None where all is to be made."""
    if not word:
        return None
    if word == "auto":
        word = "/".join(os.environ.get(name, "") for name in ("RANK", "WORLD_SIZE"))
    found = re.fullmatch(r"(\d+)/(\d+)", word)
    if found is None or int(found[1]) >= int(found[2]):
        raise click.BadParameter(
            f"{word!r} given; 0/4 to 3/4 for four parts would do, or auto where RANK and WORLD_SIZE are set"
        )
    return Group(int(found[1]), int(found[2]))


@click.command()
@entry_point("dataset", "videos", "lists", "derive", "resume")
@configured
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
@click.option(
    "--shard",
    default="",
    callback=_shard,
    metavar="I/N|auto",
    help="Make the frames of part I of N alone, counted from 0, and no packs: for jobs of an array, on hosts "
    "that share the folder. auto: part RANK of WORLD_SIZE. One call without it ends the work. Under torchrun "
    "the processes share the frames by themselves.",
)
def prepare(config: Config, derive: str, shard: Group | None, **rest: Any) -> None:
    """Read raw videos and make what training reads: frames of every modality, and packs of them."""
    from litemkd.stages.prepare import prepare_part, summary, with_derived

    config, also = with_derived(config, derive)
    if config.data.folds is not None and config.data.fold is None:
        click.echo(f"of all {config.data.fold_count} folds, which share it; what is told is of fold 0")
        config = config.model_copy(update={"data": config.data.model_copy(update={"fold": 0})})
    if shard is not None:
        click.echo(summary(prepare_part(config, also, shard)))
        click.echo(
            f"part {shard.rank} of {shard.size}, counted from 0, of the frames is in {config.dataset_dir}; "
            "when all are there, the same command without --shard makes the packs"
        )
        return
    if group().size > 1:
        prepare_part(config, also, group())
        barrier()
    _prepare(config, also, derive=derive, **rest)


@tracked
def _prepare(
    config: Config,
    also: Sequence[str],
    *,
    derive: str,
    contact_sheet: Path | None,
    verify: bool,
    **resuming: bool,
) -> None:
    from litemkd.report.card import card_markdown
    from litemkd.stages.build import build_device
    from litemkd.stages.prepare import prepare as prepare_data
    from litemkd.stages.setup import Setup

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
