"""From an archive to the store in use, which may hold some of it already.

Each run, model and version carries the name it had where it was made, so what is there is found again and not
made twice. All are marked as unfinished until they have been read back and found equal; an import that was
interrupted goes on with the marked ones.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml
from mlflow import MlflowClient
from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    LoggedModelInput,
    LoggedModelOutput,
    Metric,
    Param,
    RunTag,
)
from mlflow.exceptions import MlflowException

from litemkd.errors import LitemkdError, TrackingError
from litemkd.runtime.progress import Bar
from litemkd.tracking import store
from litemkd.tracking.moving import entities
from litemkd.tracking.moving.archive import MODELS, RUNS, Archive, open_archive
from litemkd.tracking.moving.entities import IMPORTING, MOVED, ORIGIN_MODEL, ORIGIN_RUN, ORIGIN_VERSION, Files
from litemkd.tracking.moving.names import Names
from litemkd.tracking.tags import STOPPED

T = TypeVar("T")
OPEN = {"RUNNING", "SCHEDULED"}
_MLMODEL = "MLmodel"


@dataclass
class Imported:
    """What an import did.

    Attributes:
        runs, models, versions, files: made now; `runs_there`, `versions_there`: found.
        points: of metrics that were read back and found equal.
        digest: of the histories of runs made now, as read back.
        messages: what the user should know, a line each.
    """

    runs: int = 0
    runs_there: int = 0
    models: int = 0
    versions: int = 0
    versions_there: int = 0
    points: int = 0
    files: int = 0
    digest: str = ""
    messages: list[str] = field(default_factory=list)


def import_runs(source: Path) -> Imported:
    """Bring what `export_runs` wrote into the store in use; a second time adds nothing.

    Runs and models get new ids, versions the next numbers; whatever names them (parents, tags, descriptions,
    `models:/name/3`) is changed accordingly. The old id of a run stays in its tag `litemkd.origin_run`. A run
    that was still running ends KILLED. An alias that is at another version already is left alone, and told.

    Raises:
        TrackingError: no export, or a damaged one; the store refused; or what was read back differs.
    """
    client = store.connect()
    with open_archive(source) as archive:
        try:
            return _Import(client, archive).work()
        except LitemkdError:
            raise
        except Exception as error:
            where = store.without_password(store.store_uri())
            raise TrackingError(
                f"the import into {where} stopped: {error}. The same command goes on with it"
            ) from error


class _Import:
    def __init__(self, client: MlflowClient, archive: Archive) -> None:
        self.client, self.archive = client, archive
        self.index = archive.index()
        self.names = Names()
        self.done = Imported()
        self.experiments: dict[str, str] = {}
        self.histories: dict[str, Any] = {}

    def work(self) -> Imported:
        runs = sorted(self.archive.read_all(RUNS), key=lambda values: values["start_time"])
        models = self.archive.read_all(MODELS)
        for one in self.index["experiments"]:
            self.experiments[one["name"]] = self._experiment(one)
        fresh = self._make_runs(runs)
        new_models = self._make_models(models)
        with Bar(fresh, desc="importing", unit="run") as bar:
            for values in bar:
                self._fill_run(values)
        for one in new_models:
            self._fill_model(one)
        for one in self.index["registered_models"]:
            self._register(one)
        with Bar(fresh, desc="reading back", unit="run") as bar:
            for values in bar:
                self._finish_run(values)
        for one in new_models:
            self._finish_model(one)
        self.done.digest = entities.digest(self.histories)
        return self.done

    def _ask(self, call: Callable[..., T], *words: Any, **named: Any) -> T:
        return store.retry(functools.partial(call, *words, **named))

    def _experiment(self, wanted: Mapping[str, Any]) -> str:
        name = wanted["name"]
        found = self._ask(self.client.get_experiment_by_name, name)
        if found is None:
            return self._ask(self.client.create_experiment, name, tags=wanted["tags"])
        store.refuse_deleted(found)
        for key, value in wanted["tags"].items():
            if key not in found.tags:
                self._ask(self.client.set_experiment_tag, found.experiment_id, key, value)
        return found.experiment_id

    def _make_runs(self, runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Make the runs that are missing, empty; those that are to be filled."""
        there: dict[str, tuple[str, bool]] = {}
        for number in self.experiments.values():
            for run in store.pages(self.client.search_runs, experiment_ids=[number]):
                tags = run.data.tags
                place = (run.info.run_id, IMPORTING in tags)
                there[run.info.run_id] = place
                there[tags.get(ORIGIN_RUN, run.info.run_id)] = place
        fresh = []
        for values in runs:
            origin = values["tags"].get(ORIGIN_RUN, values["run_id"])
            run_id, unfinished = there.get(origin, (None, True))
            if run_id is None:
                made = self._ask(
                    self.client.create_run,
                    self.experiments[values["experiment"]],
                    start_time=values["start_time"],
                    tags={ORIGIN_RUN: origin, IMPORTING: "true"},
                    run_name=values["name"],
                )
                run_id = made.info.run_id
            self.names.runs[values["run_id"]] = run_id
            if unfinished:
                fresh.append(values)
        self.done.runs, self.done.runs_there = len(fresh), len(runs) - len(fresh)
        return fresh

    def _make_models(self, models: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Make the logged models that are missing, without files; those that are to be filled."""
        there: dict[str, tuple[str, bool]] = {}
        for number in self.experiments.values():
            for model in store.pages(self.client.search_logged_models, experiment_ids=[number]):
                place = (model.model_id, IMPORTING in model.tags)
                there[model.model_id] = place
                there[model.tags.get(ORIGIN_MODEL, model.model_id)] = place
        fresh = []
        for values in models:
            origin = values["tags"].get(ORIGIN_MODEL, values["model_id"])
            model_id, unfinished = there.get(origin, (None, True))
            if model_id is None:
                made = self._ask(
                    self.client.create_logged_model,
                    self.experiments[values["experiment"]],
                    name=values["name"],
                    source_run_id=self.names.runs.get(values["run_id"]),
                    tags={ORIGIN_MODEL: origin, IMPORTING: "true"},
                    params=values["params"],
                    model_type=values["type"],
                )
                model_id = made.model_id
            self.names.models[values["model_id"]] = model_id
            if unfinished:
                fresh.append(values)
        self.done.models = len(fresh)
        return fresh

    def _fill_run(self, values: Mapping[str, Any]) -> None:
        run_id = self.names.runs[values["run_id"]]
        params = [Param(key, value) for key, value in values["params"].items()]
        self._ask(self.client.log_batch, run_id, params=params)
        datasets = [_dataset(one) for one in values["datasets"]]
        used = [LoggedModelInput(self.names.models.get(one, one)) for one in values["models_used"]]
        if datasets or used:
            self._ask(self.client.log_inputs, run_id, datasets or None, used or None)
        points = [
            Metric(key, float(value), timestamp, step)
            for key, history in values["metrics"].items()
            for step, timestamp, value in history
        ]
        self._ask(self.client.log_batch, run_id, metrics=points)
        outputs = self._ask(self.client.get_run, run_id).outputs
        made = {one.model_id for one in (outputs.model_outputs if outputs else [])}
        missing = [
            LoggedModelOutput(self.names.models[one], step)
            for one, step in values["models_made"]
            if one in self.names.models and self.names.models[one] not in made
        ]
        if missing:
            self._ask(self.client.log_outputs, run_id, missing)
        folder = self.archive.artifacts(values["run_id"])
        if folder.is_dir():
            Files(self._ask(self.client.get_run, run_id).info.artifact_uri).put(folder)

    def _fill_model(self, values: Mapping[str, Any]) -> None:
        model_id = self.names.models[values["model_id"]]
        by_run: dict[str, list[Metric]] = {}
        for one in values["metrics"]:
            by_run.setdefault(self.names.runs[one["run_id"]], []).append(
                Metric(
                    one["key"],
                    float(one["value"]),
                    one["timestamp"],
                    one["step"],
                    model_id=model_id,
                    dataset_name=one["dataset_name"],
                    dataset_digest=one["dataset_digest"],
                )
            )
        for run_id, points in by_run.items():
            self._ask(self.client.log_batch, run_id, metrics=points)
        model = self._ask(self.client.get_logged_model, model_id)
        folder = self.archive.artifacts(values["model_id"])
        if folder.is_dir():
            files = Files(model.artifact_location)
            files.put(folder)
            with tempfile.TemporaryDirectory() as scratch:
                if (described := self._described(folder, model.artifact_location, Path(scratch))) is not None:
                    files.put_file(described)
        if values["status"] in ("READY", "FAILED"):
            self._ask(self.client.finalize_logged_model, model_id, values["status"])

    def _described(self, folder: Path, location: str, scratch: Path) -> Path | None:
        """The file MLmodel with the ids and the place of the new model, None where there is none."""
        if not (folder / _MLMODEL).is_file():
            return None
        described = yaml.safe_load(self.names.translate((folder / _MLMODEL).read_text(encoding="utf-8")))
        if "artifact_path" in described:
            described["artifact_path"] = location
        path = scratch / _MLMODEL
        path.write_text(yaml.safe_dump(described, sort_keys=False), encoding="utf-8")
        return path

    def _register(self, wanted: Mapping[str, Any]) -> None:
        name = wanted["name"]
        try:
            self._ask(self.client.create_registered_model, name, wanted["tags"], wanted["description"])
        except MlflowException as error:
            if not store.already_exists(error):
                raise
        there: dict[str, tuple[int, bool]] = {}
        for one in store.pages(self.client.search_model_versions, filter_string=f"name = '{name}'"):
            known = entities.version_values(one)
            origin = known["tags"].get(ORIGIN_VERSION, _origin(known))
            there[origin] = (known["version"], IMPORTING in known["tags"])
        fresh = []
        for values in wanted["versions"]:
            origin = values["tags"].get(ORIGIN_VERSION, _origin(values))
            number, unfinished = there.get(origin, (None, True))
            if number is None:
                new = self.names.version(name, values)
                made = self._ask(
                    self.client.create_model_version,
                    name,
                    new["source"],
                    run_id=new["run_id"],
                    tags={ORIGIN_VERSION: origin, IMPORTING: "true"},
                    model_id=new["model_id"],
                )
                number = int(made.version)
            self.names.versions[name, values["version"]] = number
            if unfinished:
                fresh.append(values)
        self.done.versions += len(fresh)
        self.done.versions_there += len(wanted["versions"]) - len(fresh)
        for values in fresh:
            self._finish_version(name, values)
        aliases = self._ask(self.client.get_registered_model, name).aliases
        for alias, number in wanted["aliases"].items():
            mine, now = self.names.versions[name, number], aliases.get(alias)
            if now is None:
                self._ask(self.client.set_registered_model_alias, name, alias, str(mine))
            elif int(now) != mine:
                self.done.messages.append(
                    f"{name}: alias {alias} stays at version {now}; the export has it at {mine}"
                )

    def _finish_version(self, name: str, values: Mapping[str, Any]) -> None:
        """Description and tags, which may name versions, itself among them; then read it back."""
        wanted = self.names.version(name, values)
        number = str(wanted["version"])
        self._ask(self.client.update_model_version, name, number, wanted["description"])
        for key, value in wanted["tags"].items():
            self._ask(self.client.set_model_version_tag, name, number, key, value)
        read = entities.version_values(self._ask(self.client.get_model_version, name, number))
        _same(f"{name} version {number}", wanted, read)
        self._ask(self.client.delete_model_version_tag, name, number, IMPORTING)

    def _finish_run(self, values: Mapping[str, Any]) -> None:
        """Tags and status, which complete a run; then read it back."""
        wanted = self.names.run(values)
        run_id = wanted["run_id"]
        if values["status"] in OPEN:
            wanted["status"] = "KILLED"
            wanted["tags"][STOPPED] = "was still running when it was exported"
            self.done.messages.append(f"was still running when it was exported, now KILLED: {wanted['name']}")
        tags = [RunTag(key, value) for key, value in wanted["tags"].items()]
        self._ask(self.client.log_batch, run_id, tags=tags)
        self._ask(self.client.update_run, run_id, name=wanted["name"])
        wanted["end_time"] = values["end_time"] or values["start_time"]
        self._ask(self.client.set_terminated, run_id, wanted["status"], wanted["end_time"])
        read = entities.run_values(self.client, run_id, values["experiment"])
        _same(f"run {wanted['name']} ({run_id})", wanted, read)
        files = _local_sizes(self.archive.artifacts(values["run_id"]))
        there = Files(self._ask(self.client.get_run, run_id).info.artifact_uri).sizes()
        _same(f"artifacts of run {wanted['name']} ({run_id})", files, there)
        self.done.files += len(files)
        self.done.points += sum(map(len, read["metrics"].values()))
        self.histories[read["tags"][ORIGIN_RUN]] = read["metrics"]
        self._ask(self.client.delete_tag, run_id, IMPORTING)

    def _finish_model(self, values: Mapping[str, Any]) -> None:
        wanted = self.names.model(values)
        model_id = wanted["model_id"]
        self._ask(self.client.set_logged_model_tags, model_id, wanted["tags"])
        model = self._ask(self.client.get_logged_model, model_id)
        _same(f"model {model_id}", wanted, entities.model_values(model, values["experiment"]))
        files = _local_sizes(self.archive.artifacts(values["model_id"]))
        sizes = Files(model.artifact_location).sizes()
        self.done.files += len(files)
        for found in (sizes, files):
            found.pop(_MLMODEL, None)  # names the model, and is new
        _same(f"files of model {model_id}", files, sizes)
        self._ask(self.client.delete_logged_model_tag, model_id, IMPORTING)


def _origin(values: Mapping[str, Any]) -> str:
    return f"{values['model_id'] or values['run_id'] or values['source']} {values['version']}"


def _dataset(values: Mapping[str, Any]) -> DatasetInput:
    about = {key: values[key] for key in ("name", "digest", "source_type", "source", "schema", "profile")}
    return DatasetInput(Dataset(**about), [InputTag(key, value) for key, value in values["tags"].items()])


def _local_sizes(folder: Path) -> dict[str, int]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}


def _same(what: str, wanted: Mapping[str, Any], read: Mapping[str, Any]) -> None:
    """Compare what was written with what the store gives back, tags about moving left aside."""
    sides = [
        {**side, "tags": {key: value for key, value in side["tags"].items() if key not in MOVED}}
        if isinstance(side.get("tags"), Mapping)
        else dict(side)
        for side in (wanted, read)
    ]
    for key in sorted({*sides[0], *sides[1]}):
        mine, theirs = sides[0].get(key), sides[1].get(key)
        if mine == theirs:
            continue
        if isinstance(mine, Mapping) and isinstance(theirs, Mapping):
            first = min(one for one in {*mine, *theirs} if mine.get(one) != theirs.get(one))
            key, mine, theirs = f"{key}, {first}", mine.get(first), theirs.get(first)
        raise TrackingError(
            f"{what} was imported and read back, and differs in {key}: {str(mine)[:200]} was written, "
            f"{str(theirs)[:200]} read"
        )
