"""What a work is: two sides that do the same, and what is to come out of timing them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.sizes import Sizes


class BenchmarkError(Exception):
    """A side that failed, or two sides that do not give the same answer."""


@dataclass(frozen=True)
class Setting:
    """What a side is made with: the folder of made-up data, threads, `cpu` or `cuda`, and sizes."""

    folder: Path
    threads: int
    device: str
    sizes: Sizes


@dataclass(frozen=True)
class Part:
    """Something that is timed, given the number of the repetition; it counts `times` times."""

    run: Callable[[int], object]
    times: float = 1.0


def _nothing() -> None:
    """Of a side that leaves nothing behind."""


@dataclass(frozen=True)
class Side:
    """One way to do a work: its answer to a question that both sides are asked, and what is timed."""

    answer: Callable[[], Mapping[str, Any]]
    parts: tuple[Part, ...]
    close: Callable[[], None] = _nothing


@dataclass(frozen=True)
class Work:
    """A work and what it is to show.

    Attributes:
        name, what: for people.
        ours, published: make the sides; functions at the top of a module.
        measured: what was measured and what was computed from it.
        at_least: the ratio published / ours that is asked for.
        at_most: the value of ours that is asked for.
        tolerance: of the answers, as a share of the range of the published one's numbers; 0: the same bits.
        unit: `s`: the parts are timed. Anything else: the one part returns the value.
        repetitions, warm_up: of each side.
        when_named: it takes minutes, so it is run only when it is asked for by name.
    """

    name: str
    what: str
    ours: Callable[[Setting], Side]
    published: Callable[[Setting], Side]
    measured: str
    at_least: float | None = None
    at_most: float | None = None
    tolerance: float = 0.0
    unit: str = "s"
    repetitions: int = 5
    warm_up: int = 1
    when_named: bool = False


@dataclass(frozen=True)
class Measured:
    """A side's values by repetition, and what its process took.

    Attributes:
        values: in the work's unit.
        peak_mib: largest resident memory of the process; pages of a mapped pack are among it.
        gpu_percent: how busy the GPU was, None without one.
        peak_share: FLOPs a second as a share of a large matrix product's, None without a GPU.
    """

    values: tuple[float, ...]
    peak_mib: float
    gpu_percent: float | None = None
    peak_share: float | None = None

    @property
    def median(self) -> float:
        """The middle value."""
        return statistics.median(self.values)


@dataclass(frozen=True)
class Result:
    """What came out of a work."""

    work: Work
    ours: Measured
    published: Measured

    @property
    def ratio(self) -> float:
        """How many times the published way's value is that of ours."""
        return self.published.median / self.ours.median

    @property
    def reached(self) -> bool:
        """Whether the work shows what it is to show."""
        enough = self.work.at_least is None or self.ratio >= self.work.at_least
        return enough and (self.work.at_most is None or self.ours.median <= self.work.at_most)
