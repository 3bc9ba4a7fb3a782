"""Small recordings made for the tests, and frames read back."""

import struct
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.stream import Disposition

from litemkd.data.frames import frame_files, read_files
from litemkd.data.preparing.modality import Place, choose_method, prepare_modality
from litemkd.modalities.registry import modality as record_of

ONE = 1 << 16  # in a display matrix


def numbered_frames(n: int, height: int = 48, width: int = 64) -> np.ndarray:
    """(n, height, width, 3) uint8: frame i is grey of 20 + 4 i, with a white mark in its top left corner."""
    frames = np.empty((n, height, width, 3), np.uint8)
    frames[:] = (20 + 4 * np.arange(n, dtype=np.uint8))[:, None, None, None]
    frames[:, : height // 4, : width // 4] = 255
    return frames


def frame_numbers(frames: np.ndarray) -> list[int]:
    """Which of `numbered_frames` these are, read off their grey."""
    height, width = frames.shape[1:3]
    grey = frames[:, height // 2 :, width // 2 :].astype(float).mean((1, 2, 3))
    return [round((value - 20) / 4) for value in grey]


def noisy_frames(n: int, height: int = 96, width: int = 128) -> np.ndarray:
    """(n, height, width, 3) uint8: coloured blocks, new ones in each frame: much to decode in every one."""
    blocks = np.random.default_rng(0).integers(0, 255, (n, height // 4, width // 4, 3), np.uint8)
    return blocks.repeat(4, 1).repeat(4, 2)


def clip_of(folder: Path, T: int = 8) -> np.ndarray:
    """The frames of a clip's folder, (T, H, W, 3) uint8."""
    return read_files(frame_files(folder, T))


def lay(path: Path, a: int, b: int, c: int, d: int) -> Path:
    """Write a display matrix into an MP4: it takes the stored place (x, y) to (a x + c y, b x + d y)."""
    data = path.read_bytes()
    upright = struct.pack(">9i", ONE, 0, 0, 0, ONE, 0, 0, 0, 1 << 30)
    at = data.index(upright, data.index(b"tkhd"))
    matrix = struct.pack(">9i", a * ONE, b * ONE, 0, c * ONE, d * ONE, 0, 0, 0, 1 << 30)
    path.write_bytes(data[:at] + matrix + data[at + 36 :])
    return path


def with_cover_first(path: Path, frames: np.ndarray) -> Path:
    """An MP4 of (n, H, W, 3) uint8 frames with a white cover picture, which is its first video stream."""
    with av.open(str(path), "w") as container:
        film = container.add_stream("libx264", rate=15, options={"crf": "10"})
        film.height, film.width, film.pix_fmt = *frames.shape[1:3], "yuv420p"
        cover = container.add_stream("png", rate=15)
        cover.height, cover.width, cover.pix_fmt = 100, 100, "rgb24"
        cover.disposition = Disposition.attached_pic
        white = av.VideoFrame.from_ndarray(np.full((100, 100, 3), 255, np.uint8), format="rgb24")
        container.mux([*cover.encode(white), *cover.encode()])
        for frame in frames:
            container.mux(film.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(film.encode())
    data = path.read_bytes()
    # FFmpeg writes the cover behind the film; others write it before.
    moov = data.index(b"moov") - 4
    film_at, cover_at = data.index(b"trak", moov) - 4, data.index(b"udta", moov) - 4
    path.write_bytes(data[:film_at] + data[cover_at:] + data[film_at:cover_at])
    return path


def write_video(
    path: Path, frames: np.ndarray, codec: str = "libx264", options: dict[str, str] | None = None
) -> Path:
    """Encode (n, H, W, 3) uint8 RGB as a real video file; `options` are the container's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream(codec, rate=15)
        stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], "yuv420p"
        if codec == "libx264":
            stream.options = {"crf": "10", "preset": "veryfast"}
        else:
            stream.bit_rate = 4_000_000
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


def prepared(dataset: Path, source: Path, modality: str, *, T: int = 8, short_side: int = 32, **options: Any):
    """The report of preparing a modality of the package."""
    method, place = options.pop("method", "video"), Place(dataset, source, T, short_side)
    return prepare_modality(place, record_of(modality), method, **options)


def chosen(dataset: Path, source: Path, modality: str, derive: dict[str, str]) -> str:
    """How the frames of a modality would be come by."""
    return choose_method(Place(dataset, source), record_of(modality), derive)


def with_sound(path: Path, frames: np.ndarray, sound: np.ndarray | None, rate: int = 16_000) -> Path:
    """A MKV of (n, H, W, 3) uint8 frames, 10 a second, and of sound (N,) float32, if any, kept as it is."""
    with av.open(str(path), "w") as container:
        film = container.add_stream("libx264", rate=10, options={"crf": "20"})
        film.height, film.width, film.pix_fmt = *frames.shape[1:3], "yuv420p"
        track = None if sound is None else container.add_stream("pcm_f32le", rate=rate, layout="mono")
        for one in frames:
            container.mux(film.encode(av.VideoFrame.from_ndarray(one, format="rgb24")))
        container.mux(film.encode())
        if track is None or sound is None:
            return path
        whole = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(sound[None], np.float32), format="flt", layout="mono"
        )
        whole.sample_rate = rate
        container.mux(track.encode(whole))
        container.mux(track.encode())
    return path
