"""The last words of commands."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from litemkd.tracking import Promotion


def close(name: str, version: int | str) -> None:
    """Name the registered model that a command made, and how to see its runs."""
    from litemkd.tracking import ui_command

    click.echo(made(name, version))
    click.echo(f"browse the runs:  {ui_command()}")


def made(name: str, version: int | str) -> str:
    """What became of a model, in words."""
    from litemkd.tracking import is_promise

    if is_promise(version):
        return f"model kept on disk: {name}, registered when the tracking store answers (`litemkd sync`)"
    return f"registered model: {name} version {version}"


def tell_changes(*promotions: Promotion) -> None:
    """What moved in the registry, and what a choice by hand keeps where it is."""
    for promotion in promotions:
        for line in promotion.messages:
            click.echo(line)
