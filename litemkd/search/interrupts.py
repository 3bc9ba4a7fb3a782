"""Being told to stop: taken at once in training, and only afterwards where the study's storage is written."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType


class Interrupts:
    """SIGINT and SIGTERM of this process. An interrupted write would leave the storage's lock behind.

    Attributes:
        pending: the process was told to stop.
    """

    def __init__(self) -> None:
        self.pending = False
        self._open = False
        for signum in (signal.SIGINT, signal.SIGTERM):
            signal.signal(signum, self._on_signal)

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        first, self.pending = not self.pending, True
        if self._open and first:
            self._open = False
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def taken(self, at_once: bool) -> Iterator[None]:
        """Whether being told to stop raises KeyboardInterrupt in the block, or after it as soon as one may."""
        before, self._open = self._open, at_once
        try:
            if at_once and self.pending:
                raise KeyboardInterrupt
            yield
        finally:
            self._open = before and not self.pending
        if before and self.pending:
            raise KeyboardInterrupt
