"""What a person has before them while a stream is watched: lines, JSON, an overlay where there is a display."""

from __future__ import annotations

import contextlib
import json
import os
import select
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import cv2
import numpy as np

from litemkd_runtime.errors import RecogniserError
from litemkd_runtime.live import NONE, Segment, Segments, clock
from litemkd_runtime.segment_files import write_segments
from litemkd_runtime.streams import PIPE, Stream
from litemkd_runtime.watching import Engine, Examples, Pace, Seen, Watcher


@dataclass(frozen=True)
class Asked:
    """What is to be watched, and what to make of it.

    Attributes:
        source: see `Stream`.
        support: clips of each class, by its name.
        enrolled: file of examples that were taken with keys; read where it is there, and written.
        names: of the classes that the keys 1, 2, … take examples of.
        pace: how.
        as_json: a JSON line a decision; else a line where the name changes.
        show: an overlay window where there is a display.
        out: folder for segments.
    """

    source: str
    support: Mapping[str, Sequence[Path]] = field(default_factory=dict)
    enrolled: Path | None = None
    names: tuple[str, ...] = ()
    pace: Pace = field(default_factory=Pace)
    as_json: bool = False
    show: bool = True
    out: Path | None = None


@dataclass(frozen=True)
class Watched:
    """What came of it.

    Attributes:
        seconds: of the stream.
        frames, looked: that came, and that were looked at.
        dropped, reconnected: see `Stream`.
        speed: seconds of the stream a second.
        segments: found.
        files: written.
    """

    seconds: float
    frames: int
    looked: int
    dropped: int
    reconnected: int
    speed: float
    segments: tuple[Segment, ...]
    files: tuple[Path, ...]

    def words(self) -> str:
        """In a line."""
        again = f", {self.reconnected} times reconnected" if self.reconnected else ""
        return (
            f"{self.frames} frames in {self.seconds:.1f} s of the stream, {self.looked} looked at, "
            f"{self.dropped} dropped{again}, {self.speed:.1f} times its speed; {len(self.segments)} segments"
        )


def watch(engine: Engine, asked: Asked, out: IO[str], notes: IO[str]) -> Watched:
    """Watch a stream to its end, or to Ctrl-C or the key q.

    Args:
        engine: a student.
        asked: what to watch.
        out: takes decisions.
        notes: takes remarks.

    Raises:
        RecogniserError: what `asked` names is not there or will not do.
    """

    def note(line: str) -> None:
        print(f"note: {line}", file=notes, flush=True)

    examples = Examples(engine)
    examples.add_clips(asked.support)
    if asked.enrolled is not None and asked.enrolled.is_file():
        examples.load(asked.enrolled)
    if len(examples.windows) < 2 and not asked.names:
        found = ", ".join(examples.windows) or "none"
        raise RecogniserError(
            f"{len(examples.windows)} classes to tell apart ({found}); two or more folders of clips, or "
            "--names A,B with a key for each, would do"
        )
    if not engine.frame_by_frame:
        note("this student sees frames beside one another, so each window is encoded whole")
    stream = Stream(asked.source)
    watcher = Watcher(engine, stream, asked.pace, note)
    segments: list[Segment] = []
    made = Segments(segments.append, watcher.lead)
    if examples.teach():
        watcher.learned(tuple(examples.windows))
    last, begun = None, time.monotonic()
    with _keys(asked) as pressed, contextlib.suppress(KeyboardInterrupt):
        screen = _Screen(asked.show)
        for last in watcher:
            if last.decision is not None:
                made.add(last.decision)
                _tell(last, watcher, asked.as_json, out)
            key = screen.show(last) or pressed()
            if key == "q":
                break
            if key.isdecimal() and 0 < int(key) <= len(asked.names) and last.window is not None:
                name = asked.names[int(key) - 1]
                examples.add(name, last.window)
                note(f"{last.frame.time:.1f} s: example {len(examples.windows[name])} of {name}")
                if examples.teach():
                    watcher.learned(tuple(examples.windows))
                if asked.enrolled is not None:
                    examples.save(asked.enrolled)
    stream.close()
    made.close()
    if last is None:
        raise RecogniserError(f"{asked.source}: gave no frame")
    seconds, taken = last.frame.time, time.monotonic() - begun
    files = write_segments(asked.out, segments, asked.source, seconds) if asked.out is not None else []
    return Watched(
        seconds,
        last.frame.number + 1,
        watcher.looked,
        stream.dropped,
        stream.reconnected,
        seconds / max(taken, 1e-9),
        tuple(segments),
        tuple(files),
    )


def _tell(found: Seen, watcher: Watcher, as_json: bool, out: IO[str]) -> None:
    decision, answer = found.decision, found.answer
    if decision is None or answer is None:
        return
    if as_json:
        classes = watcher.classes
        line = {
            "time": round(decision.time, 3),
            "window": [round(answer.start, 3), round(answer.time, 3)],
            "name": decision.name,
            "probability": round(decision.probability, 6),
            "known": bool(answer.known),
            "probabilities": {
                name: round(float(x), 6) for name, x in zip(classes, answer.probabilities, strict=True)
            },
            "dropped": watcher.stream.dropped,
        }
        print(json.dumps(line), file=out, flush=True)
    elif decision.changed:
        share = "" if decision.name == NONE else f" {decision.probability:.2f}"
        print(f"{clock(decision.time)} {decision.name}{share}", file=out, flush=True)


class _Screen:
    """A window with the picture and the name, where OpenCV has one and there is a display."""

    def __init__(self, wanted: bool) -> None:
        self.there = wanted and bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
        self._shown: Any = None

    def show(self, found: Seen) -> str:
        """Draw; the key that was pressed."""
        if not self.there:
            return ""
        picture = cv2.cvtColor(found.frame.picture, cv2.COLOR_RGB2BGR)
        self._shown = found.decision or self._shown
        if self._shown is not None:
            words = f"{self._shown.name} {self._shown.probability:.2f}"
            cv2.rectangle(picture, (0, 0), (picture.shape[1], 30), (0, 0, 0), -1)
            white, plain = (255, 255, 255), cv2.FONT_HERSHEY_SIMPLEX
            cv2.putText(picture, words, (8, 21), plain, 0.6, white, 1, cv2.LINE_AA)
        try:
            cv2.imshow("litemkd", np.ascontiguousarray(picture))
            code = cv2.waitKey(1)
        except cv2.error:  # OpenCV without windows
            self.there = False
            return ""
        return chr(code & 0xFF) if code >= 0 else ""


@contextlib.contextmanager
def _keys(asked: Asked) -> Iterator[Any]:
    """The last key that was pressed in the terminal, asked for without waiting."""
    if asked.source == PIPE or not sys.stdin.isatty():
        yield lambda: ""
        return
    import termios
    import tty

    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)
    try:
        yield lambda: sys.stdin.read(1) if select.select([sys.stdin], [], [], 0)[0] else ""
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
