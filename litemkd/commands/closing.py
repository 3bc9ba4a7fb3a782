"""The last words of commands."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from litemkd.tracking import Promotion


def close(name: str, version: int) -> None:
    """Name the registered model that a command made, and how to see its runs."""
    from litemkd.tracking import ui_command

    click.echo(f"registered model: {name} version {version}\nbrowse the runs:  {ui_command()}")


def tell_changes(*promotions: Promotion) -> None:
    """What moved in the registry, and what a choice by hand keeps where it is."""
    for promotion in promotions:
        for line in promotion.told:
            click.echo(line)
