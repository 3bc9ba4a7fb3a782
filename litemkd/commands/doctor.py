"""`litemkd doctor`: whether everything is there, for oneself and for whoever reads a bug report."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict

import click

from litemkd.commands.options import configured, entry_point
from litemkd.config import Config
from litemkd.doctor.finding import Finding


@click.command()
@entry_point()
@configured
@click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else.")
@click.option("--quick", is_flag=True, help="Leave out the self-test, which takes about ten seconds.")
def doctor(config: Config, as_json: bool, quick: bool) -> None:
    """Say what is installed, what this machine can do, and what is wrong: the top of a bug report.

    Versions, extras, devices, codecs, the store of runs, free disk, and a self-test: films are written and read
    back, and a small student learns. `!` is wrong, and makes the command end with 1; `-` is what only some
    work needs. Nothing is changed, and passwords are left out.
    """
    from litemkd.doctor.examination import examine, report

    findings = []

    def looked() -> Iterator[Finding]:  # each line is told when it is found
        for one in examine(config, quick=quick):
            findings.append(one)
            yield one

    if as_json:
        listed = [asdict(one) for one in looked()]
        healthy = all(one["state"] != "wrong" for one in listed)
        click.echo(json.dumps({"healthy": healthy, "findings": listed}, indent=2, ensure_ascii=False))
    else:
        for line in report(looked()):
            click.echo(line)
    sys.exit(any(one.state == "wrong" for one in findings))
