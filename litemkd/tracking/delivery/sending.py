"""The items of a journal, done in the store one after the other. Doing one twice is as doing it once."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, LoggedModelInput, Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from litemkd.errors import TrackingError
from litemkd.tracking import store
from litemkd.tracking.delivery import heartbeat
from litemkd.tracking.delivery.journal import PROMISE, Entry, Journal
from litemkd.tracking.registry import aliases, models, versions
from litemkd.tracking.store.failures import one_line
from litemkd.tracking.tags import ORIGIN

AT_ONCE = 1000  # metrics in one request, the store's limit
NUMBER = "{version}"  # in a description: the number that the version will have
ATTEMPTS = 4  # of an item that fails while the store answers


class Sender:
    """Does what a journal holds.

    Attributes:
        sent: (run, "metrics" | "artifacts" | …) to how many were sent.
        refusals: what the store will not have: run to the reason.
    """

    def __init__(self, client: MlflowClient, journal: Journal) -> None:
        self.client, self.journal = client, journal
        self.sent: Counter[tuple[str, str]] = Counter()
        self.refusals: dict[str, str] = {}
        self._sent_files: list[str] = []  # of items that were sent, until they are marked
        self._gone: set[str] = set()  # runs that the store does not have
        self._failed: tuple[bytes, int] = (b"", 0)  # the item that failed last, and how often

    def send(self) -> None:
        """Do everything that is there. What comes meanwhile is left to the next call, with more of its kind.

        Raises:
            Exception: what the store raised when it was away; nothing is lost, a later call goes on.
        """
        there = self.journal.size
        while entries := self.journal.read():
            for group in _groups(entries):
                self._send_group(group)
                for entry in group if group[-1].end is None else group[-1:]:
                    self.journal.mark(entry)
                while self._sent_files:  # only now: an item without a mark is sent again, and needs them
                    self.journal.drop_file(self._sent_files.pop())
            if self.journal.done >= there:
                break

    def _send_group(self, group: Sequence[Entry]) -> None:
        item = group[0].item
        done = _DO.get(item["do"]) if item is not None else None
        if item is None or done is None:
            self._refuse(group, "", "this line of the journal is damaged")
            return
        run = str(item.get("run") or "")
        if run in self._gone:
            self._refuse(group, run, self.refusals[run])
            return
        try:
            if len(group) > 1:
                values = [entry.item for entry in group if entry.item is not None]
                item = {"do": "metrics", "run": run, "items": values}
            done(self, item)
        except Exception as error:
            if not store.is_refusal(error) and not self._hopeless(group[0].line):
                raise
            if isinstance(error, MlflowException) and self._is_gone(run):
                self._gone.add(run)
            self._refuse(group, run, one_line(error))
        else:
            self._failed = (b"", 0)

    def _hopeless(self, line: bytes) -> bool:
        """Whether an item failed again and again although the store answers."""
        before = self._failed[1] if self._failed[0] == line else 0
        self._failed = (line, before + 1)
        if before + 1 < ATTEMPTS:
            return False
        with contextlib.suppress(Exception):
            self.client.search_experiments(max_results=1)
            return True
        return False

    def _is_gone(self, run: str) -> bool:
        try:
            return self.client.get_run(self._known(run)).info.lifecycle_stage != "active"
        except Exception as error:
            return store.is_refusal(error)

    def _refuse(self, group: Sequence[Entry], run: str, reason: str) -> None:
        self.journal.refuse(list(group), reason)
        self.refusals.setdefault(run, reason)

    def _known(self, words: str) -> str:
        """`words` with what promises in it became."""
        missing = [found for found in PROMISE.findall(words) if found not in self.journal.names]
        if missing:
            raise TrackingError(f"it needs {missing[0]}, which the store would not have")
        return PROMISE.sub(lambda found: self.journal.names[found[0]], words)

    def _known_tags(self, tags: Mapping[str, str]) -> dict[str, str]:
        return {key: self._known(value) for key, value in tags.items()}

    def _metrics(self, item: dict[str, Any]) -> None:
        points = [
            Metric(key, float(value), one["at"], one["step"])
            for one in item.get("items", [item])
            for key, value in one["values"].items()
        ]
        store.retry(lambda: self.client.log_batch(self._known(item["run"]), metrics=points))
        self.sent[item["run"], "metrics"] += len(points)

    def _create(self, item: dict[str, Any]) -> None:
        experiment = store.experiment_id(self.client, item["dataset"])
        tags = self._known_tags(item["tags"])
        run_id = make_run(self.client, experiment, item["name"], tags, item["result"], item["at"])
        self.journal.name(item["result"], run_id)
        self.sent[item["result"], "runs"] += 1

    def _tags(self, item: dict[str, Any]) -> None:
        tags = [RunTag(key, value) for key, value in self._known_tags(item["tags"]).items()]
        store.retry(lambda: self.client.log_batch(self._known(item["run"]), tags=tags))
        self.sent[item["run"], "tags"] += len(tags)

    def _params(self, item: dict[str, Any]) -> None:
        params = [Param(key, value) for key, value in item["params"].items()]
        store.retry(lambda: self.client.log_batch(self._known(item["run"]), params=params))

    def _inputs(self, item: dict[str, Any]) -> None:
        entry = DatasetInput(Dataset(**item["dataset"]), [InputTag("mlflow.data.context", item["context"])])
        store.retry(lambda: self.client.log_inputs(self._known(item["run"]), [entry]))

    def _artifact(self, item: dict[str, Any]) -> None:
        run, path = self._known(item["run"]), self.journal.folder / item["file"]
        if not path.exists() and self._was_sent(run, path, item["to"]):
            return
        folder = path if path.is_dir() else path.parent
        files = sorted(one for one in path.rglob("*") if one.is_file()) if path.is_dir() else [path]
        targets = {one: _below(item["to"], one.parent.relative_to(folder).as_posix()) for one in files}
        for number, one in enumerate(files[self.journal.part :], self.journal.part + 1):
            self.client.log_artifact(run, os.fspath(one), targets[one] or None)
            if len(files) > 1:
                self.journal.mark_part(number)
        for one in self._unlike(run, targets):  # once more
            self.client.log_artifact(run, os.fspath(one), targets[one] or None)
        if wrong := self._unlike(run, targets):
            raise MlflowException(f"{wrong[0].name} is in the store with another size than here")
        self._sent_files.append(item["file"])
        self.sent[item["run"], "artifacts"] += len(files)

    def _was_sent(self, run: str, path: Path, to: str) -> bool:
        """Whether what is gone from this disk is in the store: the mark that it was sent was lost."""
        there = {one.path for one in self.client.list_artifacts(run, to or None)}
        return _below(to, path.name) in there or (not path.suffix and bool(there))

    def _unlike(self, run: str, targets: Mapping[Path, str]) -> list[Path]:
        """Files that the store has not, or with another size."""
        there: dict[str, int | None] = {}
        for target in set(targets.values()):
            there |= {one.path: one.file_size for one in self.client.list_artifacts(run, target or None)}
        return [
            path
            for path, target in targets.items()
            if there.get(_below(target, path.name), -1) not in (None, path.stat().st_size)
        ]

    def _model(self, item: dict[str, Any]) -> None:
        run, folder = self._known(item["run"]), self.journal.folder / item["file"]
        tags = self._known_tags(item["tags"])
        model_id = self._logged(item["experiment"], item["result"])
        if model_id is None:
            model = models.Checkpoint(
                run_id=run,
                experiment_id=store.experiment_id(self.client, item["experiment"]),
                **{key: item[key] for key in ("name", "step", "metrics", "times", "params")},
                tags=tags | {ORIGIN: item["result"]},
                dataset=tuple(item["dataset"]) if item.get("dataset") else None,  # none in older journals
            )
            model_id = models.write_model(self.client, folder, model, again=item["again"])
        made = self._version(item, model_id, tags) if item["registered"] else model_id
        self.journal.name(item["result"], str(made))
        self._sent_files.append(item["file"])
        self.sent[item["run"], "models"] += 1

    def _version(self, item: dict[str, Any], model_id: str, tags: dict[str, str]) -> int:
        """The number of the version that a model is, or becomes now."""
        found = versions.newest_version(item["registered"], {ORIGIN: item["result"]})
        if found is None:
            made = versions.register(model_id, item["registered"], tags | {ORIGIN: item["result"]})
        else:
            made = found.version
        if item["description"]:
            words = self._known(item["description"]).replace(NUMBER, str(made))
            versions.describe_version(item["registered"], made, words)
        return made

    def _logged(self, dataset: str, origin: str) -> str | None:
        """A model that was logged before and is whole; one that is not is removed."""
        experiment = store.experiment_id(self.client, dataset)
        found = self.client.search_logged_models([experiment], f"tags.`{ORIGIN}` = '{origin}'")
        whole = [one for one in found if str(one.status) == "READY"]
        for one in found:
            if one not in whole:
                self.client.delete_logged_model(one.model_id)
        return whole[0].model_id if whole else None

    def _uses(self, item: dict[str, Any]) -> None:
        version = self.client.get_model_version(item["name"], self._known(item["version"]))
        if (model_id := models.model_of(version)) is not None:
            linked = [LoggedModelInput(model_id)]
            store.retry(lambda: self.client.log_inputs(self._known(item["run"]), models=linked))

    def _promote(self, item: dict[str, Any]) -> None:
        aliases.promote(item["name"])

    def _status(self, item: dict[str, Any]) -> None:
        run = self._known(item["run"])
        heartbeat.reopen(self.client, run)
        store.retry(lambda: self.client.set_terminated(run, item["status"], item["at"]))
        self.sent[item["run"], "status"] += 1


_ITEMS = ("create", "metrics", "tags", "params", "inputs", "artifact", "model", "uses", "promote", "status")
_DO: dict[str, Callable[[Sender, dict[str, Any]], None]] = {do: getattr(Sender, f"_{do}") for do in _ITEMS}


def make_run(
    client: MlflowClient, experiment: str, name: str, tags: Mapping[str, str], origin: str, at: int
) -> str:
    """The id of the run that a promise became: made now, or by an earlier request whose answer was lost."""
    found = client.search_runs([experiment], f"tags.`{ORIGIN}` = '{origin}'", max_results=1)
    if found:
        return found[0].info.run_id
    tags = {**tags, ORIGIN: origin}
    return store.retry(
        lambda: client.create_run(experiment, start_time=at, tags=tags, run_name=name)
    ).info.run_id


def _groups(entries: Sequence[Entry]) -> Iterator[list[Entry]]:
    """Metrics of one run that follow each other, up to a request's worth; anything else alone."""
    group: list[Entry] = []
    key, count = None, 0
    for entry in entries:
        item = entry.item
        is_metrics = item is not None and item["do"] == "metrics"
        size = len(item["values"]) if item is not None and is_metrics else 0
        this = item["run"] if item is not None and is_metrics else None
        if group and (this is None or this != key or count + size > AT_ONCE):
            yield group
            group, count = [], 0
        group.append(entry)
        key, count = this, count + size
        if this is None:
            yield group
            group = []
    if group:
        yield group


def _below(folder: str, path: str) -> str:
    return (PurePosixPath(folder) / path).as_posix().removeprefix("./") if folder or path != "." else ""
