"""Two sides of a work, each in a process of its own, that take turns: medians, their ratio, peak memory.

A process makes its side, gives its answer, and runs when it is told to. The answers of both sides are compared
before anything is timed.
"""

from __future__ import annotations

import multiprocessing
import re
import resource
import time
import traceback
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.work import BenchmarkError, Measured, Part, Result, Setting, Side, Work


def measure(work: Work, setting: Setting) -> Result:
    """Run both sides in turns.

    Raises:
        BenchmarkError: a side failed, or the answers differ.
    """
    sides = [_Process(work, which, setting) for which in ("published", "ours")]
    try:
        published, ours = sides
        compare(published.receive(), ours.receive(), work.tolerance, work.name)
        for number in range(-work.warm_up, work.repetitions):
            for side in sides:
                side.run(max(number, 0), keep=number >= 0)
        theirs, mine = published.finish(), ours.finish()
        return Result(work, mine, theirs)
    finally:
        for side in sides:
            side.end()


def compare(published: Mapping[str, Any], ours: Mapping[str, Any], tolerance: float, name: str) -> None:
    """Check that two answers are the same.

    Raises:
        BenchmarkError: they are not.
    """
    if published.keys() != ours.keys():
        raise BenchmarkError(f"{name}: answers of {sorted(published)} and of {sorted(ours)}")
    for key, theirs in published.items():
        one, other = np.asarray(theirs), np.asarray(ours[key])
        if one.shape != other.shape:
            raise BenchmarkError(f"{name}: {key} is {one.shape} as published and {other.shape} here")
        if tolerance == 0:
            same = np.array_equal(one, other)
        else:
            same = bool(np.abs(one - other).max() <= tolerance * np.ptp(one))
        if not same:
            difference = np.abs(one.astype(float) - other).max()
            raise BenchmarkError(f"{name}: {key} differs by {difference:g} in a range of {np.ptp(one):g}")


class _Process:
    """The process of one side, as its parent sees it."""

    def __init__(self, work: Work, which: str, setting: Setting) -> None:
        context = multiprocessing.get_context("spawn")
        self.title = f"{work.name}, {which}"
        self.connection, other = context.Pipe()
        factory = getattr(work, which)
        self.process = context.Process(target=_serve, args=(other, factory, setting, work.unit == "s"))
        self.process.start()
        other.close()
        self.values: list[float] = []

    def receive(self) -> Any:
        """The next message."""
        try:
            kind, content = self.connection.recv()
        except EOFError:
            raise BenchmarkError(f"{self.title}: the process ended ({self.process.exitcode})") from None
        if kind == "error":
            raise BenchmarkError(f"{self.title}:\n{content}")
        return content

    def run(self, number: int, *, keep: bool) -> None:
        """Do the work once."""
        self.connection.send(number)
        value = self.receive()
        if keep:
            self.values.append(value)

    def finish(self) -> Measured:
        """Stop and tell."""
        self.connection.send(None)
        return Measured(tuple(self.values), **self.receive())

    def end(self) -> None:
        """Let the process end, which closes what its side opened."""
        self.connection.close()
        self.process.join(30)
        if self.process.is_alive():
            self.process.terminate()
            self.process.join()


def _serve(connection: Connection, factory: Callable[[Setting], Side], setting: Setting, timed: bool) -> None:
    """The life of a side's process."""
    side = None
    try:
        side = factory(setting)
        connection.send(("answer", {key: np.asarray(value) for key, value in side.answer().items()}))
        timer = None
        if setting.device == "cuda" and timed:
            from benchmarks.gpu import GpuTimer

            timer = GpuTimer(side.parts)
        while (number := connection.recv()) is not None:
            values = [
                part.times * (_seconds(part, number, timer) if timed else _value(part, number))
                for part in side.parts
            ]
            connection.send(("value", sum(values)))
        used = {} if timer is None else timer.summary()
        connection.send(("end", {"peak_mib": peak_mib(), **used}))
    except EOFError:  # the other side failed, and the parent gave up
        pass
    except Exception:
        connection.send(("error", traceback.format_exc()))
    finally:
        if side is not None:
            side.close()


def _seconds(part: Part, number: int, timer: Any) -> float:
    if timer is not None:
        return float(timer.seconds(part, number))
    begun = time.perf_counter()
    part.run(number)
    return time.perf_counter() - begun


def _value(part: Part, number: int) -> float:
    value = part.run(number)
    assert isinstance(value, float)
    return value


def peak_mib() -> float:
    """Largest resident memory of this process so far, MiB."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage starts with the parent's peak on Linux
        found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
        if found:
            return int(found.group(1)) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
