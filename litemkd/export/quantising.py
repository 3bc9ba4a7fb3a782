"""Eight bits for a graph's weights and for what flows between its layers, by ranges found on clips of train.

How is measured on other clips, not chosen: whether each channel of a weight has a scale of its own (which helps
most networks, and is known to ruin some), and which layers do most harm. These stay in float32, worst first,
until what comes out is near enough (Nagel et al., A white paper on neural network quantization, 2021).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from litemkd_runtime.engines import Graph, load_graph

from litemkd.data.packs.clips import ClipSource
from litemkd.errors import DataError, ExportError
from litemkd.runtime.progress import Bar

NEAR = 0.05  # of `lost`: no layer has to stay in float32
FAR = 0.25  # of `lost`: beyond it nothing is written
MOST_KEPT = 8  # layers in float32
RANKED, RANKED_ON = 80, 4  # layers that are tried one by one, spread evenly, on a clip in so many
CALIBRATED, LEAST = 64, 16  # clips that ranges are found on, and the fewest that do
HELD_OUT = 32  # clips that ways are compared on
Runs = Sequence[Mapping[str, np.ndarray]]  # what goes into a graph, by name of the input, run after run


class Tool(Protocol):
    """What makes a graph's eight bits, for one runtime.

    Attributes:
        runtime: that runs what is made.
        layers: names of the layers with weights.
    """

    runtime: str
    layers: Sequence[str]

    def write(self, target: Path, *, per_channel: bool, kept: Sequence[str] = (), rough: bool = False) -> None:
        """Write the graph in eight bits, layers `kept` in float32.

        `rough`: near enough to see which layers are worst, where that takes less time: with ranges of one run
        in `RANKED_ON`.
        """


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
        kept: names of layers in float32.
        lost: squared difference to what comes out in float32, as a share of its variance, on clips that no
            range was found with.
        measured: the same of each way that was tried.
    """

    per_channel: bool
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

    def tried(runs: Runs = held_out, wanted: np.ndarray = wanted, **way: Any) -> float:
        with quiet():
            tool.write(target, **way)
        return share_lost(wanted, _outputs(load_graph(target, tool.runtime), runs))

    by_way = {way: tried(per_channel=way) for way in (True, False)}
    measured |= {"per channel" if way else "per tensor": lost for way, lost in by_way.items()}
    per_channel = by_way[True] <= by_way[False]
    best, kept = by_way[per_channel], list[str]()
    if best > near:
        every = list(tool.layers)
        ranked = every[:: -(-len(every) // RANKED)] if every else []
        few = held_out[::RANKED_ON]  # to see which are worst
        wanted_of_few = _outputs(original, few)
        harm = {
            one: tried(
                few,
                wanted_of_few,
                per_channel=per_channel,
                kept=[other for other in every if other != one],
                rough=True,
            )
            for one in Bar(ranked, desc="layers in eight bits, one by one", unit="layer", total=len(ranked))
        }
        worst = sorted(ranked, key=lambda one: -harm[one])
        for count in range(1, min(MOST_KEPT, len(worst)) + 1):
            lost = tried(per_channel=per_channel, kept=worst[:count])
            measured[f"{count} in float32"] = lost
            if lost < best:
                best, kept = lost, worst[:count]
            if best <= near:
                break
    if not best <= FAR:  # NaN is refused, too
        raise ExportError(
            f"graph `{target.stem}` in int8: loses {best:.0%} of what tells clips apart, with {len(kept)} "
            f"layers in float32; at most {FAR:.0%} would do. --precision float16 or another backbone would do. "
            "Nothing was written"
        )
    with quiet():
        tool.write(target, per_channel=per_channel, kept=kept)
    return Quantised(per_channel, tuple(kept), best, measured)


def _spread(clips: ClipSource, most: int) -> np.ndarray:
    total = len(clips.split.videos)
    return clips.pixels(np.linspace(0, total - 1, min(most, total)).round().astype(np.int64))


def share_lost(wanted: np.ndarray, found: np.ndarray) -> float:
    """Squared difference of rows (N, D) to those wanted, as a share of these' variance; 0 is none lost."""
    apart = np.square(wanted - found).sum()
    return float(apart / max(np.square(wanted - wanted.mean(0)).sum(), 1e-30))


def _outputs(graph: Graph, runs: Runs) -> np.ndarray:
    """All that comes out of frames or clips, a row each: (N, D)."""
    outputs = [np.concatenate(one) for one in zip(*(graph(one) for one in runs), strict=True)]
    return np.concatenate([one.reshape(len(one), -1) for one in outputs], 1).astype(np.float64)


@contextmanager
def quiet() -> Iterator[None]:
    """Without the advice that quantisers log for each file."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
