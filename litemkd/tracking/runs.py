"""Runs: one for each stage, opened and closed in every way a process can end, and what is written on them."""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, LoggedModelInput, Metric, Param, RunTag

from litemkd.errors import TrackingError
from litemkd.tracking import models, store
from litemkd.tracking.buffer import MetricBuffer, allowed_name
from litemkd.tracking.environment import describe
from litemkd.tracking.known import Known
from litemkd.tracking.spool import Spool

_log = logging.getLogger("litemkd.tracking")
AT_ONCE = 100  # parameters or tags in one request, the store's limit
LONGEST_PARAM = 6000  # characters, the store's limits
LONGEST_TAG = 8000
LONGEST_DIGEST = 36


def run_tags(tags: Mapping[str, Any]) -> dict[str, str]:
    """Tags as stored: a plain key `head` becomes `litemkd.head`, True becomes `true`, None is left out."""
    return {
        key if "." in key else f"litemkd.{key}": _words(value)[:LONGEST_TAG]
        for key, value in tags.items()
        if value is not None
    }


def _words(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _chunks(items: Sequence[Any], size: int = AT_ONCE) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


class Run:
    """One open run. Its `log_metrics` is what the training loop calls.

    What the store does not take while it is away (metrics, tags, artifacts, the final status) is kept on disk,
    see `send_unsent`, and told by a warning; it never raises. Only `log_model` raises, since it has a result.

    Attributes:
        run_id: MLflow's id.
        experiment_id: of the experiment `litemkd/<dataset>`.
        name: as shown in the user interface.
        description: what stands at the top of its page, as this process wrote it.
        former: the tags of a run that is gone on with, as they were; None for a new one.
        known: its points, which are not recorded once more.
    """

    description = ""
    former: Mapping[str, str] | None = None
    known: Known | None = None

    def __init__(self, client: MlflowClient, run_id: str, experiment_id: str, name: str, dataset: str) -> None:
        self._client = client
        self.run_id = run_id
        self.experiment_id = experiment_id
        self.name = name
        self.dataset = dataset
        self._params: dict[str, str] = {}
        self._tables: list[dict[str, str]] = []
        self._spool = Spool(run_id)
        self._told = False
        self._lock = threading.Lock()
        self._buffer = MetricBuffer(self._send_metrics)

    @property
    def where(self) -> str:
        """Where to look at the run: an address, or the command that shows it."""
        shown = store.ui_command()
        if shown.startswith("http"):
            return f"{shown.rstrip('/')}/#/experiments/{self.experiment_id}/runs/{self.run_id}"
        experiment = store.experiment_name(self.dataset)
        return f"run {self.name} ({self.run_id}) in experiment {experiment}; see it with: {shown}"

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Record metrics at a step (for training: episodes seen); returns at once, keeps NaN and infinity."""
        self._buffer.add(metrics if self.known is None else self.known.without(metrics, step), step)

    def flush(self) -> None:
        """Send the metrics that wait."""
        self._buffer.flush()

    def log_params(self, params: Mapping[str, Any], *, existing: Mapping[str, str] | None = None) -> None:
        """Record parameters; those the run has already (`existing`) keep their value, whatever it is."""
        known = {**(existing or {}), **self._params}
        new = {allowed_name(key): stored_value(value) for key, value in params.items()}
        new = {key: value for key, value in new.items() if key not in known}
        for part in _chunks([Param(key, value) for key, value in new.items()]):
            store.patiently(functools.partial(self._client.log_batch, self.run_id, params=part))
        self._params.update(new)

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Set tags, see `run_tags` for the keys."""
        named = run_tags(tags)
        for part in _chunks([RunTag(key, value) for key, value in named.items()]):
            self._attempt(
                functools.partial(self._client.log_batch, self.run_id, tags=part),
                lambda: self._spool.keep(tags=named),
            )

    def describe(self, words: str) -> None:
        """Add to what stands at the top of the run's page, a result for instance (Markdown).

        It goes on in the same paragraph, as the page shows five lines before it folds the rest away.
        """
        self.description = f"{self.description} {words}".strip()
        self.set_tags({store.NOTE: self.description})

    def log_text(self, text: str, file: str) -> None:
        """Write a text as the artifact `file` (a path with slashes, such as `report/summary.md`)."""
        self._write(file, lambda path: path.write_text(text, encoding="utf-8"))

    def log_dict(self, values: Mapping[str, Any], file: str) -> None:
        """Write a mapping as the artifact `file`, YAML or, with the suffix `.json`, JSON."""
        if PurePosixPath(file).suffix == ".json":
            self.log_text(json.dumps(values, indent=2, default=str) + "\n", file)
        else:
            import yaml

            self.log_text(yaml.safe_dump(json.loads(json.dumps(values, default=str)), sort_keys=False), file)

    def log_figure(self, figure: Any, file: str) -> None:
        """Write a matplotlib figure as the artifact `file`, in the format of its suffix."""
        self._write(file, lambda path: figure.savefig(path, bbox_inches="tight"))

    def log_picture(self, picture: Any, file: str) -> None:
        """Write a Pillow picture as the artifact `file`, in the format of its suffix."""
        self._write(file, picture.save)

    def log_array(self, values: np.ndarray, file: str) -> None:
        """Write an array as the artifact `file`, which ends in `.npy`."""
        self._write(file, lambda path: np.save(path, values, allow_pickle=False))

    def log_table(self, rows: Sequence[Mapping[str, Any]], file: str) -> None:
        """Write rows as the artifact `file`, JSON that MLflow shows as a table and `load_table` reads."""
        columns = list(dict.fromkeys(key for row in rows for key in row))
        data = [[_cell(row.get(column)) for column in columns] for row in rows]
        self.log_text(json.dumps({"columns": columns, "data": data}), file)
        if {"path": file, "type": "table"} not in self._tables:
            self._tables.append({"path": file, "type": "table"})
            self.set_tags({"mlflow.loggedArtifacts": json.dumps(self._tables)})

    def log_artifact(self, path: Path, artifact_dir: str = "") -> None:
        """Copy a file, or what is in a folder, to `artifact_dir` of the run's artifacts."""
        send = self._client.log_artifacts if path.is_dir() else self._client.log_artifact
        self._attempt(
            lambda: send(self.run_id, os.fspath(path), artifact_dir or None),
            lambda: self._spool.keep_artifact(path, artifact_dir),
        )

    def log_dataset(
        self, name: str, digest: str, source: str, context: str, profile: Mapping[str, Any] | None = None
    ) -> None:
        """Record what was read: a data set by its digest.

        Args:
            name: shown, and the name that model metrics refer to.
            digest: of the content; the first 36 characters are the data set's digest in the store, the whole
                digest is in the profile.
            source: folder or address it came from.
            context: what it was for, such as `training` or `validation`.
            profile: plain facts (classes, clips, …).
        """
        entry = Dataset(
            name=name,
            digest=digest[:LONGEST_DIGEST],
            source_type="local",
            source=json.dumps({"uri": source}),
            profile=json.dumps({**(profile or {}), "digest": digest}, default=str),
        )
        inputs = [DatasetInput(entry, [InputTag("mlflow.data.context", context)])]
        tags = {f"dataset.{context}": f"{name} {digest}"}
        self._attempt(
            lambda: self._client.log_inputs(self.run_id, inputs), lambda: self._spool.keep(tags=run_tags(tags))
        )

    def use_model(self, registered_name: str, version: int) -> None:
        """Link a registered version that the run reads: a student's teacher, or the model that is evaluated."""

        def send() -> None:
            model_id = models.model_of(self._client.get_model_version(registered_name, str(version)))
            if model_id is not None:
                self._client.log_inputs(self.run_id, models=[LoggedModelInput(model_id)])

        used = run_tags({"model_used": f"{registered_name} version {version}"})
        self._attempt(send, lambda: self._spool.keep(tags=used))

    def log_environment(self) -> None:
        """Write hardware, Python and package versions as the artifact `environment.txt`."""
        self.log_text(describe(), "environment.txt")

    def log_model(
        self,
        directory: Path,
        *,
        name: str,
        step: int,
        metrics: Mapping[str, float],
        tags: Mapping[str, Any] | None = None,
        dataset: str | None = None,
        dataset_digest: str | None = None,
        loader_module: str = models.LOADER,
        with_code: bool = False,
    ) -> str:
        """Log a checkpoint as a model of this run, with the metrics it reached.

        Args:
            directory: folder of `weights.safetensors` and `model.json`, copied.
            name: of the model; checkpoints of one run share it and differ in `step`.
            step: episodes seen.
            metrics: on which checkpoints are compared, such as `val/accuracy`. Where the run logged the same
                value at the same step, it is the same point.
            tags: of the model, see `run_tags`.
            dataset: what the metrics were taken on, the name given to `log_dataset`.
            dataset_digest: its digest.
            loader_module: module whose `_load_pyfunc(path)` loads the folder.
            with_code: copy litemkd itself into the model, so that it loads where litemkd is not installed.

        Returns:
            The model's id, `models:/<id>` is its address.

        Raises:
            TrackingError: the folder is missing, or the store refused.
        """
        return models.write_model(
            self._client,
            directory,
            run_id=self.run_id,
            experiment_id=self.experiment_id,
            name=name,
            step=step,
            metrics=metrics,
            tags={**run_tags(tags or {}), models.STEP: str(step)},
            params=self._params,
            dataset=dataset,
            dataset_digest=dataset_digest,
            timestamp=self._time_of,
            again=self.known is not None,
            loader_module=loader_module,
            with_code=with_code,
        )

    def _send_metrics(self, batch: Sequence[Metric]) -> None:
        store.patiently(lambda: self._client.log_batch(self.run_id, metrics=batch))

    def _time_of(self, key: str, value: float, step: int) -> int | None:
        found: Metric | None = self._buffer.last(key)
        if found is not None and found.step == step and found.value == value:
            return found.timestamp
        self.flush()
        return Known(self._client, self.run_id).time(key, value, step)

    def close(self, status: str | None) -> None:
        """Send what waits and set the final status, None for none. Called by `stage_run`."""
        end = int(time.time() * 1000)
        try:
            unsent = self._buffer.close()
            if unsent:
                self._keep(lambda: self._spool.keep(metrics=unsent), TrackingError(f"{len(unsent)} metrics"))
        finally:  # also when the user presses Ctrl-C again: a run is never left open
            if status is not None:
                self._attempt(
                    lambda: self._client.set_terminated(self.run_id, status, end),
                    lambda: self._spool.keep(status=status, end_time=end),
                )

    def _write(self, file: str, write: Callable[[Path], object]) -> None:
        target = PurePosixPath(file)
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / target.name
            write(path)
            self.log_artifact(path, "" if str(target.parent) == "." else str(target.parent))

    def _attempt(self, send: Callable[[], object], keep: Callable[[], None]) -> None:
        try:
            store.patiently(send)
        except Exception as error:
            self._keep(keep, error)

    def _keep(self, keep: Callable[[], None], error: Exception) -> None:
        with self._lock:
            with contextlib.suppress(OSError):  # the disk may be what is full
                keep()
            if not self._told:
                _log.warning("the tracking store did not take all of run %s (%s)", self.run_id, error)
                _log.warning("the rest is kept in %s: send it later", self._spool.folder)
            self._told = True


def stored_value(value: Any) -> str:
    """A parameter's value as it is stored."""
    words = _words(value)
    return words if len(words) <= LONGEST_PARAM else words[: LONGEST_PARAM - 1] + "…"


def _cell(value: Any) -> Any:
    """A value JSON knows: NaN and infinity, which it does not, become null."""
    if isinstance(value, float) or hasattr(value, "dtype"):
        number = float(value)
        return number if number - number == 0 else None
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)
