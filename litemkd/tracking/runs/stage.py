"""`stage_run`: a run for the time of a `with` block, and its end in each of the ways a block can end."""

from __future__ import annotations

import contextlib
import functools
import json
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from mlflow.entities import Run as StoredRun

from litemkd.errors import LitemkdError, Terminated, TrackingError
from litemkd.runtime.distributed import broadcast, from_main, group
from litemkd.runtime.stopping import signals_end_the_block
from litemkd.secrets import hide
from litemkd.tracking import store
from litemkd.tracking.delivery import heartbeat
from litemkd.tracking.delivery.journal import PROMISE, promise
from litemkd.tracking.delivery.outbox import StoreAwayError, outbox
from litemkd.tracking.delivery.sending import make_run
from litemkd.tracking.mlflow_private import resolve_tags
from litemkd.tracking.runs import launcher, resuming
from litemkd.tracking.runs.monitor import start_monitor
from litemkd.tracking.runs.resuming import Resume
from litemkd.tracking.runs.run import Run, SilentRun
from litemkd.tracking.store import artifact_roots
from litemkd.tracking.store.failures import one_line
from litemkd.tracking.tags import ERROR, NOTE, PARENT, STOPPED, run_tags

_current: ContextVar[Run | None] = ContextVar("litemkd_run", default=None)
_NOTHING: Mapping[str, Any] = MappingProxyType({})


def _never() -> bool:
    return False


@dataclass(frozen=True)
class RunOptions:
    """How a run is opened and closed, where that is not as usual.

    Attributes:
        parent_run_id: make it a child of this run, which another process opened.
        run_id: go on with this run, whatever its status, in place of a new one.
        resume: go on with the run of these settings that was interrupted, if there is one.
        leave_open: asked at the end: whether the run stays RUNNING, because other processes write on it.
        system_metrics: whether to watch the machine; by default for the outermost run of the process.
        stopped_by: exceptions that are no failure (a pruned trial): the run ends KILLED, with the tag
            `litemkd.stopped`.
    """

    parent_run_id: str | None = None
    run_id: str | None = None
    resume: Resume | None = None
    leave_open: Callable[[], bool] = _never
    system_metrics: bool | None = None
    stopped_by: tuple[type[BaseException], ...] = ()


_USUAL = RunOptions()


@contextlib.contextmanager
def stage_run(
    stage: str,
    *,
    dataset: str,
    name: str,
    description: str = "",
    tags: Mapping[str, Any] = _NOTHING,
    params: Mapping[str, Any] = _NOTHING,
    options: RunOptions = _USUAL,
) -> Iterator[Run]:
    """A run in the experiment `litemkd/<dataset>` for the time of the block.

    Inside another `stage_run` it is a child of that run. Under `mlflow run` the first one is the run that
    `mlflow run` made, where that is in this experiment, and else a run of its own that the other one points to.

    Of several processes the first one has the run; the others get one that writes nothing.

    Where the outer run is one that is gone on with, so is the newest run of the same stage and name inside it.

    The run ends FINISHED; FAILED after an exception, with the reason in the tag `litemkd.error` and the
    traceback as the artifact `traceback.txt`; KILLED after Ctrl-C, SIGTERM or SIGHUP. The exception goes on.

    Args:
        stage: the tag `litemkd.stage`.
        dataset: the tag `litemkd.dataset`, and the experiment.
        name: of the run; one the user gave to `mlflow run --run-name` stays.
        description: shown at the top of the run's page, Markdown.
        tags: further tags; a plain key `head` becomes `litemkd.head`, True becomes `true`, None is left out.
        params: the flattened configuration. A parameter `mlflow run` recorded under the same name keeps its
            value.
        options: see `RunOptions`.

    Raises:
        ResumeError: the interrupted run has other settings, or goes on.
        TrackingError: the store cannot be opened.
    """
    if not group().main:
        with _named_run(dataset) as named_run:
            yield named_run
        return
    parent, watch = _current.get(), None
    with signals_end_the_block() if parent is None else contextlib.nullcontext():
        opening = _Opening(stage, dataset, name, params, options)
        try:
            run = opening.open(tags, description)
        except BaseException as error:
            if opening.run is not None:
                _end(opening.run, error, (), False)
            if isinstance(error, (LitemkdError, KeyboardInterrupt, SystemExit)):
                raise
            raise TrackingError(
                f"the run {name} cannot be opened in the tracking store: {one_line(error)}"
            ) from error
        token = _current.set(run)
        try:
            broadcast((run.run_id, run.experiment_id, run.name, run.former))
            if options.system_metrics if options.system_metrics is not None else parent is None:
                began = time.time() if opening.joined is None else opening.joined.info.start_time / 1000
                watch = start_monitor(run, began)
            try:
                yield run
            finally:
                if watch is not None:
                    watch.finish()
        except BaseException as error:
            _end(run, error, options.stopped_by, options.leave_open())
            raise
        else:
            run.close(None if options.leave_open() else "FINISHED")
        finally:
            _current.reset(token)


@contextlib.contextmanager
def _named_run(dataset: str) -> Iterator[Run]:
    """The run that the first process opens, as the others have it."""
    run_id, experiment_id, name, former_tags = broadcast(("", "", "", None))
    run = SilentRun(run_id, experiment_id, name, dataset)
    run.former = former_tags
    token = _current.set(run)
    try:
        yield run
    finally:
        _current.reset(token)


class _Opening:
    """The opening of a run: a new one, or one that is there and is gone on with.

    Attributes:
        run: None as long as there is none.
        joined: the run as it was in the store, None for a new one.
    """

    run: Run | None = None
    joined: StoredRun | None = None

    def __init__(
        self, stage: str, dataset: str, name: str, params: Mapping[str, Any], options: RunOptions
    ) -> None:
        self.stage, self.dataset, self.name, self.params = stage, dataset, name, params
        self.options, self.parent = options, _current.get()
        self.client, self._box = store.connect(), outbox()
        above = options.parent_run_id if self.parent is None else self.parent.run_id
        self._above = {PARENT: above} if above else {}

    def open(self, tags: Mapping[str, Any], description: str) -> Run:
        """The run, open, with its tags and parameters."""
        options, resume = self.options, self.options.resume
        shared = options.leave_open is not _never
        named = run_tags({"stage": self.stage, "dataset": self.dataset, **tags}) | self._above
        named |= {NOTE: description} if description else {}
        named |= run_tags({"processes": group().size}) if group().size > 1 else {}
        named |= heartbeat.signs_of_life(shared)
        launched = launcher.launching_run(self.client) if self.parent is None else None
        experiment = self._experiment()
        if self.parent is None and experiment:
            with contextlib.suppress(StoreAwayError):
                self._box.ask(lambda: artifact_roots.warn(self.client, self.dataset))
        former, changes = self.former(experiment)
        if options.run_id is not None:
            self.joined = store.wait_for(functools.partial(self.client.get_run, options.run_id))
        elif former is not None:
            self.joined = former
        elif launched is not None and launched.info.experiment_id == experiment:
            self.joined = launched
        if resume is not None:
            command = resuming.settled(former, self.params, resume)
            named |= {resuming.IDENTITY: resume.identity, resuming.COMMAND: json.dumps(command)}
        if self.joined is None:
            made = self._create(experiment, named)
            run = self.run = Run(self.client, made, experiment, self.name, self.dataset)
        else:
            run = self.run = self._join(self.joined, named)
            run.former = None if options.run_id is None else dict(self.joined.data.tags)
            if former is not None:
                resuming.reopen(self.client, run, former, changes)
        run.keep_alive(shared=shared)
        if launched is not None and launched.info.run_id != run.run_id:
            note = launcher.pointer_tags(run.run_id, store.experiment_name(self.dataset))
            self._box.put("tags", run=launched.info.run_id, tags=note)
        run.description = description
        run.log_params(self.params, existing=None if self.joined is None else self.joined.data.params)
        return run

    def _experiment(self) -> str:
        """The id of the experiment, empty while the store is away.

        Where a run is to be gone on with, it is waited for: which one is known there alone.
        """
        resume = self.options.resume
        going_on = (
            resume is not None and resume.wanted if self.parent is None else self.parent.former is not None
        )
        if going_on:
            return store.wait_for(lambda: store.experiment_id(self.client, self.dataset))
        try:
            return self._box.ask(lambda: store.experiment_id(self.client, self.dataset))
        except StoreAwayError:
            return ""

    def former(self, experiment: str) -> tuple[StoredRun | None, Mapping[str, str]]:
        """The run to go on with, and what has changed since; no run while the store is away."""
        resume, parent = self.options.resume, self.parent
        if not experiment:
            return None, {}
        if parent is not None:
            if parent.former is None:
                return None, {}
            identity = None if resume is None or resume.allow_changes else resume.identity
            wanted = (self.client, experiment, parent.run_id, self.stage, self.name, identity)
            return store.wait_for(lambda: resuming.find_child(*wanted)), {}
        if resume is None or not resume.wanted:
            return None, {}
        return resuming.choose_former(self.client, experiment, self.stage, self.params, resume)

    def _create(self, experiment: str, tags: dict[str, str]) -> str:
        """The id of a new run, or the promise of it while the store is away."""
        # User, source and commit are added.
        tags = {key: self._box.resolved(hide(value)) for key, value in resolve_tags(tags).items()}
        promised, at = promise(), int(time.time() * 1000)
        client, name = self.client, self.name
        if experiment and not any(PROMISE.search(value) for value in tags.values()):
            with contextlib.suppress(StoreAwayError):
                if store.is_server():
                    return self._box.ask(lambda: make_run(client, experiment, name, tags, promised, at))
                made = self._box.ask(lambda: client.create_run(experiment, tags=tags, run_name=name))
                return made.info.run_id
        self._box.put("create", result=promised, dataset=self.dataset, name=name, tags=tags, at=at)
        return promised

    def _join(self, found: StoredRun, tags: dict[str, str]) -> Run:
        run_id, name = found.info.run_id, found.info.run_name
        kept = self.name if launcher.is_generated_name(name) else name
        run = Run(self.client, run_id, found.info.experiment_id, kept, self.dataset)
        store.wait_for(lambda: self.client.update_run(run_id, status="RUNNING", name=kept))
        run.set_tags(tags)
        return run


@from_main
def former_run(dataset: str, stage: str, name: str, resume: Resume) -> tuple[str, str] | None:
    """Id and status of the run that `stage_run` would go on with; None where it would begin a new one.

    A run of other settings does not count, changes allowed or not.
    """
    opening = _Opening(stage, dataset, name, {}, RunOptions(resume=resume))
    client = opening.client
    experiment = store.wait_for(lambda: store.experiment_id(client, dataset))
    if opening.parent is not None:
        found, _ = opening.former(experiment)
    else:
        same = functools.partial(resuming.find_same, client, experiment, resume.identity)
        found = store.wait_for(same) if resume.wanted else None
    return None if found is None else (found.info.run_id, found.info.status)


def _end(run: Run, error: BaseException, stopped_by: tuple[type[BaseException], ...], stays: bool) -> None:
    """Record how the block ended, then close the run, whatever happens on the way; unless it `stays` open."""
    status = "FAILED"
    if stays:
        run.close(None)
        return
    try:
        if isinstance(error, (KeyboardInterrupt, Terminated)):
            status = "KILLED"
            word = signal.Signals(error.signum).name if isinstance(error, Terminated) else "Ctrl-C"
            run.set_tags({STOPPED: word})
        elif isinstance(error, stopped_by):
            status = "KILLED"
            run.set_tags({STOPPED: str(error) or type(error).__name__})
        elif isinstance(error, SystemExit) and not error.code:
            status = "FINISHED"
        else:
            words = str(error) if isinstance(error, LitemkdError) else f"{type(error).__name__}: {error}"
            run.set_tags({ERROR: words})
            run.log_text("".join(traceback.format_exception(error)), "traceback.txt")
    finally:
        run.close(status)
