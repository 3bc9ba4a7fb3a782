"""Whether a store answers at all, and can be opened and written, found out within seconds.

MLflow's own requests take up to a minute to find that out, and its databases two to four.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import requests
from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_TIMEOUT
from sqlalchemy import create_engine, inspect
from sqlalchemy.pool import NullPool

from litemkd.tracking.mlflow_private import DATABASE_ENGINES, get_default_host_creds, http_request

AT_FIRST = 20.0  # seconds that a store has for an answer when a command begins
AGAIN = 10.0  # while it is away
_QUESTION = "/api/2.0/mlflow/experiments/get?experiment_id=0"  # the server has to ask its database
_PASSING = re.compile(r"too many clients|remaining connection slots|starting up|Too many connections")
_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}


class AwayError(ConnectionError):
    """A store that does not answer; the message says what comes in place of an answer."""


def ask(uri: str, seconds: float = AGAIN) -> None:
    """Return when the store at `uri` answers, whatever it says; at once for one on this machine's disk.

    It has so many `seconds`, or MLFLOW_HTTP_REQUEST_TIMEOUT where that is less.

    Raises:
        AwayError: it does not.
    """
    seconds = min(seconds, MLFLOW_HTTP_REQUEST_TIMEOUT.get())
    parts = urlsplit(uri)
    kind = parts.scheme.partition("+")[0]

    def question() -> None:
        if kind in _PORTS:
            socket.create_connection((parts.hostname, parts.port or _PORTS[kind]), seconds).close()
            return
        creds = get_default_host_creds(uri)
        answer = http_request(creds, _QUESTION, "GET", max_retries=0, timeout=seconds, raise_on_status=False)
        if answer.status_code >= 500 or answer.status_code == 429:
            raise AwayError(f"HTTP status {answer.status_code}")

    if not (kind in {"http", "https"} or (kind in _PORTS and parts.hostname)):
        return
    failure = _failure_within(seconds, seconds, question)
    if failure is not None and not isinstance(failure, AwayError):
        raise AwayError(_reason(failure, seconds)) from failure
    if failure is not None:
        raise failure


def _failure_within(left: float, seconds: float, call: Callable[[], None]) -> BaseException | None:
    """What `call()` raised, None where it ended well.

    It is made by a thread of its own: looking up a name, or opening a data base, cannot be given a limit.

    Raises:
        AwayError: it has not ended in what is `left` of so many seconds.
    """
    failures: list[BaseException] = []

    def try_once() -> None:
        try:
            call()
        except BaseException as error:
            failures.append(error)

    asking = threading.Thread(target=try_once, daemon=True)
    asking.start()
    asking.join(max(0.0, left))
    if asking.is_alive():
        raise AwayError(f"no answer within {seconds:g} s")
    return failures[0] if failures else None


def _reason(error: BaseException, seconds: float) -> str:
    """What the system said of a connection, found beneath what libraries made of it."""
    words = str(error).strip().split("\n")[0]
    for one in _chain(error):
        if isinstance(one, (TimeoutError, requests.Timeout)):
            return f"no answer within {seconds:g} s"
        if isinstance(one, OSError) and one.strerror:
            words = one.strerror
        elif isinstance(one, OSError):
            words = str(one).strip().split("\n")[0] or words
    return words[:200]


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def answers(uri: str) -> bool:
    """Whether the store at `uri` answers, see `ask`."""
    with contextlib.suppress(AwayError):
        ask(uri)
        return True
    return False


def open_database(uri: str, seconds: float) -> None:
    """Open the data base at `uri` once and look for its tables; at once for any other store.

    MLflow tries ten times, whatever is wrong. Here only what passes by itself is waited for: a data base
    that is starting, or has no connection left just now. Of one that is locked nothing is to be said.

    Raises:
        AwayError: no answer within so many seconds.
        Exception: why it cannot be opened, of SQLAlchemy or of a driver that is not installed.
    """
    if urlsplit(uri).scheme.partition("+")[0] not in DATABASE_ENGINES:
        return
    end = time.monotonic() + seconds

    def opening() -> None:
        with create_engine(uri, poolclass=NullPool).connect() as connection:
            inspect(connection).get_table_names()

    while (failure := _failure_within(end - time.monotonic(), seconds, opening)) is not None:
        if "is locked" in str(failure):
            return
        if not _PASSING.search(str(failure)) or time.monotonic() > end:
            raise failure
        time.sleep(0.5)


def why_read_only(path: Path) -> str | None:
    """Why nothing may be written to a SQLite store, None where something may; what is tried is taken back.

    A file that is locked, or on a full disk, is another matter, which may pass.
    """
    if not os.access(path.parent, os.W_OK | os.X_OK):  # where its journal lies while it writes
        return f"the folder {path.parent} may not be written to"
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as connection:
            connection.execute("BEGIN")
            (number,) = connection.execute("PRAGMA user_version").fetchone()
            connection.execute(f"PRAGMA user_version = {number}")
            connection.execute("ROLLBACK")
    except sqlite3.Error as error:
        return str(error) if "readonly" in str(error) else None
    return None
