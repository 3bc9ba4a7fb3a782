"""Writes docs/cli.md and MLproject from the commands, docs/config.md and the schema of experiment files from
the configuration, docs/ledger.md and docs/reproduce.md from the published figures.

`python docs/generate.py`; a test tells when to.
"""

from __future__ import annotations

import inspect
import json
import re
import textwrap
from pathlib import Path

import click

from litemkd.cli import main
from litemkd.comparison.pages import ledger_page, reproduce_page
from litemkd.config.page import config_page
from litemkd.config.schema import FILE, experiment_schema
from litemkd.search.command import main as search

PAGE = Path(__file__).with_name("cli.md")
CONFIG = PAGE.with_name("config.md")
LEDGER, REPRODUCE = PAGE.with_name("ledger.md"), PAGE.with_name("reproduce.md")
PROJECT = Path(__file__).parents[1] / "MLproject"
SCHEMA = Path(__file__).parents[1] / "experiments" / FILE
COMMON = ("--config", "--set", "--overrides", "--data-root", "--seed", "--device")
TOP = """# Commands

<!-- Made by `python docs/generate.py` from what `litemkd COMMAND --help` says. -->

Each is `litemkd NAME`, and `mlflow run . -e NAME` where it is an entry point of `MLproject`; `main` is
`distill`. Each does what is missing before it: `distill` prepares the data and finds or trains its teacher.
"""

PROJECT_TOP = """name: litemkd

# Made by `python docs/generate.py` from the commands.
#
# `mlflow run . -e distill` makes this environment with conda; `--env-manager uv` makes it with uv, and
# `--env-manager local` takes the packages installed here instead.
conda_env: conda.yaml

# Every value is text, quoted for the shell by MLflow; the command line checks it. `overrides` holds settings
# of the configuration, separated by spaces: -P overrides="student.train.episodes=100 loss.temperature=2". Any
# other option of a command can be given too: -P model=models:/litemkd-toy-student@lite becomes --model. What
# is of type `path` is looked for from where `mlflow run` is called.
entry_points:
"""


def commands() -> dict[str, click.Command]:
    """Every command by name, in the order of `litemkd --help`; the search as itself."""
    return {name: search if name == "search" else main.commands[name] for name in main.commands}


def flags_of(command: click.Command) -> set[str]:
    """The long names of its options."""
    return {word for parameter in command.params for word in parameter.opts if word.startswith("--")}


def words(text: str) -> str:
    """A text in one line, safe in a table: no bar ends a cell, and no `<class>` is markup."""
    line = re.sub(r"\s+", " ", text).strip().replace("|", "\\|")
    return re.sub(r"<(?=\w+>)", r"\\<", line)


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
        "```bash\n" + re.sub(r"^[\b\s]+", "", text) + "\n```" if text.lstrip().startswith("\b") else words(text)
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


def default_text(option: click.Parameter) -> str:
    """What an entry point passes when a parameter is not given; each command takes empty text as not given."""
    value = "toy" if option.name == "config_file" else option.to_info_dict()["default"]
    if option.name == "data_root":
        value = "data"
    if option.name in ("seed", "device"):
        value = {"seed": "0", "device": "auto"}[option.name]
    return str(value).lower() if isinstance(value, bool) else "" if value in (None, ()) else str(value)


def entry(name: str, command: click.Command) -> str | None:
    """A command's block of MLproject; None for what is no entry point."""
    declared = getattr(command.callback, "entry_point", None)
    if declared is None:
        return None
    wanted, files = declared
    by_flag = {parameter.opts[0].lstrip("-"): parameter for parameter in command.params}
    common = [flag.lstrip("-") for flag in COMMON if flag != "--set" and flag in flags_of(command)]
    needed = [flag for flag, parameter in by_flag.items() if parameter.required]
    lines, words = [], [f"python -m litemkd {'distill' if name == 'main' else name}"]
    for flag in needed:
        lines.append(f"{flag}: {{type: {'path' if flag in files else 'string'}}}")
    for flag in [*common, *wanted]:
        default = default_text(by_flag[flag])
        shown = default if re.fullmatch(r"[a-z][\w,]*", default) and default != "false" else f'"{default}"'
        lines.append(f"{flag.replace('-', '_')}: {{type: string, default: {shown}}}")
    options = [one for one in needed if isinstance(by_flag[one], click.Option)]
    words += [f"--{flag} {{{flag.replace('-', '_')}}}" for flag in [*common, *wanted, *options]]
    words += [f"{{{flag}}}" for flag in needed if flag not in options]
    told = textwrap.fill(command.get_short_help_str(200), 110, initial_indent="  # ", subsequent_indent="  # ")
    start = textwrap.fill(
        " ".join(words), 110, initial_indent=" " * 6, subsequent_indent=" " * 6, break_on_hyphens=False
    )
    parameters = "".join(f"      {line}\n" for line in lines)
    return f"{told}\n  {name}:\n    parameters:\n{parameters}    command: >-\n{start}\n"


def project() -> str:
    """The whole MLproject."""
    every = commands()
    blocks = [entry(name, command) for name, command in {**every, "main": every["distill"]}.items()]
    return PROJECT_TOP + "\n".join(filter(None, blocks))


def schema() -> str:
    """The schema of experiment files."""
    return json.dumps(experiment_schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for path, text in (
        (PAGE, page()),
        (PROJECT, project()),
        (CONFIG, config_page()),
        (SCHEMA, schema()),
        (LEDGER, ledger_page()),
        (REPRODUCE, reproduce_page()),
    ):
        path.write_text(text, encoding="utf-8")
        print(f"written: {path}")
