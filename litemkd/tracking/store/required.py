"""What a command asks of the store before any work."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from mlflow.exceptions import MlflowException

from litemkd.errors import TrackingError
from litemkd.tracking.store import artifact_roots, opening, reaching


def require_store(dataset: str | None = None, *, writing: bool = True) -> None:
    """The store has to answer, and to be writable. A SQLite file that is missing is not made, but could be.

    Args:
        dataset: whose runs the command makes: it is told where a server does not keep their files.
        writing: whether the command writes to the opening.

    Raises:
        TrackingError: it does not answer, cannot be opened, made, or written.
    """
    path = opening.store_file()
    if path is None or _exists(path):
        client = opening.connect()
        if dataset is not None:
            with contextlib.suppress(MlflowException):  # the server has just gone: the run's opening finds out
                artifact_roots.warn(client, dataset)
    if path is None or not writing:
        return
    if _exists(path):
        if (why := reaching.why_read_only(path)) is not None:
            raise TrackingError(
                f"the tracking store {path} cannot be written: {why}. Set MLFLOW_TRACKING_URI to a store of "
                "your own, such as sqlite:////folder/mlflow.db, or have its permissions changed"
            )
        return
    folder = next(one for one in path.parents if _exists(one))
    if not folder.is_dir():
        raise opening.cannot_be_made(path, f"{folder} is no folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise opening.cannot_be_made(path, f"{folder} may not be written to")


def _exists(path: Path) -> bool:
    """TrackingError: it is not even allowed to look."""
    try:
        return path.exists()
    except OSError as error:
        raise TrackingError(f"the tracking store {path} cannot be opened: {error.strerror or error}") from error
