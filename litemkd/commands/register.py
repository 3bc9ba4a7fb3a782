"""`litemkd register`: promotion in the registry, by rule or by hand."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import click

from litemkd.commands.closing import tell_changes
from litemkd.commands.options import configured, entry_point, flag
from litemkd.config import Config
from litemkd.errors import ConfigError, TrackingError

CHOSEN_BY = "val/accuracy"


@dataclass(frozen=True)
class _Asked:
    """The options of the command, as they are described there."""

    model: str | None
    alias: str | None
    reason: str | None
    run_id: str | None
    unpin: bool
    dry_run: bool
    yes: bool
    history: bool
    by: str

    def check(self) -> None:
        """ConfigError: options that do not go together, or a choice on test."""
        model, alias, reason, by = self.model, self.alias, self.reason, self.by
        problems = []
        if "test" in by:
            problems.append(
                f"--by: {by!r} given; nothing is chosen on the test classes: a model that was would look "
                f"better there than it is. {CHOSEN_BY} is what versions are chosen by"
            )
        elif by != CHOSEN_BY:
            problems.append(
                f"--by: {by!r} given; versions are chosen by {CHOSEN_BY}, and among near ones by cost"
            )
        if (alias or reason) and not model:
            problems.append("--alias, --reason: given without --model; --model NAME/VERSION would do")
        problems += [
            f"--model: given without {name}; by hand it needs both --alias and --reason"
            for name, value in (("--alias", alias), ("--reason", (reason or "").strip()))
            if model and not value and (alias or reason)
        ]
        if model and not (alias or reason):
            problems.append("--model: given without --alias and --reason")
        if sum(map(bool, (model, self.run_id, self.unpin))) > 1:
            problems.append("--model, --run, --unpin: more than one given; one at a time would do")
        if problems:
            raise ConfigError(problems)


@click.command()
@entry_point("dataset")
@configured
@click.option("--dataset", metavar="NAME", help="Of which data set; data.dataset when not given.")
@click.option(
    "--model", metavar="NAME/VERSION", help="Promote this version by hand; with --alias and --reason."
)
@click.option("--alias", type=click.Choice(["champion", "lite"]), help="What the version becomes.")
@click.option("--reason", metavar="TEXT", help="Why, for others: kept in the history and as a tag.")
@click.option(
    "--run", "run_id", metavar="ID", help="Register the model of this run first, a trial's for instance."
)
@flag("--unpin", "Take away what was chosen by hand and go by the rule again.")
@flag("--dry-run", "Show what would change, and change nothing.")
@flag("--yes", "Do not ask before a change by hand.")
@flag("--history", "Show the promotions that were made, and do nothing else.")
@click.option(
    "--by",
    default=CHOSEN_BY,
    show_default=True,
    metavar="METRIC",
    help="What versions are chosen by: val alone.",
)
def register(config: Config, **options: Any) -> None:
    """Promote registered models: champion is the best on val, lite the cheapest within one point of it.

    Without options, by that rule. A version that is promoted by hand is pinned: the rule leaves it alone until
    --unpin. What changes is shown before it does. Nothing is chosen by test accuracy.
    """
    asked = _Asked(**options)
    asked.check()
    if asked.history:
        _show_history(_names(config, asked.model))
    elif asked.model is not None:
        _by_hand(asked.model, asked)
    elif asked.run_id is not None:
        _of_run(asked.run_id, asked.dry_run)
    else:
        _by_rule(_names(config, None), asked.unpin, asked.dry_run)


def _names(config: Config, model: str | None) -> list[str]:
    """The registered models that are meant."""
    from litemkd.tracking import find_address, model_name

    if model is not None:
        return [find_address(_address(model)).name]
    return [model_name(config.data.dataset, "teacher"), model_name(config.data.dataset, "student")]


def _address(model: str) -> str:
    return model if model.startswith("models:/") else f"models:/{model}"


def _by_rule(names: Sequence[str], unpin: bool, dry_run: bool) -> None:
    from litemkd.stages.register import renew_cards
    from litemkd.tracking import list_versions, promote
    from litemkd.tracking import unpin as take_pins

    there = [name for name in names if list_versions(name)]
    if not there:
        raise TrackingError(
            f"no version of {' or '.join(names)} is registered here; `litemkd distill` makes them"
        )
    for name in there:
        _show_plan(name, unpin=unpin)
    for name in [] if dry_run else there:
        tell_changes(take_pins(name) if unpin else promote(name))
        for line in renew_cards(name):
            click.echo(line)
    for name in there:
        _show_standing(name, dry_run)


def _by_hand(model: str, asked: _Asked) -> None:
    from litemkd.stages.register import renew_cards
    from litemkd.tracking import check_choice, find_address, promote_by_hand

    found, reason = find_address(_address(model)), asked.reason or ""
    alias: Any = asked.alias
    pin = check_choice(found.name, found.version, alias, reason)
    _show_plan(found.name, pin=pin)
    if not asked.dry_run:
        if not asked.yes and not sys.stdin.isatty():
            raise ConfigError(["--yes: not given, and nobody is at a terminal to be asked; --yes would do"])
        if not asked.yes and not click.confirm("Promote by hand?", default=False):
            click.echo("nothing was changed")
            return
        tell_changes(promote_by_hand(found.name, found.version, alias, reason))
        for line in renew_cards(found.name):
            click.echo(line)
    _show_standing(found.name, asked.dry_run)


def _of_run(run_id: str, dry_run: bool) -> None:
    from litemkd.commands.closing import close
    from litemkd.stages.register import check_run, register_run
    from litemkd.tracking import promote

    record, name = check_run(run_id)
    reached = f"{record.metrics['val/best_accuracy']:.2f} % on val"
    click.echo(
        f"run {record.name} ({reached}) {'would become' if dry_run else 'becomes'} the next version of {name}"
    )
    if dry_run:
        return
    number = register_run(record, name)
    tell_changes(promote(name))
    close(name, number)


def _show_plan(name: str, **how: Any) -> None:
    from litemkd.tracking import preview

    moves, notes = preview(name, **how)
    for line in [*(move.planned for move in moves), *notes]:
        click.echo(line if line.startswith(name) else f"{name}: {line}")
    if not moves:
        click.echo(f"{name}: nothing to move")


def _show_standing(name: str, dry_run: bool) -> None:
    from litemkd.tracking import ALIASES, current_aliases

    holders = current_aliases(name)
    stand = ", ".join(f"{alias} version {holders[alias]}" for alias in ALIASES if alias in holders)
    click.echo(f"{name}: {stand or 'no champion'}{' (nothing was changed)' if dry_run else ''}")


def _show_history(names: Sequence[str]) -> None:
    from litemkd.report.tables import text_table
    from litemkd.tracking import promotions

    rows = [
        [one.time, name, one.alias, _number(one.before), _number(one.after), one.by, one.user, one.reason]
        for name in names
        for one in promotions(name)
    ]
    click.echo(text_table(["time (UTC)", "model", "alias", "from", "to", "by", "user", "reason"], rows))
    click.echo(f"{len(rows)} promotions of {', '.join(names)}")


def _number(version: int | None) -> str:
    return "" if version is None else str(version)
