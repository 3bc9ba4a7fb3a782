"""Where a study is kept: a journal file for the processes of one machine, PostgreSQL for many machines."""

from __future__ import annotations

import contextlib
import hashlib
import warnings
from collections.abc import Iterator
from pathlib import Path

import optuna
import sqlalchemy
from optuna.storages import BaseStorage, RDBStorage

from litemkd.errors import ConfigError, LitemkdError, TrackingError
from litemkd.search.journal import open_journal
from litemkd.storage.files import locked
from litemkd.tracking import store_file, without_password

HEARTBEAT = 20  # seconds between the signs of life of a trial; after three without one it is taken for dead
_SERVER = "postgresql"


def default_storage() -> str:
    """The journal file beside the MLflow store, or in the working directory if that is a server."""
    store = store_file()
    return str((store.parent if store else Path.cwd()) / "optuna.journal")


def is_shared(address: str) -> bool:
    """Whether a storage is shared by machines.

    Raises:
        ConfigError: neither a file nor PostgreSQL.
    """
    if "://" not in address:
        return False
    if not address.startswith((f"{_SERVER}+", f"{_SERVER}:")):
        raise ConfigError(
            [
                f"--storage: {without_password(address)!r} given; the path of a journal file (one machine) or "
                "postgresql+psycopg://USER:PASSWORD@HOST/DATABASE (many machines) would do"
            ]
        )
    return True


def open_storage(address: str, heartbeat: int = HEARTBEAT) -> BaseStorage:
    """The storage at `address`, made if missing. Several processes may open a new one at once.

    Raises:
        TrackingError: it cannot be opened, or is a damaged journal.
        ConfigError: neither a file nor PostgreSQL.
    """
    try:
        if not is_shared(address):
            Path(address).parent.mkdir(parents=True, exist_ok=True)
            return open_journal(Path(address))
        with exclusive(address, "tables"), warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return RDBStorage(
                address,
                engine_kwargs={"pool_pre_ping": True},
                heartbeat_interval=heartbeat,
                grace_period=3 * heartbeat,
            )
    except LitemkdError:
        raise
    except (OSError, sqlalchemy.exc.SQLAlchemyError, ModuleNotFoundError, ImportError) as error:
        cause = getattr(error, "orig", None) or getattr(error, "strerror", None) or error
        reason = str(cause).strip().splitlines()[0]
        raise TrackingError(
            f"the study's storage {without_password(address)} cannot be opened: {reason}"
        ) from error


@contextlib.contextmanager
def exclusive(address: str, purpose: str) -> Iterator[None]:
    """Hold the storage's lock of this purpose; other processes wait. Freed when this process dies, too."""
    if not is_shared(address):
        Path(address).parent.mkdir(parents=True, exist_ok=True)
        with locked(Path(f"{address}.{purpose}.lock")):
            yield
        return
    key = int.from_bytes(hashlib.sha256(f"litemkd {purpose}".encode()).digest()[:8], "big", signed=True)
    engine = sqlalchemy.create_engine(address, poolclass=sqlalchemy.pool.NullPool)
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text("select pg_advisory_lock(:key)"), {"key": key})
        yield
