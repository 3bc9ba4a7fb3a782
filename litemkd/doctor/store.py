"""The store of runs: which one it is, whether it answers, and what waits to be sent there."""

from __future__ import annotations

from collections.abc import Iterator

from litemkd.doctor.finding import Finding
from litemkd.errors import TrackingError


def store() -> Iterator[Finding]:
    """The store in use. It is not made where it is missing."""
    from litemkd.tracking import require_store, store_uri, waiting, without_password
    from litemkd.tracking.store import exists

    uri = store_uri()
    shown = _address(uri)
    try:
        require_store()
    except TrackingError as error:
        yield Finding("store", "address", shown)
        yield Finding("store", "answers", f"no: {str(error).replace(without_password(uri), shown)}", "wrong")
        return
    yield Finding("store", "address", shown)
    yield Finding("store", "answers", "yes" if exists() else "it is made on first use")
    if count := len(waiting()):
        words = f"of {count} process{'es' * (count > 1)}, in runs/unsent"
        yield Finding("store", "waits to be sent", words, "note", "litemkd sync would do, once they have ended")


def _address(uri: str) -> str:
    """An address without user, password and query, any of which may be a secret."""
    scheme, _, rest = uri.partition("://")
    server, slash, path = rest.partition("?")[0].partition("/")
    return f"{scheme}://{server.rpartition('@')[2]}{slash}{path}"
