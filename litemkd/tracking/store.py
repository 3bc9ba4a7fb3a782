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

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Experiment
from mlflow.exceptions import MlflowException

from litemkd.errors import TrackingError
from litemkd.files import locked, not_a_file
from litemkd.secrets import hide
from litemkd.tracking import reaching
from litemkd.tracking.addresses import is_web, meant, normal, sqlite_file, sqlite_uri, without_password
from litemkd.tracking.reasons import one_line

_log = logging.getLogger("litemkd.tracking")
T = TypeVar("T")
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


def use_store(uri: str | None) -> str:
    """Use the store at `uri` in this process and those it starts; with None, the environment's or the default.

    Returns:
        The store's URI.
    """
    if uri is not None:
        os.environ["MLFLOW_TRACKING_URI"] = normal(uri)
        mlflow.set_tracking_uri(normal(uri))
    return store_uri()


def store_uri() -> str:
    """The URI of the store in use."""
    return normal(mlflow.get_tracking_uri())


def store_file() -> Path | None:
    """The file of the store in use, None for a server."""
    return sqlite_file(store_uri())


def is_server() -> bool:
    """Whether the store in use is MLflow's server, where an answer may be lost after the work was done."""
    return is_web(store_uri())


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
        raise TrackingError(
            f"the tracking store {without_password(uri)} cannot be opened: {_advised(one_line(error))}"
        ) from error


def _advised(words: str) -> str:
    """The reason why a store cannot be opened, with what would do."""
    if "filesystem tracking backend" in words:
        return (
            "it is a folder of files, which MLflow takes no longer; `mlflow migrate-filestore` brings it into "
            "a data base, or set MLFLOW_TRACKING_URI to a new one, such as sqlite:///mlflow.db"
        )
    if "unsupported URI" in words:
        words = "it is of no kind that MLflow knows"
    if "database schema" in words:
        return f"{words}. A store made by an older MLflow needs `mlflow db upgrade <its URI>` once"
    if "Can't locate revision" in words:
        return f"{words}. It was made by a newer MLflow than the one that is installed here"
    return (
        f"{words}. Check MLFLOW_TRACKING_URI: sqlite:////folder/mlflow.db, the address of a server, or "
        "postgresql+psycopg://USER:PASSWORD@HOST/DATABASE would do"
    )


@functools.lru_cache(maxsize=64)
def _connect(uri: str) -> MlflowClient:
    if (wanted := meant(uri)) is not None:
        raise TrackingError(
            f"MLFLOW_TRACKING_URI: {uri.rpartition('@')[2]!r} is no address of a store; did you mean "
            f"{without_password(wanted)}?"
        )
    path = sqlite_file(uri)
    if path is not None:
        create_sqlite_store(path)
    reaching.ask(uri, reaching.AT_FIRST)
    reaching.open_database(uri, reaching.AT_FIRST)
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


def exists() -> bool:
    """Whether reading the store in use would not have to make it first."""
    path = sqlite_file(store_uri())
    return path is None or _is_complete(path)


def _is_complete(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


def create_sqlite_store(path: Path) -> None:
    """Make the tables of a SQLite store at `path`, once, however many processes ask at the same time.

    Raises:
        TrackingError: the folder cannot be written to, or what is there is no file.
    """
    if path.exists() and (kind := not_a_file(path)) is not None:
        example = sqlite_uri(path / "mlflow.db" if path.is_dir() else path.with_name("mlflow.db"))
        raise TrackingError(f"the tracking store {path} cannot be opened: {kind}; {example} would do")
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
                MlflowClient(sqlite_uri(part)).search_experiments(max_results=1)
            part.replace(path)
    except OSError as error:
        raise cannot_be_made(path, error.strerror or str(error)) from error


def cannot_be_made(path: Path, why: str) -> TrackingError:
    """What is raised where a SQLite store cannot be made."""
    return TrackingError(
        f"the tracking store {path} cannot be made: {why}. Start in a folder you may write to, or set "
        "MLFLOW_TRACKING_URI to another store, such as sqlite:////folder/mlflow.db"
    )


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
                _log.warning(
                    "waiting for the tracking store, whose answer is needed to go on (%s)", one_line(error)
                )
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
            f"`{_mlflow('experiments restore', experiment)}`, or remove it for good with "
            f"`{_mlflow('gc', experiment)}`"
            + (", on the server's machine, with the address of its data base" if is_server() else "")
        )


def _mlflow(what: str, experiment: Experiment) -> str:
    """A command of MLflow's own on an experiment of the store in use, as it can be typed."""
    uri = store_uri()
    address = shlex.quote(uri) if without_password(uri) == uri else '"$MLFLOW_TRACKING_URI"'
    if what == "gc":  # it takes neither address from the other one, and asks for both
        backend = "URI" if is_server() else address
        words = f"--backend-store-uri {backend} --tracking-uri {address} --experiment-ids"
    else:
        words = "--experiment-id"
    before = f"MLFLOW_TRACKING_URI={address} " if what != "gc" and "$" not in address else ""
    return f"{before}mlflow {what} {words} {experiment.experiment_id}"


def already_exists(error: MlflowException) -> bool:
    """Whether the store refused because what was to be made is there."""
    return error.error_code in _ALREADY


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
