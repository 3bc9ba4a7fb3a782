"""A recording opened with PyAV: which of its streams is the film, its frames, if it is whole, and how they lie.

One thread decodes a recording: with several, FFmpeg's signs of damage in the same file now come and now do not.
Whoever reads many recordings reads several at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.sidedata import sidedata
from av.stream import Disposition

from litemkd.errors import DataError
from litemkd.recordings.containers import missing_bytes
from litemkd.recordings.endings import CONTAINERS
from litemkd.storage.files import not_a_file
from litemkd.storage.pictures import MAX_PIXELS

# Containers of recordings. Others, playlists for instance, are lists of further files and addresses to read.
_SAFE = {"format_whitelist": ",".join(CONTAINERS), "protocol_whitelist": "file"}
_PICTURES = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image


@dataclass(frozen=True)
class Film:
    """An open recording.

    Attributes:
        path: of the file.
        container: that PyAV opened.
        stream: the film in it.
    """

    path: Path
    container: Any
    stream: Any

    def packets(self) -> int:
        """How many packets are not empty: nearly always the number of frames. Nothing is decoded."""
        return sum(1 for packet in self.container.demux(self.stream) if packet.size)

    def frames(self) -> Iterator[av.VideoFrame]:
        """Every frame, decoded. Wherever the file or a frame shows damage, it ends in an error."""
        count = 0
        for packet in self.container.demux(self.stream):
            if packet.is_corrupt:
                raise ValueError(f"cut or damaged, the data after frame {count} is not whole")
            for frame in packet.decode():
                if frame.is_corrupt:
                    raise ValueError(f"damaged, frame {count} cannot be decoded whole")
                yield frame
                count += 1


@contextmanager
def opened(path: Path) -> Iterator[Film]:
    """A recording; whatever goes wrong with it inside becomes a DataError that names it.

    Raises:
        DataError: unreadable, cut, no video in it, or frames too large; and for damage that is met inside.
    """
    with container_of(path) as container:
        stream = _film(path, list(container.streams.video))
        check_size(path, stream.codec_context.width, stream.codec_context.height)
        stream.codec_context.thread_count = 1
        yield Film(path, container, stream)


@contextmanager
def container_of(path: Path) -> Iterator[Any]:
    """A recording as PyAV opens it; whatever goes wrong with it inside becomes a DataError that names it.

    Raises:
        DataError: unreadable, or cut; and for damage that is met inside.
    """
    if wrong := not_a_file(path):
        raise DataError(f"no video {path}: {wrong}")
    try:
        if lacks := missing_bytes(path):
            raise ValueError(f"cut, {lacks} bytes that its container tells of are missing")
        with av.open(f"file:{path}", options=_SAFE) as container:
            yield container
    except (av.error.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"cannot read video {path} ({path.stat().st_size} bytes): {reason}") from error


def check_size(path: Path, width: int, height: int) -> None:
    """DataError: frames of more than `MAX_PIXELS`."""
    if width * height > MAX_PIXELS:
        raise DataError(
            f"{path} has frames of {width}x{height} pixels; at most {MAX_PIXELS // 10**6} million are read"
        )


def _film(path: Path, streams: list[Any]) -> Any:
    """The stream to watch: no cover, no thumbnails; of others, as FFmpeg does, the default one, the largest."""
    films = [one for one in streams if not one.disposition & _PICTURES]
    if not films:
        only = ", only still pictures (cover art, thumbnails)" if streams else ""
        raise DataError(f"{path} has no video in it{only}")
    known = [one for one in films if one.codec_context is not None]
    if not known:
        raise DataError(f"{path} has video of a kind that cannot be decoded here; H.264 in MP4 would do")

    def rank(one: Any) -> tuple[bool, bool, int]:
        size = one.codec_context.width * one.codec_context.height
        # One frame is a picture, flagged or not.
        return one.frames != 1, bool(one.disposition & Disposition.default), size

    return max(known, key=rank)


@dataclass(frozen=True)
class Orientation:
    """What is done to a stored picture so that it stands upright, in this order.

    Attributes:
        transposed: rows become columns.
        mirrored: left and right change places.
        flipped: top and bottom change places.
    """

    transposed: bool = False
    mirrored: bool = False
    flipped: bool = False

    def size(self, height: int, width: int) -> tuple[int, int]:
        """(H, W) of a picture of that stored size once it is upright."""
        return (width, height) if self.transposed else (height, width)

    def upright(self, picture: np.ndarray) -> np.ndarray:
        """A stored picture (H, W, 3), upright."""
        if self.transposed:
            picture = picture.swapaxes(0, 1)
        return np.ascontiguousarray(
            picture[:: -1 if self.flipped else 1, :: -1 if self.mirrored else 1],
        )


def orientation_of(frame: av.VideoFrame) -> Orientation:
    """How a decoded frame lies: by its display matrix, which is upright where there is none.

    The matrix takes a stored place (x, y), y downwards, to (a x + c y, b x + d y). Of what it may say, the
    eight ways to lay a picture on its sides are followed, as FFmpeg's own `-autorotate` does; a matrix in
    between counts as the nearest of them, and its scale and offset do not matter.
    """
    # What frame.side_data gives stays in the frame and holds it, so that pictures pile up between collections.
    beside: Any = sidedata
    matrix = beside.SideDataContainer(frame).get("DISPLAYMATRIX")
    if matrix is None:
        return Orientation()
    a, b, _, c, d = np.frombuffer(matrix, np.int32)[:5].tolist()  # 9 whole numbers, row by row
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Orientation(mirrored=a < 0, flipped=d < 0)
    return Orientation(transposed=True, mirrored=c < 0, flipped=b < 0)
