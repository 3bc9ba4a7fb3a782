"""The last words of commands."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from litemkd.tracking import Promotion


def close(name: str, version: int | str) -> None:
    """Name the registered model that a command made, and how to see its runs."""
    from litemkd.tracking import is_promise, ui_command

    if is_promise(version):
        click.echo(f"model kept on disk: {name}, registered when the tracking store answers (`litemkd sync`)")
    else:
        click.echo(f"registered model: {name} version {version}")
    click.echo(f"browse the runs:  {ui_command()}")


def tell_changes(*promotions: Promotion) -> None:
    """What moved in the registry, and what a choice by hand keeps where it is."""
    for promotion in promotions:
        for line in promotion.told:
            click.echo(line)
