"""The tracking store: which one, opened safely by many processes at once.

The store is the one the user set (`MLFLOW_TRACKING_URI` or `use_store`), else MLflow's own default, the file
`mlflow.db` in the working directory. MLflow makes the tables of a missing SQLite file in place and without a
lock, so processes that start together destroy each other's work; here the tables are made in a file beside it,
under a lock, and moved into place when they are complete.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import shlex
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import mlflow
from mlflow import MlflowClient

from litemkd.errors import TrackingError
from litemkd.storage.files import locked, not_a_file
from litemkd.tracking.store import reaching
from litemkd.tracking.store.addresses import is_web, meant, normal, sqlite_file, sqlite_uri, without_password
from litemkd.tracking.store.failures import one_line, retry


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
        retry(lambda: client.search_experiments(max_results=1))  # opens the connection
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
            _make_tables(part)
            part.replace(path)
    except OSError as error:
        raise cannot_be_made(path, error.strerror or str(error)) from error


def _make_tables(path: Path) -> None:
    """Have MLflow make an empty store, by its migrations one after the other."""
    with _third_parties_quiet():
        MlflowClient(sqlite_uri(path)).search_experiments(max_results=1)


def cannot_be_made(path: Path, why: str) -> TrackingError:
    """What is raised where a SQLite store cannot be made."""
    return TrackingError(
        f"the tracking store {path} cannot be made: {why}. Start in a folder you may write to, or set "
        "MLFLOW_TRACKING_URI to another store, such as sqlite:////folder/mlflow.db"
    )


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
