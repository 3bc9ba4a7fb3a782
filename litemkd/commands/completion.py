"""`litemkd completion`: the shell completes commands, options and names of experiments."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

PROGRAM, VARIABLE = "litemkd", "_LITEMKD_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print what makes SHELL complete commands, options and experiments with the Tab key.

    For the shell you are in, or for every new one by the same line in its start-up file:

    \b
    eval "$(litemkd completion bash)"            # ~/.bashrc
    eval "$(litemkd completion zsh)"             # ~/.zshrc
    litemkd completion fish | source             # ~/.config/fish/config.fish
    """  # noqa: D301 - \b keeps click from joining the lines
    found = get_completion_class(shell)
    if found is None:  # a click without this shell
        raise click.ClickException(f"{shell}: this click completes no such shell")
    click.echo(found(context.find_root().command, {}, PROGRAM, VARIABLE).source())
