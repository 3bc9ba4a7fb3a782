"""Being told to stop by a signal: held back until nothing is lost by it, or made an exception."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from litemkd.errors import Terminated
from litemkd.runtime.distributed import group

SIGNALS = (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM))


class Stop:
    """The signals of a block of `held_back`.

    Attributes:
        told: a signal has come. What it does (raise `KeyboardInterrupt`, `Terminated`, …) is done by `take`.
            Others after it do nothing (schedulers repeat themselves), but Ctrl-C is taken at once.
    """

    def __init__(self) -> None:
        self.told = False
        self._handlers: dict[int, Callable[[int, FrameType | None], Any]] = {}
        self._waiting: tuple[int, FrameType | None] | None = None
        self._at_once = False

    def take(self) -> None:
        """Do what the signal does that was held back, if one was."""
        if self._waiting is not None:
            (signum, frame), self._waiting = self._waiting, None
            self._handlers[signum](signum, frame)

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """Hold nothing back in this block, which may be left anywhere."""
        self._at_once = True
        try:
            self.take()
            yield
        finally:
            self._at_once = False

    def _come(self, signum: int, frame: FrameType | None) -> None:
        again, self.told = self.told, True
        if again and signum != signal.SIGINT:
            return
        self._waiting = signum, frame
        if again or self._at_once:
            self.take()


@contextlib.contextmanager
def held_back() -> Iterator[Stop]:
    """Hold back SIGINT, SIGTERM and SIGHUP, those that do something other than end the process.

    Not where several processes train: the others would wait in vain for one that stops a step later.
    """
    stop, before = Stop(), {}
    if threading.current_thread() is threading.main_thread() and group().size == 1:
        for signum in dict.fromkeys(SIGNALS):
            handler = signal.getsignal(signum)
            if callable(handler):
                stop._handlers[signum] = handler
                before[signum] = signal.signal(signum, stop._come)
    try:
        yield stop
    finally:
        for signum, was in before.items():
            signal.signal(signum, was)


@contextlib.contextmanager
def signals_end_the_block() -> Iterator[None]:
    """Let SIGTERM and SIGHUP raise `Terminated` in the main thread, where nobody else handles them."""
    owner = os.getpid()

    def end(signum: int, frame: FrameType | None) -> None:
        if os.getpid() == owner:
            raise Terminated(signum)
        signal.signal(signum, signal.SIG_DFL)  # a forked worker dies of it as ever
        os.kill(os.getpid(), signum)

    taken = []
    if threading.current_thread() is threading.main_thread():
        for signum in SIGNALS[1:]:
            if signal.getsignal(signum) is signal.SIG_DFL:
                signal.signal(signum, end)
                taken.append(signum)
    try:
        yield
    finally:
        for signum in taken:
            signal.signal(signum, signal.SIG_DFL)
