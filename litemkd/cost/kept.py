"""Costs that were measured before, kept in the user's cache: an architecture is measured once.

A cost is known by a digest of what it is of, of the code that makes and counts models, and of the versions of
the libraries that networks come from. It is a small file of JSON in `costs/` of the folder that `LITEMKD_CACHE`
names, `~/.cache/litemkd` when not given.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import logging
import os
import time
from collections.abc import Callable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

from litemkd.storage.files import write_text

log = logging.getLogger(__name__)

LIBRARIES = ("torch", "torchvision", "timm", "transformers", "thop")
CODE = ("models", "cost", "stages/build.py", "stages/measuring.py")  # what a count depends on
Values = TypeVar("Values", bound=Mapping[str, Any])


def kept(about: Mapping[str, Any], measure: Callable[[], Values], *, again: bool = False) -> Values:
    """What `measure` gives, from the cache where it was measured before.

    Where it cannot be kept a warning says so.

    Args:
        about: all that decides it, as plain values, beside the code and the libraries.
        measure: gives values that JSON keeps as they are.
        again: measure although it is there.
    """
    told = f"{json.dumps(about, sort_keys=True)} {_code()}"
    path = folder() / f"{hashlib.sha256(told.encode()).hexdigest()[:32]}.json"
    if not again and (found := _read(path)) is not None:
        _tell(path.parent)
        return found["values"]
    values = measure()
    record = {"measured": time.strftime("%Y-%m-%d %H:%M"), "about": about, "values": values}
    try:
        write_text(path, json.dumps(record, indent=1) + "\n")
    except OSError as error:
        log.warning("%s: cannot be kept, and is measured again the next time (%s)", path, error)
    return values


def folder() -> Path:
    """Where costs are kept."""
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.environ.get("LITEMKD_CACHE") or f"{home}/litemkd").expanduser() / "costs"


def _read(path: Path) -> dict[str, Any] | None:
    """A record, or None where there is none that is whole."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return record if {"measured", "values"} <= record.keys() else None
    except (OSError, ValueError, AttributeError):
        return None


@functools.cache  # once
def _tell(kept_in: Path) -> None:
    log.info("costs that were measured before are taken from %s", kept_in)


@functools.cache
def _code() -> str:
    """A digest of the code that a count depends on, and the versions of the libraries."""
    digest, package = hashlib.sha256(), Path(str(files("litemkd")))
    for name in CODE:
        place = package / name
        for path in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            digest.update(path.read_bytes())
    return f"{digest.hexdigest()} {' '.join(map(_version, LIBRARIES))}"


def _version(name: str) -> str:
    try:
        return f"{name}=={importlib.metadata.version(name)}"
    except importlib.metadata.PackageNotFoundError:
        return f"no {name}"
