"""A pack appears whole or not at all, and is built once, however many processes ask for it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from litemkd.storage.files import locked, tell_storage


def build_once(target: Path, stem: str, is_there: Callable[[], bool], fill: Callable[[Path], None]) -> None:
    """Build a pack beside its place and move it there, unless it is there; those that it replaces go first.

    Args:
        target: the pack's folder.
        stem: how its name begins, and the names of packs of the same that were made of other files.
        is_there: whether the pack is there, whole.
        fill: writes what belongs to it into an empty folder.

    Raises:
        StorageError: too little disk space; nothing of the pack stays.
    """
    if is_there():
        return
    packs = target.parent
    packs.mkdir(parents=True, exist_ok=True)
    with locked(packs / f".{stem}lock"):
        if is_there():  # it was built while this process waited
            return
        for old in [*packs.glob(f"{stem}*"), *packs.glob(f".building_{stem}*")]:
            shutil.rmtree(old)
        building = packs / f".building_{target.name}"
        building.mkdir()
        try:
            fill(building)
            building.replace(target)
        except OSError as error:
            tell_storage(target, error)
            raise
        finally:
            shutil.rmtree(building, ignore_errors=True)
