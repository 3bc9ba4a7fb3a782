"""Runs: one for each stage, opened and closed in every way a process can end, and what is written on them."""

from __future__ import annotations

import json
import tempfile
import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
from mlflow import MlflowClient

from litemkd.errors import TrackingError
from litemkd.runtime.distributed import from_main
from litemkd.secrets import hide
from litemkd.tracking import store
from litemkd.tracking.delivery.journal import promise
from litemkd.tracking.delivery.outbox import Outbox, outbox
from litemkd.tracking.environment import describe
from litemkd.tracking.registry import models
from litemkd.tracking.runs.known_points import KnownPoints
from litemkd.tracking.tags import NOTE, allowed_name, chunks, run_tags, stored_value

if TYPE_CHECKING:
    from matplotlib.figure import Figure

METRICS_AT_ONCE = 1000  # in one request
REMEMBERED = 1000  # points of a metric
LONGEST_DIGEST = 36


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
        draws: whether it takes figures.
    """

    description = ""
    former: Mapping[str, str] | None = None
    known: KnownPoints | None = None
    draws = True
    _dataset: tuple[str, str] | None = None  # name and digest of the first one that was logged

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
        return self._outbox.id_of(self._id)

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
        self._outbox.open_run(self._id, shared=shared)

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Record metrics at a step (for training: episodes seen); on disk when it returns.

        NaN and infinity are kept.
        """
        now, step = int(time.time() * 1000), int(step)
        values = {allowed_name(key): float(value) for key, value in metrics.items()}
        if self.known is not None:
            values = self.known.without(values, step)
        for key, value in values.items():
            self._points[key].append((value, step, now))
        for part in chunks(values, METRICS_AT_ONCE):
            self._outbox.put("metrics", run=self._id, at=now, step=step, values=part)

    def flush(self) -> None:
        """Send what waits."""
        self._outbox.flush()

    def log_params(self, params: Mapping[str, Any], *, existing: Mapping[str, str] | None = None) -> None:
        """Record parameters; those the run has already (`existing`) keep their value, whatever it is."""
        known = {**(existing or {}), **self._params}
        new = {allowed_name(key): stored_value(value) for key, value in params.items()}
        new = {key: value for key, value in new.items() if key not in known}
        for part in chunks(new):
            self._outbox.put("params", run=self._id, params=part)
        self._params.update(new)

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Set tags, see `run_tags` for the keys."""
        for part in chunks(run_tags(tags)):
            self._outbox.put("tags", run=self._id, tags=part)

    def describe(self, words: str) -> None:
        """Add to what stands at the top of the run's page, a result for instance (Markdown).

        It goes on in the same paragraph, as the page shows five lines before it folds the rest away.
        """
        self.description = f"{self.description} {words}".strip()
        self.set_tags({NOTE: self.description})

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

    def log_figure(self, figure: Figure | Callable[[], Figure], file: str, also: Sequence[Run] = ()) -> None:
        """Write a matplotlib figure as the artifact `file`, also of other runs, in the format of its suffix.

        What makes the figure may be given in its place. It is not called where the run takes no figures.
        """

        def save(path: Path) -> None:
            made = figure() if callable(figure) else figure
            made.savefig(path, bbox_inches="tight")

        if self.draws:
            self._write(file, save, also)

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
        self._dataset = self._dataset or (entry["name"], entry["digest"])
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
    ) -> str:
        """Log a checkpoint as a model of this run, with the metrics it reached.

        Args:
            directory: folder of `weights.safetensors` and `model.json`, copied.
            name: of the model; checkpoints of one run share it and differ in `step`.
            step: episodes seen.
            metrics: on which checkpoints are compared, such as `val/accuracy`. Where the run logged the same
                value at the same step, it is the same point.
            tags: of the model, see `run_tags`.

        Returns:
            The model's id, `models:/<id>` is its address.

        Raises:
            TrackingError: the folder is missing, or the store refused.
        """
        if not self._outbox.flush():
            raise TrackingError(f"the model {name} cannot be logged now: the tracking store is away")
        model = models.Checkpoint(
            run_id=self.run_id,
            experiment_id=self.experiment_id,
            name=name,
            step=step,
            metrics=metrics,
            times=self._times(metrics, step),
            tags=run_tags(tags or {}),
            params=self._params,
            dataset=self._dataset,
        )
        return models.write_model(self._client, directory, model, again=self.known is not None)

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

    def keep_model(self, directory: Path, *, name: str, step: int, **item: Any) -> None:
        """Hand over a checkpoint that is to be a model of this run and no registered version."""
        self._hand_over(directory, registered="", description="", name=name, step=step, **item)

    def put_model(self, directory: Path, **item: Any) -> int | str:
        """Hand over a model that is to be registered, see `register_model`."""
        promised, box = self._hand_over(directory, **item), self._outbox
        if not box.flush():
            return promised
        number = box.id_of(promised)
        if number == promised:
            raise TrackingError(
                f"the model in {directory} could not be registered as {item['registered']}: {box.why_refused()}"
            )
        return int(number)

    def _hand_over(
        self,
        directory: Path,
        *,
        step: int,
        metrics: Mapping[str, float],
        tags: Mapping[str, Any],
        **item: Any,
    ) -> str:
        """Put a model into the journal; returns the word that stands for what becomes of it."""
        promised, box = promise(), self._outbox
        box.put(
            "model",
            run=self._id,
            result=promised,
            file=box.keep(directory, link=True),
            experiment=self.dataset,
            step=step,
            metrics=dict(metrics),
            times=self._times(metrics, step),
            tags=run_tags(tags),
            params=self._params,
            dataset=self._dataset,
            again=self.known is not None,
            **item,
        )
        return promised

    def close(self, status: str | None) -> None:
        """Send what waits and set the final status, None for none. Called by `stage_run`."""
        if status is not None:
            self._outbox.put("status", run=self._id, status=status, at=int(time.time() * 1000))
        self._outbox.close_run(self._id)

    def _write(self, file: str, write: Callable[[Path], object], also: Sequence[Run] = ()) -> None:
        target = PurePosixPath(file)
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / target.name
            write(path)
            folder = "" if str(target.parent) == "." else str(target.parent)
            for run in (self, *also):
                run._outbox.put("artifact", run=run._id, file=run._outbox.keep(path, link=True), to=folder)


class SilentRun(Run):
    """A run as processes other than the first have it: it has the run's names and writes nothing.

    Attributes:
        run_id, experiment_id, name: of the run that the first process writes.
    """

    def __init__(self, run_id: str, experiment_id: str, name: str, dataset: str) -> None:
        self._id, self.experiment_id, self.name, self.dataset = run_id, experiment_id, name, dataset
        self._tables: list[dict[str, str]] = []

    @property
    def run_id(self) -> str:
        """MLflow's id of the run that the first process writes."""
        return self._id

    def _nothing(self, *args: Any, **kwargs: Any) -> Any:
        """What each of these does."""

    keep_alive = log_metrics = flush = log_params = set_tags = log_artifact = log_dataset = _nothing
    use_model = log_environment = log_model = keep_model = put_model = close = _write = _nothing


def _cell(value: Any) -> Any:
    """A value JSON knows: NaN and infinity, which it does not, become null."""
    if isinstance(value, float) or hasattr(value, "dtype"):
        number = float(value)
        return number if number - number == 0 else None
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)


def attach(run_id: str, dataset: str) -> Run:
    """A run to write on; its status is left alone. `close(None)` sends what waits.

    Raises:
        TrackingError: the store has no such run.
    """
    client = store.connect()
    try:
        info = store.retry(lambda: client.get_run(run_id)).info
    except Exception as error:
        raise TrackingError(
            f"the tracking store does not have the run {run_id}: {store.one_line(error)}"
        ) from error
    run = Run(client, run_id, info.experiment_id, info.run_name or "", dataset)
    run.keep_alive(shared=True)
    return run


@from_main
def register_model(
    run: Run,
    directory: Path,
    registered_name: str,
    *,
    name: str,
    step: int,
    metrics: Mapping[str, float],
    tags: Mapping[str, Any],
    description: str = "",
) -> int | str:
    """Log a checkpoint as a model of a run and make it the next version of `registered_name`.

    Args:
        run: that made it.
        directory: folder of `weights.safetensors` and `model.json`; its files are replaced, never changed.
        registered_name: see `model_name`.
        name: of the model.
        step: episodes seen.
        metrics: that it reached, see `Run.log_model`.
        tags: of the model and of the version.
        description: of the version, Markdown; its number will be where `NUMBER` stands.

    Returns:
        The version's number. While the store is away a word that stands for it: it may be used in tags of
        runs, where the number will be.

    Raises:
        TrackingError: the folder is missing, or the store refused.
    """
    if not directory.is_dir():
        raise TrackingError(models.NO_FOLDER.format(directory))
    return run.put_model(
        directory,
        registered=registered_name,
        name=name,
        step=step,
        metrics=metrics,
        tags=tags,
        description=description,
    )
