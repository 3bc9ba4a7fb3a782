"""Eight bits for a graph's weights and for what flows between its layers, by ranges found on clips of train.

How is measured on other clips, not chosen: whether each channel of a weight has a scale of its own (which
helps most networks, and is known to ruin some), whether ranges reach to the largest number that was seen or
leave out one in 100,000 or in 10,000 (a few large ones make the steps coarse for all others), and which layers
do most harm. These stay in float32, worst first, until what comes out is near enough (Nagel et al., A white
paper on neural network quantization, 2021). Near means that features resemble one another as they did, since a
head compares them.
"""

from __future__ import annotations

import io
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from litemkd_runtime.engines import Graph, load_graph

from litemkd.data.packs.clips import ClipSource
from litemkd.errors import DataError, ExportError
from litemkd.runtime.progress import Bar

ALL = 100.0  # per cent of what flows
NEAR = 0.02  # of `lost`: no layer has to stay in float32
FAR = 0.25  # of `lost`: beyond it nothing is written
MOST_ROWS = 1024  # features that are compared with one another
MOST_KEPT = 8  # layers in float32
RANKED, RANKED_ON = 80, 4  # layers that are tried one by one, spread evenly, on a clip in so many
CALIBRATED, LEAST = 64, 16  # clips that ranges are found on, and the fewest that do
HELD_OUT = 32  # clips that ways are compared on
Runs = Sequence[Mapping[str, np.ndarray]]  # what goes into a graph, by name of the input, run after run


@dataclass(frozen=True)
class Way:
    """A way to make eight bits.

    Attributes:
        per_channel: whether each channel of a weight has a scale of its own.
        share: of what flows that ranges hold, per cent; the largest numbers are left out.
        kept: names of layers that stay in float32.
        rough: near enough to see which layers are worst, where that takes less time: with ranges of one run in
            `RANKED_ON`.
    """

    per_channel: bool
    share: float = ALL
    kept: tuple[str, ...] = ()
    rough: bool = False

    def __str__(self) -> str:
        """How weights and ranges are taken, in words."""
        held = f", {self.share:g} %" if self.share < ALL else ""
        return f"per {'channel' if self.per_channel else 'tensor'}{held}"


class Tool(Protocol):
    """What makes a graph's eight bits, for one runtime.

    Attributes:
        runtime: that runs what is made.
        layers: names of the layers with weights.
        shares: of what flows that ranges can be had for, per cent, such as (100.0, 99.999).
    """

    runtime: str
    layers: Sequence[str]
    shares: Sequence[float]

    def write(self, target: Path, way: Way) -> None:
        """Write the graph in eight bits."""


@dataclass(frozen=True)
class Examples:
    """Clips (V, T, H, W, 3) uint8.

    Attributes:
        calibration: that ranges are found on.
        held_out: others, that ways are compared on.
    """

    calibration: np.ndarray
    held_out: np.ndarray

    @classmethod
    def of(cls, train: ClipSource, val: ClipSource) -> Examples:
        """Clips spread evenly over train and over val. DataError: train has too few."""
        if (found := len(train.split.videos)) < LEAST:
            raise DataError(
                f"--precision int8: train has {found} clips; {LEAST} or more, to find ranges on, would "
                "do, or --precision float16"
            )
        return cls(_spread(train, CALIBRATED), _spread(val, HELD_OUT))


@dataclass(frozen=True)
class Quantised:
    """How a graph was quantised.

    Attributes:
        per_channel: whether each channel of a weight has a scale of its own.
        share: of what flows that ranges hold, per cent.
        kept: names of layers in float32.
        lost: see `share_lost`, on clips that no range was found with.
        measured: the same of each way that was tried.
    """

    per_channel: bool
    share: float
    kept: tuple[str, ...]
    lost: float
    measured: Mapping[str, float]

    def described(self) -> dict[str, Any]:
        """As `model.json` has it."""
        return asdict(self) | {"kept": list(self.kept)}


def missing(error: ImportError, asked: str = "--precision int8", extra: str = "int8") -> ExportError:
    """What is told where a package is not installed that an option needs, and an extra brings."""
    return ExportError(
        f'{asked}: needs {error.name}, which is missing; `pip install "litemkd[{extra}]"` would do'
    )


def quantise(tool: Tool, target: Path, original: Graph, held_out: Runs, *, near: float = NEAR) -> Quantised:
    """Write a graph in eight bits, the best way there is.

    Args:
        tool: that writes it.
        target: the file.
        original: the same in float32.
        held_out: what ways are compared on.
        near: how little may be lost before layers stay in float32.

    Raises:
        ExportError: too much is lost, whatever stays in float32.
    """
    wanted = _outputs(original, held_out)
    measured: dict[str, float] = {}

    def tried(way: Way, runs: Runs = held_out, wanted: Sequence[np.ndarray] = wanted) -> float:
        with quiet():
            tool.write(target, way)
        return share_lost(wanted, _outputs(load_graph(target, tool.runtime), runs))

    by_way = {way: tried(way) for share in tool.shares for way in (Way(True, share), Way(False, share))}
    measured |= {str(way): lost for way, lost in by_way.items()}
    chosen = min(by_way, key=lambda way: (math.isnan(by_way[way]), by_way[way]))
    best = by_way[chosen]
    if best > near:
        every = list(tool.layers)
        ranked = every[:: -(-len(every) // RANKED)] if every else []
        few = held_out[::RANKED_ON]  # to see which are worst
        wanted_of_few = _outputs(original, few)
        alone = {one: tuple(other for other in every if other != one) for one in ranked}
        harm = {
            one: tried(replace(chosen, kept=alone[one], rough=True), few, wanted_of_few)
            for one in Bar(ranked, desc="layers in eight bits, one by one", unit="layer", total=len(ranked))
        }
        worst = sorted(ranked, key=lambda one: -harm[one])
        for count in range(1, min(MOST_KEPT, len(worst)) + 1):
            way = replace(chosen, kept=tuple(worst[:count]))
            lost = measured[f"{count} in float32"] = tried(way)
            if lost < best:
                best, chosen = lost, way
            if best <= near:
                break
    if not best <= FAR:  # NaN is refused, too
        raise ExportError(
            f"graph `{target.stem}` in int8: loses {best:.0%} of what tells clips apart, with "
            f"{len(chosen.kept)} layers in float32; at most {FAR:.0%} would do. --precision float16 or another "
            "backbone would do. Nothing was written"
        )
    with quiet():
        tool.write(target, chosen)
    return Quantised(chosen.per_channel, chosen.share, chosen.kept, best, measured)


def _spread(clips: ClipSource, most: int) -> np.ndarray:
    total = len(clips.split.videos)
    return clips.pixels(np.linspace(0, total - 1, min(most, total)).round().astype(np.int64))


def share_lost(wanted: Sequence[np.ndarray], found: Sequence[np.ndarray]) -> float:
    """How much less features resemble one another as they should; 0 is none lost.

        1/n sum over kinds of the mean of (s' - s)^2 / the variance of s

    over the cosines s of all pairs of rows wanted, and s' of those found. A plain squared difference would be
    that of the few largest numbers.

    Args:
        wanted: features (N, D), of each kind.
        found: the same, rounded.
    """
    lost = []
    for one, other in zip(wanted, found, strict=True):
        should, does = _cosines(one), _cosines(other)
        lost.append(np.square(should - does).mean() / max(should.var(), 1e-30))
    return float(np.mean(lost))


def _cosines(rows: np.ndarray) -> np.ndarray:
    """Of all pairs of different rows (N, D): (N (N - 1) / 2,)."""
    sized = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-30)
    return (sized @ sized.T)[np.triu_indices(len(rows), 1)]


def _outputs(graph: Graph, runs: Runs) -> list[np.ndarray]:
    """What comes out of frames or clips, by output, as rows of its last axis: (N, D), at most `MOST_ROWS`."""
    outputs = [np.concatenate(one) for one in zip(*(graph(one) for one in runs), strict=True)]
    rows = [one.reshape(-1, one.shape[-1]).astype(np.float64) for one in outputs]
    return [one[:: -(-len(one) // MOST_ROWS)] for one in rows]


@contextmanager
def quiet() -> Iterator[None]:
    """Without the advice that quantisers log and print for each file."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)
