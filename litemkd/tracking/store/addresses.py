"""Addresses of stores: one form for one store, shown without passwords; what was meant by one that is none."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import SplitResult, quote, unquote, urlsplit, urlunsplit

SQLITE = "sqlite:///"
_WEB = {"http": 80, "https": 443}  # and the port that is meant where none is given
_HOST = re.compile(r"([^/@\s]+@)?(\[[\da-fA-F:]+\]|[\w-]+(\.[\w-]+)*):\d+(/.*)?")
_NAME = re.compile(r"([^/@\s]+@)?[a-z\d-]+(\.[a-z\d-]+)+(/.*)?", re.IGNORECASE)
_FILE = re.compile(r"(sqlite:(//)?)?(?P<path>[^:]+\.(db|sqlite3?))", re.IGNORECASE)
_ONE_SLASH = re.compile(r"(?P<scheme>https?):/?(?P<rest>[^/].*)", re.IGNORECASE)


def sqlite_file(uri: str) -> Path | None:
    """The absolute path of the file of a SQLite store, None for any other store (or one in memory)."""
    if not uri.startswith(SQLITE):
        return None
    path = unquote(uri[len(SQLITE) :].partition("?")[0])
    return Path(path).absolute() if path and path != ":memory:" else None


def sqlite_uri(path: Path) -> str:
    """The address of a SQLite store."""
    return f"{SQLITE}{quote(str(path))}"


def normal(uri: str) -> str:
    """`uri` in the form that all addresses of one store share.

    A relative SQLite file is made absolute: the same store for a process in another folder. A server's address
    has no slash at its end, no port that is meant anyway, and no capitals in the host's name.
    """
    if (path := sqlite_file(uri)) is not None:
        query = uri.partition("?")[2]
        return sqlite_uri(path) + (f"?{query}" if query else "")
    parts = split(uri)
    if not is_web(uri) or not parts.netloc:
        return uri
    user, at, host = parts.netloc.rpartition("@")
    host = host.lower().removesuffix(f":{_WEB[parts.scheme]}")
    return urlunsplit(parts._replace(netloc=f"{user}{at}{host}", path=parts.path.rstrip("/")))


def split(uri: str) -> SplitResult:
    """The parts of an address, all of them empty where it is none."""
    try:
        return urlsplit(uri)
    except ValueError:
        return SplitResult("", "", "", "", "")


def is_web(uri: str) -> bool:
    """Whether it is the address of a server."""
    return split(uri).scheme in _WEB


def without_password(uri: str) -> str:
    """`uri` as it may be shown: a password in it replaced by stars."""
    password = split(uri).password
    return uri.replace(f":{password}@", ":***@") if password else uri


def meant(uri: str) -> str | None:
    """The address that was meant, most likely, by one that names no store; None for any other."""
    if found := _ONE_SLASH.fullmatch(uri):
        return f"{found['scheme'].lower()}://{found['rest']}"
    if _HOST.fullmatch(uri):
        return f"http://{uri}"
    if (found := _FILE.fullmatch(uri)) and not uri.startswith(SQLITE):
        return sqlite_uri(Path(found["path"]).absolute())
    if _NAME.fullmatch(uri) and not Path(uri).exists():
        return f"https://{uri}"
    return None
