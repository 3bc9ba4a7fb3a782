"""`stage_run`: a run for the time of a `with` block, and its end in each of the ways a block can end."""

from __future__ import annotations

import contextlib
import functools
import json
import signal
import time
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run as StoredRun
from mlflow.tracking.context.registry import resolve_tags

from litemkd.distributed import broadcast, from_main, group
from litemkd.errors import LitemkdError, Terminated, TrackingError
from litemkd.secrets import hide
from litemkd.stopping import signals_end_the_block
from litemkd.tracking import former, launcher, orphans, roots, store
from litemkd.tracking.journal import PROMISE, promise
from litemkd.tracking.monitor import start_monitor
from litemkd.tracking.outbox import Outbox, StoreAwayError, outbox
from litemkd.tracking.reasons import one_line
from litemkd.tracking.runs import Run, run_tags
from litemkd.tracking.sending import make_run
from litemkd.tracking.silent import SilentRun
from litemkd.tracking.tags import ERROR, PARENT, STOPPED

_current: ContextVar[Run | None] = ContextVar("litemkd_run", default=None)
_NOTHING: Mapping[str, Any] = MappingProxyType({})


def _never() -> bool:
    return False


def current_run() -> Run | None:
    """The innermost open run of this thread of work, None outside."""
    return _current.get()


@contextlib.contextmanager
def stage_run(
    stage: str,
    *,
    dataset: str,
    name: str,
    description: str = "",
    tags: Mapping[str, Any] = _NOTHING,
    params: Mapping[str, Any] = _NOTHING,
    device: str = "",
    parent_run_id: str | None = None,
    run_id: str | None = None,
    resume: Resume | None = None,
    leave_open: Callable[[], bool] = _never,
    system_metrics: bool | None = None,
    stopped_by: tuple[type[BaseException], ...] = (),
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
        device: the tag `litemkd.device`.
        parent_run_id: make it a child of this run, which another process opened.
        run_id: go on with this run, whatever its status, in place of a new one.
        resume: go on with the run of these settings that was interrupted, if there is one.
        leave_open: asked at the end: whether the run stays RUNNING, because other processes write on it.
        system_metrics: whether to watch the machine; by default for the outermost run of the process.
        stopped_by: exceptions that are no failure (a pruned trial): the run ends KILLED, with the tag
            `litemkd.stopped`.

    Raises:
        ResumeError: the interrupted run has other settings, or goes on.
        TrackingError: the store cannot be opened.
    """
    parent = _current.get()
    if not group().main:
        with _named_run(dataset) as named_run:
            yield named_run
        return
    run: Run | None = None
    watch = None
    with signals_end_the_block() if parent is None else contextlib.nullcontext():
        client = store.connect()
        try:
            box = outbox()
            all_tags = {"stage": stage, "dataset": dataset, "device": device or None, **tags}
            if group().size > 1:
                all_tags["processes"] = group().size
            named = run_tags(all_tags) | ({store.NOTE: description} if description else {})
            shared = leave_open is not _never
            named |= orphans.signs(shared)
            above = parent.run_id if parent is not None else parent_run_id
            launched = launcher.launching_run(client) if parent is None else None
            going_on = resume is not None and resume.wanted if parent is None else parent.former is not None
            experiment = _experiment(box, client, dataset, needed=going_on)
            if parent is None and experiment:
                with contextlib.suppress(StoreAwayError):
                    box.now(lambda: roots.warn(client, dataset))
            joined: StoredRun | None
            interrupted, changes = _former(client, experiment, stage, name, parent, resume, params)
            if run_id is not None:
                joined = store.insistently(functools.partial(client.get_run, run_id))
            elif interrupted is not None:
                joined = interrupted
            else:
                joined = launched if launched and launched.info.experiment_id == experiment else None
            if resume is not None:
                known = {key: value for key, value in params.items() if key not in resume.ignored}
                command = former.settled(interrupted, known, resume.command)
                named |= {former.IDENTITY: resume.identity, former.COMMAND: json.dumps(command)}
            if joined is not None:
                run = _join(client, joined, name, dataset, named, above)
                run.former = None if run_id is None else dict(joined.data.tags)
                if interrupted is not None:
                    former.reopen(client, run, interrupted, changes)
            else:
                made = _create(box, client, experiment, dataset, name, named, above)
                run = Run(client, made, experiment, name, dataset)
            run.keep_alive(shared=shared)
            if launched is not None and launched.info.run_id != run.run_id:
                note = launcher.pointing(run.run_id, store.experiment_name(dataset))
                box.put("tags", run=launched.info.run_id, tags=note)
            run.description = description
            run.log_params(params, existing=joined.data.params if joined is not None else None)
        except BaseException as error:
            if run is not None:
                _end(run, error, (), False)
            if isinstance(error, (LitemkdError, KeyboardInterrupt, SystemExit)):
                raise
            raise TrackingError(
                f"the run {name} cannot be opened in the tracking store: {one_line(error)}"
            ) from error
        token = _current.set(run)
        try:
            broadcast((run.run_id, run.experiment_id, run.name, run.former))
            if system_metrics if system_metrics is not None else parent is None:
                began = time.time() if joined is None else joined.info.start_time / 1000
                watch = start_monitor(run, began)
            try:
                yield run
            finally:
                if watch is not None:
                    watch.finish()
        except BaseException as error:
            _end(run, error, stopped_by, leave_open())
            raise
        else:
            run.close(None if leave_open() else "FINISHED")
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


@dataclass(frozen=True)
class Resume:
    """What a command says of itself, so that it can be gone on with.

    Attributes:
        identity: a digest of all that it depends on.
        command: what it depends on beside its parameters, its `seed` among it.
        wanted: whether to go on with an interrupted run.
        allow_changes: also where its settings differ.
        ignored: parameters that it does not depend on.
    """

    identity: str
    command: Mapping[str, str]
    wanted: bool = False
    allow_changes: bool = False
    ignored: Collection[str] = ()


def _former(
    client: MlflowClient,
    experiment: str,
    stage: str,
    name: str,
    parent: Run | None,
    resume: Resume | None,
    params: Mapping[str, Any],
) -> tuple[StoredRun | None, Mapping[str, str]]:
    """The run to go on with, and what has changed since; no run while the store is away."""
    if not experiment:
        return None, {}
    if parent is not None:
        if parent.former is None:
            return None, {}
        identity = None if resume is None or resume.allow_changes else resume.identity
        above = parent.run_id
        found = store.insistently(lambda: former.find_child(client, experiment, above, stage, name, identity))
        return found, {}
    if resume is None or not resume.wanted:
        return None, {}
    return former.choose_former(
        client,
        experiment,
        stage,
        resume.identity,
        {key: value for key, value in params.items() if key not in resume.ignored},
        resume.command,
        allow_changes=resume.allow_changes,
    )


@from_main
def former_run(dataset: str, stage: str, name: str, resume: Resume) -> tuple[str, str] | None:
    """Id and status of the run that `stage_run` would go on with; None where it would begin a new one.

    A run of other settings does not count, changes allowed or not.
    """
    client, parent = store.connect(), _current.get()
    experiment = store.insistently(lambda: store.experiment_id(client, dataset))
    if parent is not None:
        found, _ = _former(client, experiment, stage, name, parent, resume, {})
    else:
        same = functools.partial(former.find_same, client, experiment, resume.identity)
        found = store.insistently(same) if resume.wanted else None
    return None if found is None else (found.info.run_id, found.info.status)


def _experiment(box: Outbox, client: MlflowClient, dataset: str, *, needed: bool) -> str:
    """The id of the experiment, empty while the store is away.

    One that is `needed` is waited for: which run to go on with is known there alone.
    """
    if needed:
        return store.insistently(lambda: store.experiment_id(client, dataset))
    try:
        return box.now(lambda: store.experiment_id(client, dataset))
    except StoreAwayError:
        return ""


def _create(
    box: Outbox,
    client: MlflowClient,
    experiment: str,
    dataset: str,
    name: str,
    tags: dict[str, str],
    above: str | None,
) -> str:
    """The id of a new run, or the promise of it while the store is away."""
    tags = resolve_tags(tags | ({PARENT: above} if above else {}))  # adds user, source and commit
    tags = {key: box.resolved(hide(value)) for key, value in tags.items()}
    promised, at = promise(), int(time.time() * 1000)
    if experiment and not any(PROMISE.search(value) for value in tags.values()):
        with contextlib.suppress(StoreAwayError):
            if store.is_server():
                return box.now(lambda: make_run(client, experiment, name, tags, promised, at))
            return box.now(lambda: client.create_run(experiment, tags=tags, run_name=name)).info.run_id
    box.put("create", result=promised, dataset=dataset, name=name, tags=tags, at=at)
    return promised


def _join(
    client: MlflowClient, launched: StoredRun, name: str, dataset: str, tags: dict[str, str], above: str | None
) -> Run:
    run_id = launched.info.run_id
    kept = name if launcher.is_made_up(launched.info.run_name) else launched.info.run_name
    run = Run(client, run_id, launched.info.experiment_id, kept, dataset)
    store.insistently(lambda: client.update_run(run_id, status="RUNNING", name=kept))
    run.set_tags(tags | ({PARENT: above} if above else {}))
    return run


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
