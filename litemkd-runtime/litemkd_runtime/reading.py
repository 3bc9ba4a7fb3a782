"""Clips as the network sees them: T frames, evenly spread, resized, stored as JPEG and read back, cut square.

Students have learned from frames that were stored as JPEG (quality 95, colours at full size); frames of videos
go the same way here, those of folders of pictures are such files already. The pixels are litemkd's own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.sidedata import sidedata
from av.stream import Disposition

from litemkd_runtime.errors import RecogniserError

PICTURES = (".jpg", ".jpeg", ".png")
_COVERS = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
_JPEG = [cv2.IMWRITE_JPEG_QUALITY, 95, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]


def sample_times(n: int, frames: int) -> np.ndarray:
    """Which of n frames stand for a clip, (T,) from 0: round(linspace(0, n - 1, T)), halves to the even one."""
    if n < 1:
        raise RecogniserError(f"cannot take {frames} of {n} frames")
    return np.rint(np.linspace(0, n - 1, frames)).astype(np.int64)


def read_crops(clip: Path | str, frames: int, short_side: int, crop: int) -> np.ndarray:
    """The squares of a clip that the network sees, (T, crop, crop, 3) uint8 RGB.

    Args:
        clip: a video, or a folder of pictures in the natural order of their names.
        frames: T.
        short_side: that frames are resized to, pixels.
        crop: side of the square in their middle.

    Raises:
        RecogniserError: unreadable, fewer than T frames, sizes that change, or frames too small for the crop.
    """
    path = Path(clip)
    if path.is_dir():
        return np.stack(
            [cut(one, short_side, crop, path) for one in _of_one_size(_pictures(path, frames), path)]
        )
    return crops_of(_sampled(path, frames), short_side, crop, path)


def crops_of(clip: Sequence[np.ndarray], short_side: int, crop: int, name: object = "a clip") -> np.ndarray:
    """The squares of the frames (H, W, 3) of a recording, (T, crop, crop, 3); errors as `read_crops`."""
    return np.stack([seen(frame, short_side, crop, name) for frame in _of_one_size(clip, name)])


def seen(frame: np.ndarray, short_side: int, crop: int, name: object = "a frame") -> np.ndarray:
    """A frame of a recording (H, W, 3), RGB and upright, as the network sees it, (crop, crop, 3).

    Raises:
        RecogniserError: too small for the crop; `name` says which.
    """
    return cut(stored(resized(frame, short_side)), short_side, crop, name)


def resized(frame: np.ndarray, short_side: int) -> np.ndarray:
    """A frame with that short side: area means to shrink, bilinear to grow."""
    height, width = frame.shape[:2]
    short = min(height, width)
    if short == short_side:
        return frame
    size = max(1, round(width * short_side / short)), max(1, round(height * short_side / short))
    how = cv2.INTER_AREA if short_side < short else cv2.INTER_LINEAR
    made: np.ndarray = cv2.resize(frame, size, interpolation=how)
    return made


def stored(frame: np.ndarray) -> np.ndarray:
    """A frame as it is read back from the JPEG that it is stored as."""
    _, file = cv2.imencode(".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), _JPEG)
    return _decoded(file)


def cut(frame: np.ndarray, short_side: int, crop: int, name: object) -> np.ndarray:
    """The square in the middle of a frame, resized if need be. RecogniserError: it is too small."""
    frame = resized(frame, short_side)
    height, width = frame.shape[:2]
    if min(height, width) < crop:
        raise RecogniserError(f"{name}: frames of {width}x{height} given; {crop} pixels or more would do")
    top, left = (height - crop) // 2, (width - crop) // 2
    return frame[top : top + crop, left : left + crop]


def film_of(container: Any, name: object) -> Any:
    """The stream to watch in an open container: no cover; the default one, the largest, as FFmpeg chooses.

    Raises:
        RecogniserError: there is none.
    """
    films = [
        one
        for one in container.streams.video
        if not one.disposition & _COVERS and one.codec_context is not None
    ]
    if not films:
        raise RecogniserError(f"{name}: holds no video that can be decoded; H.264 in MP4 would do")

    def rank(one: Any) -> tuple[bool, bool, int]:
        size = one.codec_context.width * one.codec_context.height
        return one.frames != 1, bool(one.disposition & Disposition.default), size

    found = max(films, key=rank)
    found.codec_context.thread_count = 1
    return found


def upright(frame: av.VideoFrame) -> np.ndarray:
    """A decoded frame as RGB (H, W, 3), turned as its display matrix says."""
    picture = frame.to_ndarray(format="rgb24")
    # What frame.side_data gives stays in the frame and holds it, so that pictures pile up between collections.
    beside: Any = sidedata
    matrix = beside.SideDataContainer(frame).get("DISPLAYMATRIX")
    if matrix is None:
        return picture
    a, b, _, c, d = np.frombuffer(matrix, np.int32)[:5].tolist()
    if abs(a) + abs(d) >= abs(b) + abs(c):
        mirrored, flipped = a < 0, d < 0
    else:
        picture, mirrored, flipped = picture.swapaxes(0, 1), c < 0, b < 0
    return np.ascontiguousarray(picture[:: -1 if flipped else 1, :: -1 if mirrored else 1])


def _sampled(path: Path, frames: int) -> list[np.ndarray]:
    """T frames of a video. A container's word on their number is not taken: all are decoded."""
    n = _packets(path)  # nearly always the number of frames; where it was not, all is decoded again
    while True:
        times = sample_times(max(n, 1), frames).tolist()
        kept, found = _decode(path, set(times))
        if found == n:
            break
        n = found
    if n < frames:
        raise RecogniserError(f"{path}: {n} frames given; {frames} or more would do")
    return [kept[time] for time in times]


def _packets(path: Path) -> int:
    with _opened(path) as container:
        return sum(1 for packet in container.demux(film_of(container, path)) if packet.size)


def _decode(path: Path, wanted: set[int]) -> tuple[dict[int, np.ndarray], int]:
    """The wanted frames by number, and how many there are."""
    kept: dict[int, np.ndarray] = {}
    count = 0
    for count, frame in enumerate(decoded(path), 1):
        if count - 1 in wanted:
            kept[count - 1] = upright(frame)
    return kept, count


def decoded(path: Path) -> Iterator[av.VideoFrame]:
    """Every frame of a video file. RecogniserError: unreadable, or damaged anywhere."""
    try:
        with _opened(path) as container:
            for packet in container.demux(film_of(container, path)):
                frames = packet.decode()
                if packet.is_corrupt or any(frame.is_corrupt for frame in frames):
                    raise RecogniserError(f"{path}: is cut or damaged")
                yield from frames
    except (av.error.FFmpegError, OSError) as error:
        raise RecogniserError(f"{path}: cannot be read ({error.strerror or error})") from error


def _opened(path: Path) -> Any:
    if not path.is_file():
        raise RecogniserError(f"{path}: no such file; a video or a folder of pictures would do")
    try:
        return av.open(f"file:{path}", options={"protocol_whitelist": "file"})
    except (av.error.FFmpegError, OSError) as error:
        raise RecogniserError(f"{path}: cannot be read as a video ({error.strerror or error})") from error


def _pictures(folder: Path, frames: int) -> list[np.ndarray]:
    """T pictures of a folder, (H, W, 3) each."""
    files = sorted(
        (one for one in folder.iterdir() if one.suffix.lower() in PICTURES and not one.name.startswith(".")),
        key=lambda one: natural_key(one.name),
    )
    if len(files) < frames:
        raise RecogniserError(f"{folder}: {len(files)} pictures given; {frames} or more would do")
    return [_picture(files[time]) for time in sample_times(len(files), frames)]


def _picture(path: Path) -> np.ndarray:
    try:
        return _decoded(np.fromfile(path, np.uint8))
    except cv2.error as error:
        raise RecogniserError(f"{path}: is no JPEG or PNG that can be read") from error


def _decoded(file: np.ndarray) -> np.ndarray:
    """The picture in the bytes of a file, RGB. cv2.error: there is none."""
    found = cv2.imdecode(file, cv2.IMREAD_COLOR)
    if found is None:
        raise cv2.error("no picture")
    return cv2.cvtColor(found, cv2.COLOR_BGR2RGB)


def natural_key(name: str) -> list[tuple[int, str]]:
    """Sorts names with numbers in them as people do: 2.jpg before 10.jpg."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def _of_one_size(frames: Sequence[np.ndarray], name: object) -> Sequence[np.ndarray]:
    sizes = {frame.shape[:2] for frame in frames}
    if len(sizes) > 1:
        told = " and ".join(f"{width}x{height}" for height, width in sorted(sizes))
        raise RecogniserError(f"{name}: frames of {told} given; frames of one size would do")
    return frames
