"""The command `litemkd-runtime`."""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from litemkd_runtime import __version__
from litemkd_runtime.errors import RecogniserError
from litemkd_runtime.reading import PICTURES, natural_key
from litemkd_runtime.recogniser import Recogniser


def clips_of(folder: Path) -> list[Path]:
    """The clips in a folder: its files, and its folders of pictures."""
    if not folder.is_dir():
        raise RecogniserError(f"{folder}: no such folder; one with clips would do")
    found = [one for one in folder.iterdir() if not one.name.startswith(".")]
    return sorted(found, key=lambda one: natural_key(one.name))


def classes_of(folder: Path) -> dict[str, list[Path]]:
    """The clips of each class: a folder a class, in a folder.

    Raises:
        RecogniserError: fewer than two class folders, or an empty one.
    """
    classes = {one.name: clips_of(one) for one in clips_of(folder) if one.is_dir()}
    if len(classes) < 2:
        raise RecogniserError(
            f"{folder}: {len(classes)} class folders given; two or more, each with clips, would do"
        )
    for name, clips in classes.items():
        if not clips:
            raise RecogniserError(f"{folder / name}: holds no clips; one or more would do")
    return classes


def queries_of(path: Path) -> list[Path]:
    """The clips to name: a file or a folder of pictures is one; other folders hold clips, or their classes."""
    if not path.is_dir() or _is_clip(path):
        return [path]
    return [
        clip
        for one in clips_of(path)
        for clip in (clips_of(one) if one.is_dir() and not _is_clip(one) else [one])
    ]


def _is_clip(folder: Path) -> bool:
    return any(one.suffix.lower() in PICTURES for one in folder.iterdir())


def _predict(options: argparse.Namespace) -> None:
    recogniser = Recogniser(options.model, threads=options.threads).learn(classes_of(options.support))
    rows = csv.writer(sys.stdout, lineterminator="\n")
    rows.writerow(["query", "predicted", *recogniser.classes])
    queries = queries_of(options.query)
    for clip in queries:
        found = recogniser.probabilities(clip)
        named = max(found, key=lambda one: found[one])
        rows.writerow([clip.name, named, *(f"{share:.6f}" for share in found.values())])
        sys.stdout.flush()
    print(f"{len(queries)} named, {len(recogniser.classes)} classes", file=sys.stderr)


def _add_predict(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    about = "Name clips from a few examples of each class: CSV with the probability of each class."
    parser = commands.add_parser("predict", help=about, description=about)
    parser.add_argument("--model", type=Path, required=True, help="folder that `litemkd export` has written")
    parser.add_argument("--support", type=Path, required=True, help="one folder of clips for each class")
    parser.add_argument("--query", type=Path, required=True, help="a clip, or a folder of clips")
    parser.add_argument("--threads", type=int, help="of the processor; all when not given")
    parser.set_defaults(run=_predict)


# Each adds its options to the parser, and the function `run` that takes them.
COMMANDS: Mapping[str, Callable[[argparse._SubParsersAction[argparse.ArgumentParser]], None]] = {
    "predict": _add_predict,
}


def main(words: Sequence[str] | None = None) -> None:
    """Run a command; a user's mistake is one message, and the status 1."""
    parser = argparse.ArgumentParser("litemkd-runtime", description="Name clips with an exported student.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in COMMANDS.values():
        add(commands)
    options = parser.parse_args(words)
    try:
        options.run(options)
    except RecogniserError as error:
        print(f"litemkd-runtime: {error}", file=sys.stderr)
        sys.exit(1)
