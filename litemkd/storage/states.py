"""The checkpoints of a training: its newest states, from which it can go on, and its best weights.

A state is `state-<number>-<digest>.pt`: the number counts, the digest is of the file's content. One rename
makes it whole and checked, so a state that was torn, cut short or changed is seen for what it is.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import re
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from litemkd.errors import CheckpointError
from litemkd.runtime.distributed import barrier, group
from litemkd.storage.checkpoints import BEST, load_state
from litemkd.storage.files import write_whole

log = logging.getLogger(__name__)

_NAME = re.compile(r"state-(\d+)-([0-9a-f]{16})\.pt")


class CheckpointFolder:
    """The newest few states, and `best.pt`, the weights that were best on val.

    Args:
        folder: made when something is saved.
        identity: of what is trained; a state of something else is refused.
        keep: states that are kept.
        seconds: from one state to the next.
    """

    def __init__(
        self, folder: Path, identity: Mapping[str, str], *, keep: int = 2, seconds: float = 60.0
    ) -> None:
        self.folder, self.best = folder, folder / BEST
        self.identity = dict(identity)
        self.keep, self.seconds = keep, seconds
        self._saved = time.monotonic()
        self._damaged: set[Path] = set()

    @property
    def states(self) -> list[Path]:
        """Files of states, the newest first."""
        found = [path for path in self.folder.glob("state-*.pt") if _NAME.fullmatch(path.name)]
        return sorted(found, key=_number, reverse=True)

    @property
    def model(self) -> Path:
        """Where the best model is saved, whole with its description, before it is logged."""
        return self.folder / "model"

    def due(self) -> bool:
        """Whether it is time for another state."""
        return time.monotonic() - self._saved >= self.seconds

    def save(self, state: Mapping[str, object]) -> None:
        """Save a training state, of several processes by the first one; older ones than the last few go."""
        if group().main:
            new = self.folder / "new.pt"
            states = [path for path in self.states if path not in self._damaged]
            whole = {"identity": self.identity, **state}
            write_whole(new, lambda beside: torch.save(whole, beside), like=states[0] if states else None)
            number = 1 + max((_number(path) for path in self.states), default=0)
            new.replace(self.folder / f"state-{number:06d}-{_digest(new)}.pt")
            for old in (*self._damaged, *states[self.keep - 1 :], *self._halves):
                old.unlink(missing_ok=True)
            self._damaged.clear()
        self._saved = time.monotonic()

    def load(self) -> dict[str, Any] | None:
        """The newest state that is whole, None if there is no state. Those that are not are told of.

        Raises:
            CheckpointError: no state is whole, or it is of another training.
        """
        states = self.states
        for path in states:
            if (state := self._read(path)) is None:
                continue
            if state.get("identity") != self.identity:
                raise CheckpointError(
                    f"{path}: of another configuration ({state.get('identity')}, wanted {self.identity}); "
                    "leave out --resume to start anew"
                )
            return state
        if states:
            raise CheckpointError(
                f"{self.folder}: damaged, none of its {len(states)} states is whole; leave out --resume to "
                "start anew"
            )
        return None

    def clear(self) -> None:
        """Remove all states: what is trained from here on has nothing to do with them."""
        if group().main:
            for path in (*self.states, *self._halves):
                path.unlink(missing_ok=True)
        barrier()

    def adopt(self, former: CheckpointFolder) -> None:
        """Go on from the newest state of another folder, in place of those here, and its best weights.

        A folder of the same name is of the same training: what is here then is as good.
        """
        if group().main and not (former.folder.name == self.folder.name and self.states):
            state = next((state for path in former.states if (state := former._read(path)) is not None), None)
            for path in self.states:
                path.unlink(missing_ok=True)
            if state is not None:
                self.save({**state, "identity": self.identity})
                if former.best.exists():
                    write_whole(self.best, lambda beside: shutil.copyfile(former.best, beside))
        barrier()

    @property
    def _halves(self) -> list[Path]:
        """What processes that were killed had begun to write."""
        return list(self.folder.glob(".*.part"))

    def _read(self, path: Path) -> dict[str, Any] | None:
        """The state in a file, None if it is not as it was written, which is told."""
        with contextlib.suppress(OSError, CheckpointError):
            if _digest(path) == _NAME.fullmatch(path.name)[2]:  # type: ignore[index]
                return load_state(path)
        log.warning("%s: damaged, it is not what was written; the state before it is used", path)
        self._damaged.add(path)
        return None


def _number(path: Path) -> int:
    return int(path.name.split("-")[1])


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
