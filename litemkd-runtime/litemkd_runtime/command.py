"""The command `litemkd-runtime`."""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from litemkd_runtime import __version__
from litemkd_runtime.errors import RecogniserError
from litemkd_runtime.front import Asked, watch
from litemkd_runtime.reading import PICTURES, natural_key
from litemkd_runtime.recogniser import Recogniser
from litemkd_runtime.watching import Pace, RuntimeEngine


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


def _watch(options: argparse.Namespace) -> None:
    engine = RuntimeEngine(Recogniser(options.model, threads=options.threads))
    names = tuple(one.strip() for one in options.names.split(",") if one.strip())
    pace = Pace(options.window, options.every, options.smoothing, options.hold, options.force_choice)
    asked = Asked(
        options.source,
        classes_of(options.support) if options.support else {},
        options.enrolled,
        names,
        pace,
        options.json,
        out=options.out,
    )
    print(watch(engine, asked, sys.stdout, sys.stderr).words(), file=sys.stderr)


def _add_watch(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    about = "Name what is shown in a video, by a camera or at an address, as it comes."
    parser = commands.add_parser("watch", help=about, description=about)
    parser.add_argument("--model", type=Path, required=True, help="folder that `litemkd export` has written")
    parser.add_argument("--source", required=True, help="a file, a camera's number, rtsp://…, or - for a pipe")
    parser.add_argument("--support", type=Path, help="one folder of clips for each class")
    parser.add_argument("--names", default="", help="A,B,…: keys 1, 2, … take examples of these")
    parser.add_argument("--enrolled", type=Path, help="file (.npz) of the examples that keys have taken")
    parser.add_argument("--window", type=float, default=2.0, help="seconds that a decision looks at (2)")
    parser.add_argument("--every", type=int, default=1, help="decide at each so manieth frame (1)")
    parser.add_argument("--smoothing", type=float, default=0.5, help="how much of what was before stays (0.5)")
    parser.add_argument("--hold", type=int, default=2, help="decisions that must agree on another name (2)")
    parser.add_argument("--force-choice", action="store_true", help="name a class whatever is shown")
    parser.add_argument("--json", action="store_true", help="a JSON line a decision")
    parser.add_argument("--out", type=Path, help="folder for segments: CSV, JSON, WebVTT, ELAN, a picture")
    parser.add_argument("--threads", type=int, help="of the processor; all when not given")
    parser.set_defaults(run=_watch)


# Each adds its options to the parser, and the function `run` that takes them.
COMMANDS: Mapping[str, Callable[[argparse._SubParsersAction[argparse.ArgumentParser]], None]] = {
    "predict": _add_predict,
    "watch": _add_watch,
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
