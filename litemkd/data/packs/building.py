"""A pack appears whole or not at all, and is built once, however many processes ask for it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from litemkd.storage.files import locked, whole_folder


def build_once(target: Path, stem: str, is_there: Callable[[], bool], fill: Callable[[Path], None]) -> None:
    """Build a pack unless it is there; those that it replaces, and what killed processes left, go first.

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
        left = (f"{stem}*", f".{stem}*.*", f".building_{stem}*")  # the last one by former versions
        for old in [one for pattern in left for one in packs.glob(pattern)]:
            shutil.rmtree(old)
        with whole_folder(target) as beside:
            fill(beside)
