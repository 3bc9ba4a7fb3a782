"""The tracking store: which one, opened safely by many processes at once, and its experiments.

The store is the one the user set (`MLFLOW_TRACKING_URI` or `use_store`), else MLflow's own default, the file
`mlflow.db` in the working directory. MLflow makes the tables of a missing SQLite file in place and without a
lock, so processes that start together destroy each other's work; here the tables are made in a file beside it,
under a lock, and moved into place when they are complete.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import re
import shlex
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote, unquote, urlsplit

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Experiment
from mlflow.exceptions import MlflowException

from litemkd.errors import TrackingError
from litemkd.files import locked
from litemkd.secrets import hide
from litemkd.tracking import reaching

_log = logging.getLogger("litemkd.tracking")
T = TypeVar("T")
_SQLITE = "sqlite:///"
_ALREADY = {"RESOURCE_ALREADY_EXISTS", "ALREADY_EXISTS"}
_IN_THE_WAY = re.compile(r"database is locked|(UniqueViolation|UNIQUE constraint failed).*tag")
_FOR_EVER = {
    "RESOURCE_DOES_NOT_EXIST",
    "RESOURCE_ALREADY_EXISTS",
    "INVALID_PARAMETER_VALUE",
    "INVALID_STATE",
    "BAD_REQUEST",
}
NOTE = "mlflow.note.content"
KIND, TRAINING = "mlflow.experimentKind", "custom_model_development"  # opens at runs, not at chat traces
PATIENCE = 600.0  # seconds
TRIES = 9  # of a statement that finds the SQLite file locked, over about a minute


def sqlite_file(uri: str) -> Path | None:
    """The absolute path of the file of a SQLite store, None for any other store (or one in memory)."""
    if not uri.startswith(_SQLITE):
        return None
    path = unquote(uri[len(_SQLITE) :].partition("?")[0])
    return Path(path).absolute() if path and path != ":memory:" else None


def absolute(uri: str) -> str:
    """`uri` with a relative SQLite file made absolute: the same store for a process in another folder."""
    path = sqlite_file(uri)
    if path is None:
        return uri
    query = uri.partition("?")[2]
    return f"{_SQLITE}{quote(str(path))}" + (f"?{query}" if query else "")


def use_store(uri: str | None) -> str:
    """Use the store at `uri` in this process and those it starts; with None, the environment's or the default.

    Returns:
        The store's URI.
    """
    if uri is not None:
        os.environ["MLFLOW_TRACKING_URI"] = absolute(uri)
        mlflow.set_tracking_uri(absolute(uri))
    return store_uri()


def store_uri() -> str:
    """The URI of the store in use."""
    return absolute(mlflow.get_tracking_uri())


def store_file() -> Path | None:
    """The file of the store in use, None for a server."""
    return sqlite_file(store_uri())


def is_server() -> bool:
    """Whether the store in use is MLflow's server, where an answer may be lost after the work was done."""
    return urlsplit(store_uri()).scheme in {"http", "https"}


def connect() -> MlflowClient:
    """A client of the store in use, which is made first where it is a missing SQLite file.

    Raises:
        TrackingError: the store cannot be opened.
    """
    uri = store_uri()
    try:
        return _connect(uri)
    except (TrackingError, KeyboardInterrupt):
        raise
    except reaching.AwayError as error:
        raise TrackingError(
            f"the tracking store {without_password(uri)} does not answer: {error}. Start it, or correct "
            "MLFLOW_TRACKING_URI. To work without it, set MLFLOW_TRACKING_URI=sqlite:///mlflow.db, and bring "
            "the runs there later: `litemkd export-runs runs.zip`, `litemkd import-runs runs.zip --to URI`"
        ) from error
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise TrackingError(
            f"the tracking store {without_password(uri)} cannot be opened: {reason}. Check MLFLOW_TRACKING_URI "
            f"or --tracking-uri; a store made by an older MLflow needs `mlflow db upgrade <its URI>` once"
        ) from error


@functools.lru_cache(maxsize=64)
def _connect(uri: str) -> MlflowClient:
    path = sqlite_file(uri)
    if path is not None:
        create_sqlite_store(path)
    reaching.ask(uri, reaching.AT_FIRST)
    with _third_parties_quiet():
        client = MlflowClient(uri)
        patiently(lambda: client.search_experiments(max_results=1))  # opens the connection
    return client


@contextlib.contextmanager
def _third_parties_quiet() -> Iterator[None]:
    """Hide what MLflow uses of SQLAlchemy although it is deprecated: nobody here can mend it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


def require() -> None:
    """For a command that will need the store: one that is not a file of this machine has to answer.

    Raises:
        TrackingError: it does not, or cannot be opened.
    """
    if store_file() is None:
        connect()


def exists() -> bool:
    """Whether reading the store in use would not have to make it first."""
    path = sqlite_file(store_uri())
    return path is None or _is_complete(path)


def _is_complete(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


def create_sqlite_store(path: Path) -> None:
    """Make the tables of a SQLite store at `path`, once, however many processes ask at the same time.

    Raises:
        TrackingError: the folder cannot be written to.
    """
    if _is_complete(path):
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path.with_name(f"{path.name}.lock")):
            if _is_complete(path):
                return
            part = path.with_name(f"{path.name}.part")  # one at a time: we hold the lock
            part.unlink(missing_ok=True)
            with _third_parties_quiet():
                MlflowClient(f"{_SQLITE}{quote(str(part))}").search_experiments(max_results=1)
            part.replace(path)
    except OSError as error:
        raise TrackingError(
            f"the tracking store {path} cannot be made: {error.strerror or error}. Start in a folder you may "
            f"write to, or name another store with --tracking-uri sqlite:////folder/mlflow.db"
        ) from error


def patiently(call: Callable[[], T]) -> T:
    """`call()`, repeated for some seconds while another process is in the way.

    That is one that holds the SQLite file, or has just written the tag that is new to this one.
    """
    for attempt in range(TRIES):
        try:
            return call()
        except MlflowException as error:
            error.message = hide(error.message)  # it holds the address
            error.args = (error.message,)
            if attempt == TRIES - 1 or not _IN_THE_WAY.search(error.message):
                raise
            time.sleep(
                min(0.1 * 2**attempt, 10) * (1 + os.getpid() % 7 / 7)
            )  # processes do not come back in step
    raise AssertionError("unreachable")


def is_refusal(error: BaseException | None) -> bool:
    """Whether it would fail whenever it is tried; any other failure may pass."""
    while isinstance(error, TrackingError) and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, MlflowException):
        return error.error_code in _FOR_EVER
    if isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
        return False
    return isinstance(error, (TrackingError, OSError, TypeError, ValueError, LookupError, AttributeError))


def insistently(call: Callable[[], T]) -> T:
    """`call()`, for an answer without which nothing can go on: while the store is away it is waited for.

    LITEMKD_STORE_PATIENCE seconds at most, 600 when not given.
    """
    end, told = time.monotonic() + float(os.environ.get("LITEMKD_STORE_PATIENCE", PATIENCE)), False
    while True:
        try:
            return patiently(call)
        except Exception as error:
            if is_refusal(error) or time.monotonic() > end:
                raise
            if not told:
                reason = hide(str(error)).strip().split("\n")[0][:200]
                _log.warning("waiting for the tracking store, whose answer is needed to go on (%s)", reason)
            told = True
            time.sleep(min(5.0, max(0.1, end - time.monotonic())))


def experiment_name(dataset: str) -> str:
    """The name of a data set's experiment."""
    return f"litemkd/{dataset}"


def experiment_id(client: MlflowClient, dataset: str) -> str:
    """The id of a data set's experiment, which is made if missing.

    Raises:
        TrackingError: the experiment is in the store's bin.
    """
    name = experiment_name(dataset)
    found = patiently(lambda: client.get_experiment_by_name(name))
    if found is None:
        note = f"Few-shot action recognition on {dataset}: teachers, distilled students and what they cost."
        try:
            return patiently(
                lambda: client.create_experiment(
                    name, tags={NOTE: note, KIND: TRAINING, "litemkd.dataset": dataset}
                )
            )
        except MlflowException as error:
            if error.error_code not in _ALREADY:  # else another process made it just now
                raise
            found = patiently(lambda: client.get_experiment_by_name(name))
    if found is None:
        raise TrackingError(f"the experiment {name} is in the store and cannot be read")
    refuse_deleted(found)
    return found.experiment_id


def refuse_deleted(experiment: Experiment) -> None:
    """TrackingError: the experiment is in the store's bin."""
    if experiment.lifecycle_stage != "active":
        raise TrackingError(
            f"the experiment {experiment.name} was deleted and is in the store's bin: take it out with "
            f"`mlflow experiments restore --experiment-id {experiment.experiment_id}`, or empty the bin with "
            "`mlflow gc`"
        )


def already_exists(error: MlflowException) -> bool:
    """Whether the store refused because what was to be made is there."""
    return error.error_code in _ALREADY


def without_password(uri: str) -> str:
    """`uri` as it may be shown: a password in it replaced by stars."""
    password = urlsplit(uri).password
    return uri.replace(f":{password}@", ":***@") if password else uri


def ui_command() -> str:
    """The shell command that shows the store in use in a browser, with one light server process.

    For a store that is a server, the address to open instead. In an environment that `mlflow run` made, which
    the user's shell does not know, it is MLflow's own command.
    """
    uri = store_uri()
    if is_server():
        return without_password(uri)
    shell_has_litemkd = re.fullmatch(r"mlflow-[0-9a-f]{40}", Path(sys.prefix).name) is None
    command, option = ("litemkd ui", "--store") if shell_has_litemkd else ("mlflow ui", "--backend-store-uri")
    if sqlite_file(uri) == Path("mlflow.db").absolute():
        return command
    if without_password(uri) != uri:  # a secret is taken from the environment, never printed
        return f'{command} {option} "$MLFLOW_TRACKING_URI"'
    return f"{command} {option} {shlex.quote(uri)}"


def allowed_name(key: str) -> str:
    """The name of a metric or parameter in the characters and the length that the store allows."""
    return re.sub(r"[^\w.\- /:]", "_", key)[:250]
