"""What the store would not take, kept on disk: metrics, tags, the final status and artifacts of a run.

A store that is away at the wrong moment must not cost a training run. Each run has a folder below
`runs/unsent`; `send_unsent` sends it all later and removes it.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, RunTag

from litemkd.errors import TrackingError
from litemkd.files import write_text
from litemkd.tracking.buffer import BATCH
from litemkd.tracking.store import connect

FOLDER = Path("runs") / "unsent"


class Spool:
    """The unsent part of one run; the folder is made when there is something to keep."""

    def __init__(self, run_id: str) -> None:
        self.folder = (FOLDER / run_id).absolute()
        self._pending: dict[str, Any] = {"metrics": [], "tags": {}, "status": None, "end_time": None}

    def keep_artifact(self, path: Path, artifact_dir: str) -> None:
        """Copy a file or folder that belongs below `artifact_dir` of the run's artifacts."""
        target = self.folder / "artifacts" / PurePosixPath(artifact_dir)
        target.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            shutil.copytree(path, target, dirs_exist_ok=True)
        else:
            shutil.copy2(path, target / path.name)

    def keep(
        self,
        *,
        metrics: Sequence[Metric] = (),
        tags: Mapping[str, str] | None = None,
        status: str | None = None,
        end_time: int | None = None,
    ) -> None:
        """Keep metrics, tags, and the final status with its time (ms since 1970)."""
        self._pending["metrics"] += [[m.key, repr(m.value), m.timestamp, m.step] for m in metrics]
        self._pending["tags"] |= dict(tags or {})
        if status is not None:
            self._pending |= {"status": status, "end_time": end_time}
        write_text(self.folder / "pending.json", json.dumps(self._pending))


def send_unsent(folder: Path = FOLDER) -> list[str]:
    """Send what earlier runs could not, to the store in use, and remove it from disk.

    Returns:
        A line a run that was sent.

    Raises:
        TrackingError: the store does not take it; what was not sent stays on disk.
    """
    if not folder.is_dir():
        return []
    client = connect()
    lines = []
    for kept in sorted(path for path in folder.iterdir() if path.is_dir()):
        try:
            lines.append(_send(client, kept))
        except Exception as error:
            raise TrackingError(
                f"{kept} stays on disk, the tracking store does not take it: {error}"
            ) from error
        shutil.rmtree(kept)
    return lines


def _send(client: MlflowClient, kept: Path) -> str:
    run_id = kept.name
    file = kept / "pending.json"
    pending = json.loads(file.read_text()) if file.exists() else {}
    metrics = [Metric(key, float(value), time, step) for key, value, time, step in pending.get("metrics", [])]
    for start in range(0, len(metrics), BATCH):
        client.log_batch(run_id, metrics=metrics[start : start + BATCH])
    if pending.get("tags"):
        client.log_batch(run_id, tags=[RunTag(key, value) for key, value in pending["tags"].items()])
    artifacts = kept / "artifacts"
    files = [path for path in artifacts.rglob("*") if path.is_file()] if artifacts.is_dir() else []
    if files:
        client.log_artifacts(run_id, os.fspath(artifacts))
    if pending.get("status"):
        client.set_terminated(run_id, pending["status"], pending["end_time"])
    return f"run {run_id}: {len(metrics)} metrics, {len(files)} artifacts"
