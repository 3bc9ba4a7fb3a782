"""`litemkd sync`: what the tracking store did not take is sent, and runs of lost processes are closed."""

from __future__ import annotations

import click

from litemkd.commands.options import entry_point, flag


@click.command()
@entry_point("moved")
@flag("--moved", "Send also what was kept for another address: the store has moved here.")
def sync(moved: bool) -> None:
    """Send what earlier runs could not send to the tracking store, and close runs whose process is gone.

    It lies in runs/unsent of the folder that the command was started in. Every command that writes runs does
    this first; this one does nothing else, and fails where something is left.
    """
    from litemkd.tracking import close_orphans, require_store, send_unsent

    require_store()
    lines = send_unsent(moved=moved)
    for line in lines:
        click.echo(f"sent {line}")
    closed = close_orphans()
    for line in closed:
        click.echo(line)
    click.echo(f"nothing is left to send; {len(lines)} runs were sent, {len(closed)} closed")
