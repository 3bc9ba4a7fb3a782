"""Runs: one for each stage, opened and closed in every way a process can end, and what is written on them."""

from __future__ import annotations

import json
import tempfile
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from mlflow import MlflowClient

from litemkd.errors import TrackingError
from litemkd.secrets import hide
from litemkd.tracking import models, store
from litemkd.tracking.environment import describe
from litemkd.tracking.journal import promise
from litemkd.tracking.known import Known
from litemkd.tracking.outbox import Outbox, outbox

METRICS_AT_ONCE = 1000  # in one request
AT_ONCE = 100  # parameters or tags in one request, the store's limit
REMEMBERED = 1000  # points of a metric
LONGEST_PARAM = 6000  # characters, the store's limits
LONGEST_TAG = 8000
LONGEST_DIGEST = 36


def run_tags(tags: Mapping[str, Any]) -> dict[str, str]:
    """Tags as stored: a plain key `head` becomes `litemkd.head`, True becomes `true`, None is left out."""
    return {
        key if "." in key else f"litemkd.{key}": hide(_words(value))[:LONGEST_TAG]
        for key, value in tags.items()
        if value is not None
    }


def _words(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _chunks(items: Mapping[str, Any], size: int = AT_ONCE) -> Iterator[dict[str, Any]]:
    left = iter(items.items())
    while part := dict(islice(left, size)):
        yield part


class Run:
    """One open run. Its `log_metrics` is what the training loop calls.

    Everything is written to disk at once and sent in the background, in order, see `outbox`: nothing waits for
    the store and nothing raises because it is away. Only `log_model` does, since it has a result.

    Attributes:
        run_id: MLflow's id; for a run that was opened while the store was away, a word that stands for it.
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
        self._id = run_id
        self.experiment_id = experiment_id
        self.name = name
        self.dataset = dataset
        self._params: dict[str, str] = {}
        self._tables: list[dict[str, str]] = []
        # Value, step and time of each metric's latest points.
        self._points: dict[str, deque[tuple[float, int, int]]] = defaultdict(lambda: deque(maxlen=REMEMBERED))
        self._outbox: Outbox = outbox()

    @property
    def run_id(self) -> str:
        """MLflow's id."""
        return self._outbox.known(self._id)

    @property
    def where(self) -> str:
        """Where to look at the run: an address, or the command that shows it."""
        shown = store.ui_command()
        if shown.startswith("http"):
            return f"{shown.rstrip('/')}/#/experiments/{self.experiment_id}/runs/{self.run_id}"
        experiment = store.experiment_name(self.dataset)
        return f"run {self.name} ({self.run_id}) in experiment {experiment}; see it with: {shown}"

    def keep_alive(self, *, shared: bool = False) -> None:
        """Let the store know now and then that the run is worked on, until it is closed."""
        self._outbox.enter(self._id, shared=shared)

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Record metrics at a step (for training: episodes seen); on disk when it returns.

        NaN and infinity are kept.
        """
        now, step = int(time.time() * 1000), int(step)
        values = {store.allowed_name(key): float(value) for key, value in metrics.items()}
        if self.known is not None:
            values = self.known.without(values, step)
        for key, value in values.items():
            self._points[key].append((value, step, now))
        for part in _chunks(values, METRICS_AT_ONCE):
            self._outbox.put("metrics", run=self._id, at=now, step=step, values=part)

    def flush(self) -> None:
        """Send what waits."""
        self._outbox.flush()

    def log_params(self, params: Mapping[str, Any], *, existing: Mapping[str, str] | None = None) -> None:
        """Record parameters; those the run has already (`existing`) keep their value, whatever it is."""
        known = {**(existing or {}), **self._params}
        new = {store.allowed_name(key): stored_value(value) for key, value in params.items()}
        new = {key: value for key, value in new.items() if key not in known}
        for part in _chunks(new):
            self._outbox.put("params", run=self._id, params=part)
        self._params.update(new)

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Set tags, see `run_tags` for the keys."""
        for part in _chunks(run_tags(tags)):
            self._outbox.put("tags", run=self._id, tags=part)

    def describe(self, words: str) -> None:
        """Add to what stands at the top of the run's page, a result for instance (Markdown).

        It goes on in the same paragraph, as the page shows five lines before it folds the rest away.
        """
        self.description = f"{self.description} {words}".strip()
        self.set_tags({store.NOTE: self.description})

    def log_text(self, text: str, file: str) -> None:
        """Write a text as the artifact `file` (a path with slashes, such as `report/summary.md`)."""
        self._write(file, lambda path: path.write_text(hide(text), encoding="utf-8"))

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
        self._outbox.put("artifact", run=self._id, file=self._outbox.keep(path), to=artifact_dir)

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
        entry = {
            "name": name,
            "digest": digest[:LONGEST_DIGEST],
            "source_type": "local",
            "source": json.dumps({"uri": source}),
            "profile": json.dumps({**(profile or {}), "digest": digest}, default=str),
        }
        self._outbox.put("inputs", run=self._id, dataset=entry, context=context)

    def use_model(self, registered_name: str, version: int | str) -> None:
        """Link a registered version that the run reads: a student's teacher, or the model that is evaluated."""
        self._outbox.put("uses", run=self._id, name=registered_name, version=str(version))

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

        Returns:
            The model's id, `models:/<id>` is its address.

        Raises:
            TrackingError: the folder is missing, or the store refused.
        """
        if not self._outbox.flush():
            raise TrackingError(f"the model {name} cannot be logged now: the tracking store is away")
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
            times=self._times(metrics, step),
            again=self.known is not None,
            loader_module=loader_module,
        )

    def register(
        self,
        directory: Path,
        registered_name: str,
        *,
        name: str,
        step: int,
        metrics: Mapping[str, float],
        tags: Mapping[str, Any],
        description: str,
    ) -> int | str:
        """Log a checkpoint and register it, see `register_model`, which is for all processes of a group."""
        if not directory.is_dir():
            raise TrackingError(models.NO_FOLDER.format(directory))
        promised = promise()
        self._outbox.put(
            "model",
            run=self._id,
            result=promised,
            file=self._outbox.keep(directory, link=True),
            experiment=self.dataset,
            registered=registered_name,
            name=name,
            step=step,
            metrics=dict(metrics),
            times=self._times(metrics, step),
            params=self._params,
            tags=run_tags(tags),
            description=description,
            again=self.known is not None,
        )
        if not self._outbox.flush():
            return promised
        number = self._outbox.known(promised)
        if number == promised:
            raise TrackingError(f"the model in {directory} could not be registered as {registered_name}")
        return int(number)

    def _times(self, metrics: Mapping[str, float], step: int) -> dict[str, int]:
        """When the run itself logged these values at this step (ms), where it did."""
        found = {}
        for key, value in metrics.items():
            same = (time for was, at, time in reversed(self._points[key]) if (was, at) == (value, step))
            known = next(same, None)
            if known is None and self.known is not None:
                known = self.known.time(key, value, step)
            if known is not None:
                found[key] = known
        return found

    def close(self, status: str | None) -> None:
        """Send what waits and set the final status, None for none. Called by `stage_run`."""
        if status is not None:
            self._outbox.put("status", run=self._id, status=status, at=int(time.time() * 1000))
        self._outbox.leave(self._id)

    def _write(self, file: str, write: Callable[[Path], object]) -> None:
        target = PurePosixPath(file)
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / target.name
            write(path)
            folder = "" if str(target.parent) == "." else str(target.parent)
            self._outbox.put("artifact", run=self._id, file=self._outbox.keep(path, link=True), to=folder)


def stored_value(value: Any) -> str:
    """A parameter's value as it is stored."""
    words = hide(_words(value))
    return words if len(words) <= LONGEST_PARAM else words[: LONGEST_PARAM - 1] + "…"


def _cell(value: Any) -> Any:
    """A value JSON knows: NaN and infinity, which it does not, become null."""
    if isinstance(value, float) or hasattr(value, "dtype"):
        number = float(value)
        return number if number - number == 0 else None
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)
