"""Files of runs read back."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import numpy as np

from litemkd.errors import TrackingError
from litemkd.tracking import roots, store
from litemkd.tracking.reasons import one_line
from litemkd.tracking.records import RunRecord

T = TypeVar("T")


def read_array(record: RunRecord, file: str) -> np.ndarray | None:
    """An array that `Run.log_array` wrote; None where the run has none.

    Raises:
        TrackingError: the store of files does not answer.
    """
    return _read(record, file, lambda path: np.load(path, allow_pickle=False))


def read_table(record: RunRecord, file: str) -> list[dict[str, Any]] | None:
    """The rows that `Run.log_table` wrote; None where the run has none."""
    found = _read(record, file, lambda path: json.loads(path.read_text(encoding="utf-8")))
    return None if found is None else [dict(zip(found["columns"], row, strict=True)) for row in found["data"]]


def _read(record: RunRecord, file: str, read: Callable[[Path], T]) -> T | None:
    parts = urlsplit(record.artifact_uri)
    if parts.scheme in ("", "file"):
        roots.tell_missing(record.artifact_uri, f"run {record.run_id}")
        path = Path(unquote(parts.path) if parts.scheme else record.artifact_uri) / file
        return read(path) if path.is_file() else None
    client = store.connect()
    parent = str(PurePosixPath(file).parent)
    try:
        there = client.list_artifacts(record.run_id, None if parent == "." else parent)
        if file not in {one.path for one in there}:
            return None
        with tempfile.TemporaryDirectory() as scratch:
            return read(Path(client.download_artifacts(record.run_id, file, scratch)))
    except Exception as error:
        raise TrackingError(f"{file} of run {record.run_id} cannot be read: {one_line(error)}") from error
