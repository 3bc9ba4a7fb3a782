"""How far long work is: one status line in a terminal, and where there is none a plain line now and then.

A line tells what is done and what is left, how long that takes, what came out so far, and what comes next. In a
log file every redrawing would stay, so there it is one line in ten seconds at most, of all work together.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from tqdm import tqdm

SPACING = 10.0  # seconds between two plain lines
_BAR = "{desc}: {percentage:3.0f}% |{bar:16}| {n_fmt}/{total_fmt} {unit}s, {remaining} left{postfix}{then}"


class _Told:
    """What this process has told: when it told its last plain line, and what waits for the next one."""

    last = -SPACING
    waits: tuple[str, ...] = ()
    lock = threading.Lock()
    steps: tuple[str, ...] = ()  # of the work, in their order


@contextlib.contextmanager
def steps(names: Sequence[str]) -> Iterator[None]:
    """The work inside is of these steps: labels of their bars begin so, and each tells which comes next."""
    before, _Told.steps = _Told.steps, tuple(names)
    try:
        yield
    finally:
        _Told.steps = before


class Bar(tqdm):
    """A tqdm whose lines are as this module says; it takes what tqdm takes."""

    def __init__(self, iterable: Iterable[Any] | None = None, **options: Any) -> None:
        if os.environ.get("TQDM_DISABLE"):  # now: tqdm itself looks when it is imported
            options["disable"] = True
        self.plain = not sys.stderr.isatty()
        self.then = _following(options.get("desc") or "")
        if self.plain:
            options |= {"file": io.StringIO(), "mininterval": 0.5}  # what a terminal is told goes nowhere
        super().__init__(iterable, dynamic_ncols=True, bar_format=_BAR, **options)

    @property
    def format_dict(self) -> dict[str, Any]:
        """What a line is made of."""
        return {**super().format_dict, "then": self.then}

    def state(self, words: str) -> None:
        """Say how it stands, at the line's end; it is told when the line is told next."""
        self.set_postfix_str(words, refresh=False)

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Show the line, or in a log file tell it if it is time to."""
        if not self.plain:
            super().display(msg, pos)
        elif self.n > self.initial:
            _tell(self._words())

    def close(self) -> None:
        """End it. A log file is told how long work ended, with the next line if it is too early for one."""
        if self.plain and not self.disable and self.format_dict["elapsed"] >= SPACING:
            _tell(self._words(), keep=True)
        super().close()

    def _words(self) -> str:
        about = self.format_dict
        total = f" of {self.total}" if self.total else ""
        words = f"{self.desc}: {self.n}{total} {self.unit}s"
        if self.total and self.n >= self.total:
            words += f" in {tqdm.format_interval(about['elapsed'])}"
        elif self.total and self.n > self.initial:
            left = (self.total - self.n) * about["elapsed"] / (self.n - self.initial)
            words += f", {tqdm.format_interval(left)} left"
        return words + (f", {self.postfix}" if self.postfix else "") + self.then


def _following(label: str) -> str:
    """In words: the step after the one whose bar has this label."""
    for place, name in enumerate(_Told.steps[:-1]):
        if label.startswith(name):
            return f"; then {_Told.steps[place + 1]}"
    return ""


def _tell(line: str, *, keep: bool = False) -> None:
    """Write a plain line, with those that wait; if it is too early, let it wait (`keep`) or forget it."""
    with _Told.lock:
        if time.monotonic() - _Told.last < SPACING:
            _Told.waits += (line,) * keep
            return
        _Told.last = time.monotonic()
        told, _Told.waits = (*_Told.waits, line), ()
    sys.stderr.write(" | ".join(told) + "\n")
    sys.stderr.flush()
