"""Files of a server's experiments that are not at the server, but on the disk of whoever logged them.

MLflow's server takes no files where it was started with `--no-serve-artifacts`, or with a path as
`--default-artifact-root`: it hands the path out, and each client writes there on its own machine.
"""

from __future__ import annotations

import logging
from pathlib import Path
from urllib.parse import unquote

from mlflow import MlflowClient

from litemkd.tracking.store.addresses import split, without_password
from litemkd.tracking.store.experiments import experiment_id
from litemkd.tracking.store.failures import retry
from litemkd.tracking.store.opening import is_server, store_uri

_log = logging.getLogger("litemkd.tracking")
_looked_at: set[tuple[str, str]] = set()  # stores and data sets, once a process
_told: set[tuple[str, str]] = set()  # stores and places, likewise


def clients_folder(location: str) -> Path | None:
    """The folder that a server means on its clients' own disks; None where it keeps the files itself.

    Args:
        location: of an experiment, a run or a model, as the store in use has it.
    """
    parts = split(location)
    if not location or not is_server() or parts.scheme not in ("", "file"):
        return None
    return Path(unquote(parts.path) if parts.scheme else location)


def warn(client: MlflowClient, dataset: str) -> None:
    """Say so before work begins, once, where the files of a data set's experiment will not be at the server.

    The experiment is made if missing: the server then chooses its place.
    """
    if not is_server() or (store_uri(), dataset) in _looked_at:
        return
    _looked_at.add((store_uri(), dataset))
    number = experiment_id(client, dataset)
    found = retry(lambda: client.get_experiment(number))
    folder = clients_folder(found.artifact_location)
    if folder is None:
        return
    _once(
        str(folder),
        f"the tracking server {_server()} keeps no files: those of the experiment {found.name} are written to "
        f"{folder} on the machine that logs them, this one, and no other will find them, unless "
        "that folder is shared. Start the server with --serve-artifacts --artifacts-destination FOLDER, "
        "not with --default-artifact-root; an experiment that is there already keeps its place",
    )


def why_missing(location: str, what: str) -> str | None:
    """Why files are not found, where that is because they are on another machine's disk; None otherwise.

    Args:
        location: where the store says that they are.
        what: whose they are, for the message.
    """
    folder = clients_folder(location)
    if folder is None or folder.exists():
        return None
    return (
        f"the files of {what} are not at the server {_server()} but at {folder} on the machine that logged "
        "them, because the server was started without --serve-artifacts; there they can be read, or taken to "
        "another store with `litemkd export-runs`"
    )


def tell_missing(location: str, what: str) -> None:
    """The same, told once where the work goes on without them."""
    if (words := why_missing(location, what)) is not None:
        _once(str(Path(location).parent), words)


def _server() -> str:
    return without_password(store_uri())


def _once(place: str, words: str) -> None:
    if (store_uri(), place) not in _told:
        _told.add((store_uri(), place))
        _log.warning("%s", words)
