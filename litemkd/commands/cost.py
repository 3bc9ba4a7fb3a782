"""`litemkd cost`: what a student costs."""

from __future__ import annotations

import json
from typing import Any

import click

from litemkd.commands.options import configured, entry_point, flag
from litemkd.config import Config
from litemkd.report.tables import amount, text_table


@click.command()
@entry_point()
@configured
@click.option(
    "--preset", type=click.Choice(["published"]), help="The published models beside the published figures."
)
@flag("--again", "Measure anew: what was measured once is kept in ~/.cache/litemkd/costs.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else.")
def cost(config: Config, preset: str | None, again: bool, as_json: bool) -> None:
    """What a student costs: thop MACs and exact FLOPs of an episode, parameters, latency, energy where told."""
    from litemkd.stages.cost import published_table, student_cost

    rows: list[dict[str, Any]] = (
        published_table(again=again) if preset else [dict(student_cost(config, again=again))]
    )
    if as_json:
        click.echo(json.dumps(rows if preset else rows[0], indent=2))
        return
    columns = list(rows[0])
    if preset:
        click.echo(text_table(columns, [[_cell(row.get(column)) for column in columns] for row in rows]))
    else:
        click.echo(text_table(["what", "figure"], [[name, _cell(value)] for name, value in rows[0].items()]))


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return amount(value, 3) if isinstance(value, float) else str(value)
