"""Frames of a file, a camera, an address or a pipe: dropped where whoever looks is too slow, never late."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np

from litemkd_runtime.errors import RecogniserError
from litemkd_runtime.reading import film_of, upright

PIPE = "-"
_LIVE = ("rtsp:", "rtsps:", "rtmp:", "udp:", "rtp:", "tcp:", "srt:", "http:", "https:")
RATE = 25.0  # frames a second of a stream that does not say
_WAITS = (0.5, 1.0, 2.0, 5.0)  # seconds before it is tried again; the last one from then on


@dataclass(frozen=True)
class Frame:
    """A picture of a stream.

    Attributes:
        number: from 0, those that were dropped counted.
        time: seconds since the stream began.
        picture: (H, W, 3) uint8 RGB, upright.
        fresh: whether the stream was cut before it, or its size is another one: nothing before it counts.
    """

    number: int
    time: float
    picture: np.ndarray
    fresh: bool = False


def is_live(source: str) -> bool:
    """Whether frames come by themselves and do not wait: a camera, an address or a pipe."""
    return source == PIPE or source.startswith(_LIVE) or source.startswith("/dev/") or source.isdecimal()


class Stream:
    """Frames of a source.

    Attributes:
        rate: frames a second, as the source says.
        dropped: frames that nobody was ready for.
        reconnected: times that it was opened again.

    Args:
        source: a file, `-` for what is piped in, an address (rtsp://…), a camera by its number or /dev/video….
        retries: times in a row that a lost camera or address is tried again.

    Raises:
        RecogniserError: not there, or no video.
    """

    def __init__(self, source: str, *, retries: int = 20) -> None:
        self.source, self.retries = source, retries
        self.live = is_live(source)
        self.dropped = self.reconnected = 0
        self.stopped = False
        self._container = self._open()
        film = film_of(self._container, source)
        self.rate = float(film.average_rate or film.guessed_rate or RATE)

    def __iter__(self) -> Iterator[Frame]:
        yield from (self._newest() if self.live else self._all())

    def close(self) -> None:
        """Stop; the source is let go."""
        self.stopped = True

    def _open(self) -> Any:
        source, form = self.source, None
        if source.isdecimal():
            source = f"/dev/video{source}"
        if source.startswith("/dev/"):
            form = "v4l2"
            if not Path(source).exists():
                there = ", ".join(sorted(str(one) for one in Path("/dev").glob("video*"))) or "none is there"
                raise RecogniserError(f"{source}: no such camera; cameras: {there}")
        elif not self.live and not Path(source).is_file():
            raise RecogniserError(f"{source}: no such file; a video, a camera's number, rtsp://… or - would do")
        options = {"rtsp_transport": "tcp"} if source.startswith("rtsp") else {}
        try:
            if source == PIPE:
                return av.open(sys.stdin.buffer)
            whole = source if self.live else f"file:{source}"
            return av.open(whole, format=form, options=options, timeout=10.0 if self.live else None)
        except (av.error.FFmpegError, OSError) as error:
            reason = getattr(error, "strerror", None) or error
            raise RecogniserError(f"{self.source}: cannot be opened as video ({reason})") from error

    def _pictures(self) -> Iterator[tuple[float, np.ndarray, bool]]:
        """Time, picture, and whether nothing before it counts; a lost camera or address is opened again."""
        begun, size, tries, base, cut = time.monotonic(), (0, 0), 0, 0.0, False
        last = 0.0
        while True:
            try:
                film = film_of(self._container, self.source)
                first: float | None = None
                for frame in self._container.decode(film):
                    if self.stopped:
                        return
                    told = float(frame.time) if frame.time is not None else last - base + 1 / self.rate
                    first = told if first is None else first
                    last = time.monotonic() - begun if self.source == PIPE or tries else base + told - first
                    picture, tries = upright(frame), 0
                    yield last, picture, cut or (size != (0, 0) and size != picture.shape[:2])
                    size, cut = picture.shape[:2], False
                reason = "ended"
            except (av.error.FFmpegError, OSError) as error:
                reason = str(getattr(error, "strerror", None) or error)
                if not self.live or self.source == PIPE:
                    raise RecogniserError(f"{self.source}: cannot be read further ({reason})") from error
            self._container.close()
            if not self.live or self.source == PIPE:
                return
            tries = self._again(tries, reason)
            base, cut = time.monotonic() - begun, True

    def _again(self, tries: int, reason: str) -> int:
        """Open anew, waiting a little longer each time; how often it was tried. RecogniserError: in vain."""
        while not self.stopped:
            tries += 1
            if tries > self.retries:
                raise RecogniserError(
                    f"{self.source}: lost ({reason}), {self.retries} tries to reconnect failed"
                )
            time.sleep(_WAITS[min(tries, len(_WAITS)) - 1])
            try:
                self._container = self._open()
            except RecogniserError as error:
                reason = str(error)
                continue
            self.reconnected += 1
            return tries
        return tries

    def _all(self) -> Iterator[Frame]:
        for number, (at, picture, fresh) in enumerate(self._pictures()):
            yield Frame(number, at, picture, fresh)

    def _newest(self) -> Iterator[Frame]:
        """The newest frame whenever one is asked for; those in between are dropped and counted."""
        ready, state = threading.Condition(), _Slot()

        def read() -> None:
            try:
                for number, (at, picture, fresh) in enumerate(self._pictures()):
                    with ready:
                        self.dropped += state.frame is not None
                        fresh = fresh or (state.frame is not None and state.frame.fresh)
                        state.frame = Frame(number, at, picture, fresh)
                        ready.notify()
            except RecogniserError as error:
                state.error = error
            finally:
                with ready:
                    state.ended = True
                    ready.notify()

        threading.Thread(target=read, name="stream", daemon=True).start()
        while True:
            with ready:
                ready.wait_for(lambda: state.frame is not None or state.ended)
                frame, state.frame = state.frame, None
            if frame is not None:
                yield frame
            elif state.error is not None:
                raise state.error
            else:
                return


@dataclass
class _Slot:
    """Between the thread that reads and the one that looks."""

    frame: Frame | None = None
    ended: bool = False
    error: RecogniserError | None = None
