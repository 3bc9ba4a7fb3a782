"""Watching live video, as the stages see it: by the runner's code, with litemkd's own mistakes."""

from __future__ import annotations

from pathlib import Path
from typing import IO

from litemkd_runtime import RecogniserError
from litemkd_runtime.front import Asked, Watched
from litemkd_runtime.front import watch as _watch
from litemkd_runtime.watching import Engine, Pace, RuntimeEngine

from litemkd.errors import DataError
from litemkd.export.runner import open_recogniser


def exported_engine(folder: Path, threads: int | None) -> Engine:
    """The student in an exported folder. CheckpointError: see `open_recogniser`."""
    return RuntimeEngine(open_recogniser(folder, threads=threads))


def watch(engine: Engine, asked: Asked, out: IO[str], notes: IO[str]) -> Watched:
    """See `litemkd_runtime.front.watch`. DataError: what is asked for is not there or will not do."""
    try:
        return _watch(engine, asked, out, notes)
    except RecogniserError as error:
        raise DataError(str(error)) from error


__all__ = ["Asked", "Engine", "Pace", "Watched", "exported_engine", "watch"]
