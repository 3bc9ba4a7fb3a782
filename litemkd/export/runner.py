"""The runner of exported students, as the stages see it: its mistakes are litemkd's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from litemkd_runtime import Code, Recogniser, RecogniserError
from litemkd_runtime.exported import DESCRIPTION
from litemkd_runtime.reading import read_crops
from litemkd_runtime.strangers import is_known

from litemkd.errors import CheckpointError, DataError


def open_recogniser(folder: Path, *, threads: int | None = None) -> Recogniser:
    """The student in an exported folder.

    Raises:
        CheckpointError: no such folder, one that was changed, or a runtime that is not installed.
    """
    try:
        return Recogniser(folder, threads=threads)
    except RecogniserError as error:
        raise CheckpointError(str(error)) from error


def are_known(recogniser: Recogniser, query: Code, shot: int) -> np.ndarray | None:
    """(Q,) whether clips of these codes are of one of the classes; None where the student has no threshold."""
    if not (recogniser.about.get("calibration") or {}).get("score"):
        return None
    return np.array([is_known(row, recogniser.about, shot) for row in recogniser.match(query)])


@contextmanager
def clips_are_data() -> Iterator[None]:
    """What is wrong with a clip is a DataError."""
    try:
        yield
    except RecogniserError as error:
        raise DataError(str(error)) from error


__all__ = ["DESCRIPTION", "Code", "Recogniser", "are_known", "clips_are_data", "open_recogniser", "read_crops"]
