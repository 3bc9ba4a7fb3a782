"""A stream watched: frames are encoded once as they come, and windows slide over what they gave."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from litemkd_runtime.errors import RecogniserError
from litemkd_runtime.live import Answer, Decider, Decision, Window, stride_of
from litemkd_runtime.reading import read_crops, seen
from litemkd_runtime.recogniser import Recogniser
from litemkd_runtime.strangers import is_known
from litemkd_runtime.streams import Frame, Stream


class Engine(Protocol):
    """A student that looks at frames and names windows of T of them.

    Attributes:
        frames: T.
        short_side: that frames are resized to before they are cut, pixels.
        crop: side of the square, pixels.
        frame_by_frame: whether single frames have features; else a window is encoded whole each time.
        identity: of the student, so that what it learned is not given to another.
    """

    frames: int
    short_side: int
    crop: int
    frame_by_frame: bool
    identity: str

    def look(self, crops: np.ndarray) -> np.ndarray:
        """What is kept of crops (N, crop, crop, 3) uint8: features (N, …), or the crops where it needs them."""

    def learn(self, classes: Mapping[str, np.ndarray]) -> None:
        """The classes, by examples (K, T, …) of what `look` gives."""

    def answer(self, window: np.ndarray) -> tuple[np.ndarray, bool]:
        """Probabilities of the classes for (T, …) of what `look` gives; and whether it is of one of them."""


class RuntimeEngine:
    """An exported student as an `Engine`."""

    def __init__(self, recogniser: Recogniser) -> None:
        self.recogniser, about = recogniser, recogniser.exported
        self.frames, self.short_side, self.crop = about.frames, about.short_side, about.crop
        self.frame_by_frame = recogniser.frame_by_frame
        self.identity = str(about.about["digest"])
        self._shot = 1

    def look(self, crops: np.ndarray) -> np.ndarray:
        """See `Engine`."""
        return self.recogniser.features(crops) if self.frame_by_frame else crops

    def _code(self, windows: np.ndarray) -> tuple[np.ndarray, ...]:
        return self.recogniser.codes(windows) if self.frame_by_frame else self.recogniser.encode(windows)

    def learn(self, classes: Mapping[str, np.ndarray]) -> None:
        """See `Engine`."""
        self._shot = max(1, round(sum(map(len, classes.values())) / len(classes)))
        self.recogniser.learn_codes({name: self._code(windows) for name, windows in classes.items()})

    def answer(self, window: np.ndarray) -> tuple[np.ndarray, bool]:
        """See `Engine`."""
        code = self._code(window[None])
        known = is_known(self.recogniser.match(code)[0], self.recogniser.about, self._shot)
        return self.recogniser.probabilities_of(code)[0], known


@dataclass(frozen=True)
class Pace:
    """How a stream is watched.

    Attributes:
        window: seconds that the T frames of a decision span.
        every: a decision at each so manieth frame that is looked at.
        smoothing, hold: see `Decider`.
        force_choice: name a class whatever is shown.
    """

    window: float = 2.0
    every: int = 1
    smoothing: float = 0.5
    hold: int = 2
    force_choice: bool = False


class Examples:
    """Examples of classes as an engine keeps them; they may be written to a file, and read back.

    Args:
        engine: looks at them.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.windows: dict[str, list[np.ndarray]] = {}

    def add(self, name: str, window: np.ndarray) -> None:
        """One more example (T, …)."""
        self.windows.setdefault(name, []).append(window)

    def add_clips(self, classes: Mapping[str, Iterable[Path]]) -> None:
        """Clips of each class. RecogniserError: one that cannot be read."""
        about = self.engine
        for name, clips in classes.items():
            for clip in clips:
                self.add(name, about.look(read_crops(clip, about.frames, about.short_side, about.crop)))

    def teach(self) -> bool:
        """Let the engine learn them; whether there are enough, two classes."""
        if len(self.windows) < 2:
            return False
        self.engine.learn({name: np.stack(windows) for name, windows in self.windows.items()})
        return True

    def save(self, path: Path) -> None:
        """Keep them in a file, whole or not at all."""
        beside = path.with_name(f".{path.name}.new.npz")
        names = [name for name, windows in self.windows.items() for _ in windows]
        every = [window for windows in self.windows.values() for window in windows]
        np.savez(beside, identity=self.engine.identity, names=np.array(names), windows=np.stack(every))
        beside.replace(path)

    def load(self, path: Path) -> None:
        """Add those of a file. RecogniserError: none, or of another student."""
        try:
            with np.load(path, allow_pickle=False) as kept:
                identity, names, windows = str(kept["identity"]), kept["names"].tolist(), kept["windows"]
        except (OSError, ValueError, KeyError) as error:
            raise RecogniserError(f"{path}: holds no examples that can be read ({error})") from error
        if identity != self.engine.identity:
            raise RecogniserError(f"{path}: examples of another student; learn them anew with this one")
        for name, window in zip(names, windows, strict=True):
            self.add(name, window)


@dataclass(frozen=True)
class Seen:
    """What a frame that was looked at led to.

    Attributes:
        frame: of the stream.
        window: (T, …) what the engine keeps of the newest T; None while there are too few.
        answer, decision: None where there was none to give.
    """

    frame: Frame
    window: np.ndarray | None
    answer: Answer | None
    decision: Decision | None


class Watcher:
    """Watches streams.

    Attributes:
        stride: every which frame of the stream is looked at.
        classes: that were learned.
        looked: frames that were looked at.
        lead: seconds from the middle of a window to its end.

    Args:
        engine: that has learned classes, or will.
        stream: frames.
        pace: how.
        note: takes lines about the stream, such as that it has another size.
    """

    def __init__(
        self, engine: Engine, stream: Stream, pace: Pace, note: Callable[[str], object] = lambda _: None
    ) -> None:
        self.engine, self.stream, self.pace, self.note = engine, stream, pace, note
        self.stride = stride_of(pace.window, stream.rate, engine.frames)
        self.lead = self.stride * (engine.frames - 1) / stream.rate / 2
        self._decider: Decider | None = None
        self.classes: tuple[str, ...] = ()
        self.looked = 0

    def learned(self, classes: tuple[str, ...]) -> None:
        """The engine has learned these; smoothing begins anew."""
        self.classes = classes
        self._decider = Decider(classes, self.pace.smoothing, self.pace.hold)

    def __iter__(self) -> Iterator[Seen]:
        engine, window, times = self.engine, Window(self.engine.frames), Window(self.engine.frames)
        due = full = 0
        for frame in self.stream:
            if frame.fresh:
                height, width = frame.picture.shape[:2]
                self.note(f"{frame.time:.1f} s: the stream begins anew, {width}x{height}")
                window.clear()
                times.clear()
                due, full = frame.number, 0
                if self._decider is not None:
                    self._decider.clear()
            if frame.number < due:
                continue
            due += self.stride * ((frame.number - due) // self.stride + 1)
            crop = seen(frame.picture, engine.short_side, engine.crop, self.stream.source)
            held, at = window.push(engine.look(crop[None])[0]), times.push(np.array(frame.time))
            self.looked += 1
            answer = decision = None
            if held is not None and at is not None:
                if self._decider is not None and full % self.pace.every == 0:
                    chances, known = engine.answer(held)
                    answer = Answer(float(at[0]), frame.time, chances, known or self.pace.force_choice)
                    decision = self._decider.decide(answer)
                full += 1
            yield Seen(frame, held, answer, decision)
