"""`litemkd ui`, `export-runs`, `import-runs`: the store of runs itself, shown and moved."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

import click

from litemkd.errors import TrackingError

F = TypeVar("F", bound=Callable[..., Any])


def _of_store(flag: str, help_text: str) -> Callable[[F], F]:
    """An option that names the store which the command works on."""

    def decorate(command: F) -> F:
        @functools.wraps(command)
        def run(store: str | None, **rest: Any) -> Any:
            from litemkd.tracking import use_store

            use_store(store)
            return command(**rest)

        words = f"{help_text}; MLFLOW_TRACKING_URI, or mlflow.db here, when not given."
        return cast(F, click.option(flag, "store", metavar="URI", help=words)(run))

    return decorate


@click.command()
@_of_store("--store", "The store to show")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option("--port", type=click.IntRange(1, 65535), help="Port to listen at; 5000, or the next free one.")
@click.option("--open", "open_page", is_flag=True, help="Open the page in a browser, too.")
def ui(host: str, port: int | None, open_page: bool) -> None:
    """Show the runs in MLflow's own pages, by one light server process, until Ctrl-C.

    Where the store is a server already, its address is printed and nothing is started.
    """
    from litemkd.tracking import serving, store_uri

    uri = urlsplit(store_uri())
    if uri.scheme in {"http", "https"}:
        _show(uri._replace(netloc=uri.netloc.rpartition("@")[2]).geturl(), serving.PAGE, open_page)
        return
    if host not in serving.LOCAL:
        click.secho(
            f"--host {host}: whoever reaches this machine can read and change all runs, no password is asked; "
            "docs/team.md tells how a server for several people is set up",
            fg="yellow",
            err=True,
        )
    chosen = serving.free_port(host, port)
    if port is None and chosen != serving.PORT:
        click.echo(f"port {serving.PORT} is taken: {chosen} is used", err=True)
    try:
        with serving.serving(host, chosen) as (address, server):
            _show(address, serving.first_page(), open_page)
            click.echo("Ctrl-C ends it", err=True)
            code = server.wait()
    except KeyboardInterrupt:
        click.echo("ended", err=True)
        return
    raise TrackingError(f"the server ended by itself, with exit code {code}")


def _show(address: str, behind: str, open_page: bool) -> None:
    page = address.rstrip("/") + behind
    click.echo(f"browse the runs:  {page}")
    if open_page:
        click.launch(page)


@click.command()
@click.argument("target", type=click.Path(path_type=Path))
@_of_store("--from", "The store to read")
@click.option("--dataset", metavar="NAME", help="Only the experiment of this data set, litemkd/NAME.")
@click.option("--experiment", metavar="NAME", help="Only the experiment of this name, whatever it is.")
def export_runs(target: Path, dataset: str | None, experiment: str | None) -> None:
    """Write runs, their artifacts and models, and the registry to TARGET, a new folder or a new .zip file.

    Of all experiments litemkd/… when none is named. The store is only read.
    """
    from litemkd.tracking.moving import export_runs as write

    if dataset and experiment:
        raise click.UsageError("--dataset names an experiment too: one of --dataset and --experiment would do")
    done = write(target, dataset=dataset, experiment=experiment)
    for line in done.messages:
        click.echo(line, err=True)
    click.echo(
        f"exported to {target}: {done.runs} runs, {done.models} models, {done.versions} registered versions, "
        f"{done.files} artifacts, {done.points} metric points of digest {done.digest[:12]}"
    )


@click.command()
@click.argument("source", type=click.Path(path_type=Path))
@_of_store("--to", "The store to write")
def import_runs(source: Path) -> None:
    """Bring what export-runs wrote to SOURCE into a store; a second time adds nothing.

    Everything is read back and compared. An import that was interrupted goes on where it was.
    """
    from litemkd.tracking import store_uri, without_password
    from litemkd.tracking.moving import import_runs as bring

    done = bring(source)
    for line in done.messages:
        click.echo(line, err=True)
    there = f"; {done.runs_there} runs and {done.versions_there} versions were there" if done.runs_there else ""
    read = f"; read back and equal: {done.files} artifacts, {done.points} metric points of digest "
    click.echo(
        f"imported into {without_password(store_uri())}: {done.runs} runs, {done.models} models, "
        f"{done.versions} registered versions{there}" + (f"{read}{done.digest[:12]}" if done.runs else "")
    )
