"""Whether a store that is elsewhere answers at all, found out within seconds.

MLflow's own requests take up to a minute to find that out, and its databases two.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

import requests
from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_TIMEOUT
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request

AT_FIRST = 20.0  # seconds that a store has for an answer when a command begins
AGAIN = 10.0  # while it is away
_QUESTION = "/api/2.0/mlflow/experiments/get?experiment_id=0"  # the server has to ask its database
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
    failures: list[BaseException | str] = []

    def try_once() -> None:
        try:
            if kind in _PORTS:
                socket.create_connection((parts.hostname, parts.port or _PORTS[kind]), seconds).close()
                return
            creds = get_default_host_creds(uri)
            answer = http_request(
                creds, _QUESTION, "GET", max_retries=0, timeout=seconds, raise_on_status=False
            )
            if answer.status_code >= 500 or answer.status_code == 429:
                failures.append(f"HTTP status {answer.status_code}")
        except BaseException as error:
            failures.append(error)

    if not (kind in {"http", "https"} or (kind in _PORTS and parts.hostname)):
        return
    asking = threading.Thread(target=try_once, daemon=True)  # looking up a name cannot be given a limit
    asking.start()
    asking.join(seconds)
    if asking.is_alive():
        raise AwayError(f"no answer within {seconds:g} s")
    for failure in failures:
        if isinstance(failure, str):
            raise AwayError(failure)
        raise AwayError(_reason(failure, seconds)) from failure


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
