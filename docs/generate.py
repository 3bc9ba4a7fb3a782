"""Writes docs/cli.md from the commands: `python docs/generate.py`. A test fails when that was forgotten."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import click

from litemkd.cli import main
from litemkd.search.command import main as search

PAGE = Path(__file__).with_name("cli.md")
COMMON = ("--config", "--set", "--overrides", "--data-root", "--seed", "--device")
TOP = """# Commands

<!-- Made by `python docs/generate.py` from what `litemkd COMMAND --help` says. -->

Each is `litemkd NAME`, and `mlflow run . -e NAME` where it is an entry point of `MLproject`; `main` is
`distill`. Each does what is missing before it: `distill` prepares the data and finds or trains its teacher.
"""


def commands() -> dict[str, click.Command]:
    """Every command by name, in the order of `litemkd --help`; the search as itself."""
    return {name: search if name == "search" else main.commands[name] for name in main.commands}


def flags_of(command: click.Command) -> set[str]:
    """The long names of its options."""
    return {word for parameter in command.params for word in parameter.opts if word.startswith("--")}


def words(text: str) -> str:
    """A text in one line, safe in a table."""
    return re.sub(r"\s+", " ", text).strip().replace("|", "\\|")


def option_rows(command: click.Command, names: tuple[str, ...] | None, context: click.Context) -> list[str]:
    """Rows of a table: those options, or all but the common ones."""
    rows = []
    for parameter in command.get_params(context):
        if not isinstance(parameter, click.Option) or "--help" in parameter.opts:
            continue
        if (parameter.opts[0] in COMMON) != (names is not None):
            continue
        shown = parameter.get_help_record(context)
        assert shown is not None, parameter.name
        rows.append(f"| `{words(shown[0])}` | {words(shown[1])} |")
    return rows


def table(rows: list[str]) -> str:
    """Rows of options with their heading."""
    return "\n".join(["| option | meaning |", "|---|---|", *rows])


def section(name: str, command: click.Command) -> str:
    """What the page says of a command."""
    with click.Context(command, info_name=f"litemkd {name}") as context:
        usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
        own = option_rows(command, None, context)
    paragraphs = re.split(r"\n\s*\n", inspect.cleandoc(command.help or ""))
    told = [
        "```bash\n" + re.sub(r"^[\b\s]+", "", text) + "\n```"
        if text.lstrip().startswith("\b")
        else re.sub(r"\s+", " ", text).strip()
        for text in paragraphs
    ]
    parts = [f"## {name}", f"`{usage}`", *told]
    if own:
        parts.append(table(own))
    if flags_of(command) >= set(COMMON):
        parts.append("And the [options of a configuration](#the-configuration).")
    return "\n\n".join(parts)


def page() -> str:
    """The whole page."""
    every = commands()
    with click.Context(every["distill"]) as context:
        common = table(option_rows(every["distill"], COMMON, context))
    listed = "\n".join(
        f"| [`{name}`](#{name}) | {words(command.get_short_help_str(200))} |" for name, command in every.items()
    )
    *first, last = (f"`{name}`" for name, command in every.items() if not flags_of(command) & set(COMMON))
    without = f"{', '.join(first)} and {last}"
    configuration = (
        f"## The configuration\n\nAll commands but {without} take these. "
        f"Every key is in [config.md](config.md).\n\n{common}"
    )
    sections = [section(name, command) for name, command in every.items()]
    return (
        "\n\n".join([TOP.strip(), "| command | what it does |\n|---|---|\n" + listed, configuration, *sections])
        + "\n"
    )


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"written: {PAGE}")
