"""From answers on live video to named stretches of time: windows, smoothing, hysteresis, segments."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

NONE = "none of these"


def stride_of(seconds: float, rate: float, frames: int) -> int:
    """Every which frame is looked at, so that T of them span a window.

    T frames that far apart are those that `sample_times` takes of a clip of 1 + stride (T - 1) frames.
    """
    return max(1, round(seconds * rate / max(frames - 1, 1)))


class Window:
    """The newest T frames that were looked at, or their features.

    Args:
        frames: T.
    """

    def __init__(self, frames: int) -> None:
        self._newest: deque[np.ndarray] = deque(maxlen=frames)

    def push(self, one: np.ndarray) -> np.ndarray | None:
        """Add one; the window (T, …), None until it is full."""
        self._newest.append(one)
        return np.stack(self._newest) if len(self._newest) == self._newest.maxlen else None

    def clear(self) -> None:
        """Forget all, as where a stream was cut."""
        self._newest.clear()


@dataclass(frozen=True)
class Answer:
    """What a window was taken for.

    Attributes:
        start, time: of its first and last frame, seconds.
        probabilities: of the classes.
        known: whether it is of one of the classes.
    """

    start: float
    time: float
    probabilities: np.ndarray
    known: bool = True


@dataclass(frozen=True)
class Decision:
    """What is shown after an answer.

    Attributes:
        time: seconds.
        name: of a class, or `none of these`.
        probability: of the class, smoothed; of none, that of the likeliest class.
        changed: whether another one was shown before.
    """

    time: float
    name: str
    probability: float
    changed: bool


class Decider:
    """Answers, smoothed, to names that do not flicker.

    Args:
        classes: W names.
        smoothing: 0 to below 1, how much of the smoothed probabilities stays with each answer.
        hold: answers in a row that must agree on another name before it is shown.
    """

    def __init__(self, classes: tuple[str, ...], smoothing: float = 0.5, hold: int = 2) -> None:
        self.classes, self.smoothing, self.hold = classes, smoothing, hold
        self.clear()

    def clear(self) -> None:
        """Begin anew, as where a stream was cut."""
        self._smooth: np.ndarray | None = None
        self._known = 1.0
        self.name, self._other, self._streak = NONE, NONE, 0

    def decide(self, answer: Answer) -> Decision:
        """What to show after an answer; the first window that is known is shown at once."""
        if self._smooth is None:
            self._smooth, self._known = answer.probabilities.astype(np.float64), float(answer.known)
        else:
            stays = self.smoothing
            self._smooth = stays * self._smooth + (1 - stays) * answer.probabilities
            self._known = stays * self._known + (1 - stays) * answer.known
        best = int(self._smooth.argmax())
        likely = self.classes[best] if self._known >= 0.5 else NONE
        self._streak = self._streak + 1 if likely == self._other else 1
        self._other = likely
        changed = likely != self.name and self._streak >= self.hold
        if changed:
            self.name = likely
        shown = self.classes.index(self.name) if self.name != NONE else best
        return Decision(answer.time, self.name, float(self._smooth[shown]), changed)


@dataclass(frozen=True)
class Segment:
    """A stretch of time with one name.

    Attributes:
        start, end: seconds.
        name: of a class.
        probability: mean over its decisions.
    """

    start: float
    end: float
    name: str
    probability: float


class Segments:
    """Decisions to segments, each given away when it ends: nothing of a stream is kept.

    Args:
        take: is given each segment.
        lead: seconds by which a decision is later than what it speaks of, half a window.
    """

    def __init__(self, take: Callable[[Segment], object], lead: float = 0.0) -> None:
        self.take, self.lead = take, lead
        self._start, self._sum, self._count, self._name, self._end = 0.0, 0.0, 0, NONE, 0.0

    def add(self, decision: Decision) -> None:
        """The next decision."""
        time = max(0.0, decision.time - self.lead)
        if decision.name != self._name:
            self.close(time)
            self._name, self._start = decision.name, time
        self._sum, self._count, self._end = self._sum + decision.probability, self._count + 1, time

    def close(self, end: float | None = None) -> None:
        """End the segment that is open: at a time, or where its last decision was."""
        if self._name != NONE and self._count:
            until = self._end if end is None else end
            self.take(Segment(self._start, until, self._name, self._sum / self._count))
        self._name, self._sum, self._count = NONE, 0.0, 0


def clock(seconds: float, mark: str = ".") -> str:
    """A time as WebVTT writes it: 00:01:02.345."""
    whole = round(seconds * 1000)
    hours, minutes, rest = whole // 3_600_000, whole // 60_000 % 60, whole % 60_000
    return f"{hours:02d}:{minutes:02d}:{rest // 1000:02d}{mark}{rest % 1000:03d}"
