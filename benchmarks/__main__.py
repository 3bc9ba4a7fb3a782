"""`python -m benchmarks`: runs works, prints a table, and writes JSON."""

from __future__ import annotations

import json
import os
import tempfile
import time
from pathlib import Path

import click

from benchmarks.sizes import FULL, TINY, Sizes
from benchmarks.work import BenchmarkError, Setting, Work


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--list", "listing", is_flag=True, help="Name the works, and run none.")
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    default=len(os.sched_getaffinity(0)),
    show_default=True,
    help="Threads of each side.",
)
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Where models compute.",
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("benchmarks.json"),
    show_default=True,
    help="JSON with every repetition.",
)
@click.option("--tiny", is_flag=True, help="Tiny sizes, to see that everything runs: the figures say nothing.")
def main(names: tuple[str, ...], listing: bool, threads: int, device: str, out: Path, tiny: bool) -> None:
    """Time litemkd against the published way of doing the same work, in one run on this machine.

    NAME is a work (see --list). When none is given all are run but those of the search, which take minutes;
    `test` takes the longest of the others. Each side has a process of its own; both must give the same answer
    before they are timed, in turns. Data is made up, in a temporary folder. The table is printed; a work that
    does not show what is asked for says so there, and the exit code stays 0, since other machines have other
    ratios.
    """
    from benchmarks.harness import measure
    from benchmarks.report import asked, record, table

    works = all_works(TINY if tiny else FULL)
    if listing:
        for work in works.values():
            click.echo(f"{work.name:16} {work.what} ({asked(work)})")
        return
    unknown = [name for name in names if name not in works]
    if unknown:
        raise click.UsageError(f"no such work: {', '.join(unknown)}; known: {', '.join(works)}")
    results = []
    with tempfile.TemporaryDirectory(prefix="litemkd-benchmarks-") as folder:
        setting = Setting(Path(folder), threads, _device(device), TINY if tiny else FULL)
        about = _machine(threads, setting.device, tiny)
        for name in names or [name for name, work in works.items() if not work.when_named]:
            click.echo(f"{name} ...", err=True, nl=False)
            begun = time.perf_counter()
            try:
                results.append(measure(works[name], setting))
            except BenchmarkError as error:
                raise click.ClickException(str(error)) from error
            _write(out, record(results, about))
            click.echo(f" {results[-1].ratio:.3g} x, {time.perf_counter() - begun:.0f} s", err=True)
    click.echo(table(results))


def all_works(sizes: Sizes) -> dict[str, Work]:
    """The works by name, in the order of the table."""
    from benchmarks import evaluating, searching, tracking, training

    listed = [work for module in (evaluating, training, tracking, searching) for work in module.works(sizes)]
    return {work.name: work for work in listed}


def _device(asked: str) -> str:
    import torch

    found = torch.cuda.is_available()
    if asked == "cuda" and not found:
        raise click.UsageError("--device cuda: this machine shows no CUDA device; cpu would do")
    return "cuda" if found and asked != "cpu" else "cpu"


def _machine(threads: int, device: str, tiny: bool) -> dict[str, object]:
    from litemkd.tracking.environment import hardware, requirements

    needed = ("torch", "torchvision", "pillow", "opencv-python-headless", "numpy", "mlflow")
    return {
        "machine": hardware(),
        "packages": requirements(*needed),
        "threads": threads,
        "device": device,
        "tiny": tiny,
    }


def _write(out: Path, values: dict[str, object]) -> None:
    from litemkd.storage.files import write_text

    write_text(out, json.dumps(values, indent=2) + "\n")


if __name__ == "__main__":
    main()
