"""What this process sends to the store: written to a journal at once, sent by a thread, in order.

While the store is away the journal grows and the thread tries again now and then; the caller never waits for
it. A second thread tells the store that the open runs are alive.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from mlflow import MlflowClient
from mlflow.entities import RunTag

from litemkd.runtime.processes import this_process
from litemkd.secrets import hide
from litemkd.tracking import store
from litemkd.tracking.delivery import heartbeat
from litemkd.tracking.delivery.journal import PROMISE, Journal
from litemkd.tracking.delivery.sending import Sender
from litemkd.tracking.store import reaching
from litemkd.tracking.store.failures import one_line

_log = logging.getLogger("litemkd.tracking")
T = TypeVar("T")
FOLDER = Path("runs") / "unsent"
INTERVAL = 5.0  # seconds between batches of metrics
AGAIN = 2.0  # seconds until the first other try when the store is away
FULL = 500  # metrics that are sent at once
LONGEST = 10.0  # seconds until the next try when the store is away
QUIET = 120.0  # seconds for which other processes may hold a SQLite file before that is called an outage
TELL = 5.0  # seconds of waiting before that is said


def pause(failures: int) -> float:
    """Seconds until the next try after so many that failed in a row; an outage may take days."""
    return INTERVAL if failures == 0 else min(AGAIN * 2.0 ** min(failures - 1, 10), LONGEST)


class StoreAwayError(Exception):
    """The store cannot be reached now."""


class Outbox:
    """The items of this process for one store.

    Args:
        client: of the store.
        root: holds the journals of all processes.
    """

    def __init__(self, client: MlflowClient, root: Path) -> None:
        self.client, self.root = client, root
        self._address = store.store_uri()
        self.uri = store.without_password(self._address)
        self.journal: Journal | None = None
        self.sender: Sender | None = None
        self.away = False
        self._names: dict[str, str] = {}
        self._open: dict[str, bool] = {}  # runs and whether others write on them too
        self._change = threading.Condition(threading.RLock())
        self._wake = threading.Event()
        self._ended = 0  # attempts to send
        self._failures, self._tried, self._locked_since = 0, 0.0, 0.0
        self._waiting = 0  # metrics since the last attempt
        self._rest = threading.Event()
        self._threads: list[threading.Thread] = []

    @property
    def folder(self) -> Path:
        """Where the items are."""
        return self.journal.folder if self.journal is not None else self.root

    @property
    def empty(self) -> bool:
        """Whether everything was sent."""
        return self.journal is None or self.journal.empty

    def id_of(self, run: str) -> str:
        """The store's id of a run, once there is one; before that the promise of it."""
        return self._names.get(run, run)

    def resolved(self, words: str) -> str:
        """`words` with the store's names in place of promises, as far as there are any."""
        return PROMISE.sub(lambda found: self.id_of(found[0]), words)

    def put(self, do: str, **item: Any) -> None:
        """Hand over an item: it is on disk when this returns."""
        metrics = do == "metrics"
        with self._change:
            self._begin().append({"do": do, **item}, str if metrics else hide)
            self._waiting += len(item["values"]) if metrics else FULL
            if self._waiting >= FULL and not self.away:
                self._wake.set()

    def keep(self, path: Path, *, link: bool = False) -> str:
        """Copy a file or folder into the journal, see `Journal.keep_file`."""
        with self._change:
            journal = self._begin()
        return journal.keep_file(path, link=link)

    def ask(self, call: Callable[[], T]) -> T:
        """What the store answers at once.

        Raises:
            StoreAwayError: it does not; while the sending thread waits for it, it is not even asked.
        """
        if self.away and not (self.empty and time.monotonic() - self._tried > LONGEST):
            raise StoreAwayError
        try:
            return self._again_if_cut(lambda: store.retry(call))
        except Exception as error:
            if store.is_refusal(error):
                raise
            with self._change:
                self._begin()
                self._fail(error)
            raise StoreAwayError from error

    def open_run(self, run: str, *, shared: bool = False) -> None:
        """A run is open: it gets heartbeats."""
        with self._change:
            self._open[run] = shared
            self._begin()

    def close_run(self, run: str) -> None:
        """A run is closed. After the last one, with everything sent, nothing of this is left."""
        with self._change:
            self._open.pop(run, None)
            idle = not self._open
        if idle:
            self.flush()
            self.stop_when_idle()

    def flush(self, *, anyway: bool = False) -> bool:
        """Send everything. False where the store is away; where it just was, it is only asked with `anyway`."""
        with self._change:
            if self.empty:
                return True
            ended, announced, begun = self._ended, False, time.monotonic()
            if self.away and begun - self._tried < TELL and not anyway:
                return False
            while not self.empty and not (self._ended > ended and self.away):
                self._begin()
                self._wake.set()
                self._change.wait(1.0)
                if not announced and not self.away and time.monotonic() - begun > TELL:
                    _log.info("waiting for the tracking store to take what is left of this run")
                    announced = True
            return self.empty

    def stop_when_idle(self) -> None:
        """Stop the threads and remove the journal, if everything was sent and no run is open."""
        with self._change:
            if self.journal is not None:
                self.journal.sync()
            if self._open or not self.empty:
                return
            threads, self._threads = self._threads, []
            self._rest.set()
            self._wake.set()
        for thread in threads:
            thread.join(TELL)
        with self._change:
            if self.journal is not None and self.empty and not self._threads:
                journal, self.journal, self.sender = self.journal, None, None
                journal.close()

    def describe_unsent(self) -> str | None:
        """What is still unsent, in words; None when nothing is."""
        if self.journal is None:
            return None
        refused = len(self.journal.refused())
        if self.journal.empty and not refused:
            return None
        what = (
            "part of what was logged could not be sent"
            if not self.journal.empty
            else (f"the tracking store would not have {refused} items")
        )
        return f"{what}; it is kept in {self.folder}: `litemkd sync` sends it when the store answers"

    def why_refused(self) -> str:
        """The first reason of the store not to have something, "" where it had all."""
        aside = [] if self.journal is None else self.journal.refused()
        return aside[0]["reason"] if aside else ""

    def _begin(self) -> Journal:
        """The journal and the threads, made if they are not there."""
        if self.journal is None:
            self.journal = Journal.make(self.root, {"owner": this_process(), "store": self.uri})
            for promised, name in self._names.items():
                self.journal.name(promised, name)
            self._names = self.journal.names
            self.sender = Sender(self.client, self.journal)
        if not self._threads:
            self._rest = threading.Event()
            for name, target in (("litemkd-sender", self._send_on), ("litemkd-heart", self._beat_on)):
                thread = threading.Thread(target=target, args=(self._rest,), name=name, daemon=True)
                self._threads.append(thread)
                thread.start()
        return self.journal

    def _send_on(self, rest: threading.Event) -> None:
        while not rest.is_set():
            self._wake.wait(pause(self._failures))
            self._wake.clear()
            if not rest.is_set() and not self.empty:
                self._attempt()

    def _attempt(self) -> None:
        sender = self.sender
        if sender is None:
            return
        self._waiting, refused = 0, set(sender.refusals)
        try:
            self._again_if_cut(sender.send)
        except Exception as error:
            with self._change:
                self._fail(error)
        else:
            with self._change:
                self._succeed()
        for run in set(sender.refusals) - refused:
            what = f"run {self.id_of(run)}" if run else "an item"
            _log.warning("the tracking store refused part of %s: %s", what, sender.refusals[run])
        with self._change:
            self._ended += 1
            self._change.notify_all()

    def _again_if_cut(self, call: Callable[[], T]) -> T:
        """`call()`, once more where it fails at once: a server may close a connection just when it is used.

        A store that is away is asked for a sign of life first: that takes seconds, a request half a minute.
        """
        if self.away:
            reaching.ask(self._address)
            return call()
        begun = time.monotonic()
        try:
            return call()
        except Exception as error:
            if store.is_refusal(error) or time.monotonic() - begun > TELL or "is locked" in str(error):
                raise
            return call()

    def _fail(self, error: Exception) -> None:
        now = time.monotonic()
        self._tried = now
        if "database is locked" in str(error):
            self._locked_since = self._locked_since or now
            if now - self._locked_since < QUIET:
                return
        self._failures += 1
        if not self.away:
            self.away = True
            _log.warning(
                "the tracking store %s is away (%s): what is logged is kept in %s until it answers again",
                self.uri,
                one_line(error),
                self.folder,
            )

    def _succeed(self) -> None:
        self._failures, self._locked_since = 0, 0.0
        if self.away:
            self.away = False
            _log.warning("the tracking store answers again: what was kept has been sent")

    def _beat_on(self, rest: threading.Event) -> None:
        while not rest.wait(heartbeat.EVERY):
            with self._change:
                runs = {self.id_of(run): shared for run, shared in self._open.items()}
            if self.away:
                continue
            with contextlib.suppress(Exception):  # the sender finds out what it is, and tells
                for run, shared in runs.items():
                    if run.startswith("unsent-"):
                        continue
                    heartbeat.reopen(self.client, run)  # another process may have taken this one for dead
                    tags = [RunTag(key, value) for key, value in heartbeat.signs_of_life(shared).items()]
                    self.client.log_batch(run, tags=tags)


_outboxes: dict[tuple[str, Path], Outbox] = {}


def outbox() -> Outbox:
    """The one of this process for the store in use and the working directory."""
    key = store.store_uri(), FOLDER.absolute()
    if key not in _outboxes:
        _outboxes[key] = Outbox(store.connect(), key[1])
    return _outboxes[key]


def outboxes() -> list[Outbox]:
    """All of this process."""
    return list(_outboxes.values())


def unsent() -> list[str]:
    """What this process could not send, in words; empty when nothing is left."""
    return [words for one in outboxes() if (words := one.describe_unsent()) is not None]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_outboxes.clear)  # a worker of a data loader has nothing to send
