"""Naming clips from a few examples of each class, with the graphs of an exported student."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from litemkd_runtime.engines import Graph, load_graph
from litemkd_runtime.errors import RecogniserError
from litemkd_runtime.exported import CLIPS, CODES, FEATURES, MATCH, Exported, open_exported
from litemkd_runtime.reading import crops_of, read_crops, sample_times

Code = tuple[np.ndarray, ...]  # of clips: tensors whose first axis is theirs
Clip = str | Path | np.ndarray  # a file, a folder of pictures, or frames (n, H, W, 3) uint8 RGB
AT_ONCE = 8  # clips, or frames, through a network
MATCHED_AT_ONCE = 32  # queries


class Recogniser:
    """An exported student, and the classes that it has learned.

    Attributes:
        about: what `model.json` says.
        classes: names of the classes, in the order in which they were learned.

    Args:
        folder: that `litemkd export` has written.
        threads: of the CPU that a run of the network may use; all of them when not given.

    Raises:
        RecogniserError: no exported folder, one that was changed, or a runtime that is not installed.
    """

    def __init__(self, folder: Path | str | Exported, *, threads: int | None = None) -> None:
        self.exported = folder if isinstance(folder, Exported) else open_exported(folder)
        self.about = self.exported.about
        runtime = str(self.about["runtime"])
        self._graphs: dict[str, Graph] = {
            name: load_graph(self.exported.file(name), runtime, threads) for name in self.about["graphs"]
        }
        self._at_once = int((self.about.get("most") or {}).get("clips", AT_ONCE))
        self._supports: dict[str, Code] = {}
        self._table: tuple[np.ndarray, Code] | None = None

    # What the network sees

    @property
    def frame_by_frame(self) -> bool:
        """Whether single frames have features, see `features`."""
        return self.exported.frame_by_frame

    def crops(self, clip: Clip) -> np.ndarray:
        """What the network sees of a clip: T frames, (T, crop, crop, 3) uint8 RGB.

        Raises:
            RecogniserError: a clip that cannot be read, with too few or too small frames.
        """
        about = self.exported
        if not isinstance(clip, np.ndarray):
            return read_crops(clip, about.frames, about.short_side, about.crop)
        if clip.ndim != 4 or clip.shape[-1] != 3 or clip.dtype != np.uint8:
            raise RecogniserError(
                f"a clip: {clip.dtype} {clip.shape} given; uint8 (frames, height, width, 3) would do"
            )
        if len(clip) < about.frames:
            raise RecogniserError(f"a clip: {len(clip)} frames given; {about.frames} or more would do")
        frames = [clip[time] for time in sample_times(len(clip), about.frames)]
        return crops_of(frames, about.short_side, about.crop)

    # Codes

    def features(self, frames: np.ndarray) -> np.ndarray:
        """Features of single frames (N, crop, crop, 3), (N, …); where the network is `frame_by_frame`.

        Raises:
            RecogniserError: it looks at whole clips.
        """
        if not self.frame_by_frame:
            raise RecogniserError(
                f"{self.exported.folder}: this student looks at whole clips ({self.about['temporal']}), single "
                "frames have no features; `encode` of clips would do"
            )
        return np.concatenate(
            [self._run(FEATURES, {"frames": part})[0] for part in _parts(frames, self._at_once)]
        )

    def codes(self, features: np.ndarray) -> Code:
        """Codes of clips by the features of their T frames, (V, T, …)."""
        return _joined(
            [tuple(self._run(CODES, {"features": part})) for part in _parts(features, self._at_once)]
        )

    def encode(self, clips: np.ndarray) -> Code:
        """Codes of clips (V, T, crop, crop, 3) uint8, see `crops`."""
        if not self.frame_by_frame:
            return _joined([tuple(self._run(CLIPS, {"clips": part})) for part in _parts(clips, 1)])
        features = self.features(clips.reshape(-1, *clips.shape[2:]))
        return self.codes(features.reshape(*clips.shape[:2], *features.shape[1:]))

    def encode_clips(self, clips: Sequence[Clip]) -> Code:
        """Codes of clips, read one after another."""
        return _joined([self.encode(self.crops(clip)[None]) for clip in clips])

    # Classes

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in the order of `logits`."""
        return tuple(self._supports)

    def learn(self, classes: Mapping[str, Sequence[Clip]]) -> Recogniser:
        """Learn classes from examples of each; one that is known gets these in the place of its others.

        Raises:
            RecogniserError: a class without an example, or a clip that cannot be read.
        """
        for name, clips in classes.items():
            if not clips:
                raise RecogniserError(f"class {name!r}: no clips given; one or more would do")
        return self.learn_codes({name: self.encode_clips(clips) for name, clips in classes.items()})

    def learn_codes(self, classes: Mapping[str, Code]) -> Recogniser:
        """Learn classes from the codes of their examples, see `encode`."""
        self._supports |= classes
        self._table = None
        return self

    def forget(self, name: str) -> None:
        """Unlearn a class."""
        self._supports.pop(name, None)
        self._table = None

    # Answers

    def match(self, query: Code) -> np.ndarray:
        """Logits (Q, W) of the classes for the codes of clips.

        Raises:
            RecogniserError: fewer than two classes were learned, or not as many as the graph is for.
        """
        if self._table is None:
            self._table = self._made_table()
        present, support = self._table
        parts = zip(*(_parts(x, MATCHED_AT_ONCE) for x in query), strict=True)
        found = [self.match_table(present, support, tuple(x[None] for x in part))[0] for part in parts]
        return np.concatenate(found)

    def match_table(self, present: np.ndarray, support: Code, query: Code) -> np.ndarray:
        """Logits (B, Q, W) of several episodes at once, whatever classes were learned.

        Args:
            present: (B, W, K), which of the K places of each class are taken.
            support: codes (B, W, K, …).
            query: codes (B, Q, …).

        Raises:
            RecogniserError: more classes or examples than the graph is for.
        """
        if (most := self.about.get("most")) is None:
            return self._matched(present, support, query)
        _, way, shot = present.shape
        for what, asked, limit in (("classes", way, most["way"]), ("examples a class", shot, most["shot"])):
            if asked > limit:
                raise RecogniserError(
                    f"{what}: {asked} given; at most {limit}, which the model was exported for, would do, "
                    "or an export with --way and --shot"
                )
        # An episode at a time, and so many of its queries.
        logits = []
        for place in range(len(present)):
            here = slice(place, place + 1)
            held = tuple(x[here] for x in support)
            parts = zip(*(_parts(x[place], most["queries"]) for x in query), strict=True)
            found = [self._matched(present[here], held, tuple(x[None] for x in part)) for part in parts]
            logits.append(np.concatenate(found, 1))
        return np.concatenate(logits)

    def _matched(self, present: np.ndarray, support: Code, query: Code) -> np.ndarray:
        inputs = {"present": present}
        inputs |= {f"support_{i}": x for i, x in enumerate(support)}
        inputs |= {f"query_{i}": x for i, x in enumerate(query)}
        return self._run(MATCH, inputs)[0]

    def probabilities_of(self, query: Code) -> np.ndarray:
        """Probabilities (Q, W) of the classes for the codes of clips."""
        logits = self.match(query).astype(np.float64) / self._temperature()
        shares = np.exp(logits - logits.max(1, keepdims=True))
        return (shares / shares.sum(1, keepdims=True)).astype(np.float32)

    def probabilities(self, clip: Clip) -> dict[str, float]:
        """Probabilities of the classes for a clip, by name."""
        (row,) = self.probabilities_of(self.encode_clips([clip]))
        return dict(zip(self.classes, row.tolist(), strict=True))

    def name(self, clip: Clip) -> str:
        """The class of the highest probability for a clip."""
        found = self.probabilities(clip)
        return max(found, key=lambda one: found[one])

    def _temperature(self) -> float:
        """What logits are divided by so that probabilities come true: that of the nearest kind of episode."""
        known = (self.about.get("calibration") or {}).get("temperatures") or []
        shots = [len(code[0]) for code in self._supports.values()]
        way, shot = len(shots), max(1, round(sum(shots) / len(shots)))

        def distance(one: Mapping[str, float]) -> float:
            return abs(math.log(one["way"] / way)) + abs(math.log(one["shot"] / shot))

        return float(min(known, key=distance)["temperature"]) if known else 1.0

    def _made_table(self) -> tuple[np.ndarray, Code]:
        """The supports as the graph takes them: which places are taken, (1, W, K), and (1, W, K, …) codes."""
        codes = list(self._supports.values())
        if len(codes) < 2:
            raise RecogniserError(f"{len(codes)} classes learned; two or more would do, to choose between")
        shots = [len(code[0]) for code in codes]
        fixed = self.about["classes"]
        for what, found, wanted in (
            ("classes", [len(codes)], fixed["way"]),
            ("examples a class", sorted(set(shots)), fixed["shot"]),
        ):
            if wanted is not None and found != [wanted]:
                raise RecogniserError(
                    f"{what}: {', '.join(map(str, found))} given; {wanted}, which the model was exported for, "
                    "would do, or an export without the option"
                )
        most = max(shots)
        present = np.arange(most)[None] < np.array(shots)[:, None]
        # A place that is not taken holds the first example once more, which is not counted.
        rows = [[place if place < count else 0 for place in range(most)] for count in shots]
        support = tuple(
            np.stack([part[row] for part, row in zip(parts, rows, strict=True)])[None]
            for parts in zip(*codes, strict=True)
        )
        return present[None], support

    def _run(self, graph: str, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        return self._graphs[graph](inputs)


def _parts(rows: np.ndarray, at_once: int) -> list[np.ndarray]:
    return [rows[start : start + at_once] for start in range(0, len(rows), at_once)]


def _joined(codes: Sequence[Code]) -> Code:
    return tuple(np.concatenate(parts) for parts in zip(*codes, strict=True))
