"""`litemkd search`: the search that lies beside the package."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from litemkd.errors import ConfigError


@click.command(
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
