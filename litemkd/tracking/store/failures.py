"""What a failure of the store means: why, in one line; whether it may pass, and then the call is made again."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Callable
from typing import TypeVar

from mlflow.exceptions import MlflowException

from litemkd.errors import TrackingError
from litemkd.secrets import hide

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
PATIENCE = 600.0  # seconds
TRIES = 9  # of a statement that finds the SQLite file locked, over about a minute
LONGEST = 300  # characters
_NOISE = re.compile(
    r"\(raised as a result of Query-invoked autoflush;[^)]*\)"  # SQLAlchemy, before what the data base says
    r"|\((?:\w+\.)+\w*(?:Error|Exception|Violation|Warning)\)"  # the same: (sqlite3.OperationalError)
    r"|^\s*\[(?:SQL|parameters): .*$|^\s*\(Background on this error at: .*$",
    re.MULTILINE,
)


def one_line(error: BaseException) -> str:
    """What went wrong, in one line and without passwords; the name of its kind where it has no words."""
    lines = (line.strip() for line in hide(_NOISE.sub("", str(error))).splitlines())
    words = next((" ".join(line.split()) for line in lines if line), type(error).__name__)
    return words if len(words) <= LONGEST else words[: LONGEST - 1] + "…"


def already_exists(error: MlflowException) -> bool:
    """Whether the store refused because what was to be made is there."""
    return error.error_code in _ALREADY


def retry(call: Callable[[], T]) -> T:
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


def wait_for(call: Callable[[], T]) -> T:
    """`call()`, for an answer without which nothing can go on: while the store is away it is waited for.

    LITEMKD_STORE_PATIENCE seconds at most, 600 when not given.
    """
    end, announced = time.monotonic() + float(os.environ.get("LITEMKD_STORE_PATIENCE", PATIENCE)), False
    while True:
        try:
            return retry(call)
        except Exception as error:
            if is_refusal(error) or time.monotonic() > end:
                raise
            if not announced:
                _log.warning(
                    "waiting for the tracking store, whose answer is needed to go on (%s)", one_line(error)
                )
            announced = True
            time.sleep(min(5.0, max(0.1, end - time.monotonic())))
