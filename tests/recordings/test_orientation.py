"""Recordings are turned and mirrored as their display matrix says, and as FFmpeg's own filters would."""

from pathlib import Path

import av
import numpy as np
import pytest

from litemkd.recordings.streams import Orientation, orientation_of
from litemkd.recordings.videos import read_video, video_size
from tests.data.recordings import lay, write_video
from tests.helpers import frames_kept_by

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "white": (255, 255, 255)}
# The matrix's a, b, c, d; the quarters of what is to be seen, row by row, where red, green, blue and white are
# stored; and the filters that FFmpeg's program puts in for such a matrix.
LAID = {
    "as it is": ((1, 0, 0, 1), "red green blue white", ()),
    "mirrored": ((-1, 0, 0, 1), "green red white blue", (("hflip", ""),)),
    "upside down": ((1, 0, 0, -1), "blue white red green", (("vflip", ""),)),
    "half a turn": ((-1, 0, 0, -1), "white blue green red", (("hflip", ""), ("vflip", ""))),
    "a quarter turn clockwise": ((0, 1, -1, 0), "blue red white green", (("transpose", "clock"),)),
    "a quarter turn back": ((0, -1, 1, 0), "green white red blue", (("transpose", "cclock"),)),
    "transposed": ((0, 1, 1, 0), "red blue green white", (("transpose", "cclock_flip"),)),
    "transposed the other way": ((0, -1, -1, 0), "white green blue red", (("transpose", "clock_flip"),)),
}


def quarters(frame: np.ndarray) -> str:
    """The colours of a frame's quarters, row by row."""
    height, width = frame.shape[:2]
    spots = [frame[y, x] for y in (height // 4, height * 3 // 4) for x in (width // 4, width * 3 // 4)]
    return " ".join(
        min(COLOURS, key=lambda one: np.abs(spot.astype(int) - COLOURS[one]).sum()) for spot in spots
    )


def stored() -> np.ndarray:
    frames = np.empty((8, 48, 64, 3), np.uint8)
    frames[:, :24, :32], frames[:, :24, 32:] = COLOURS["red"], COLOURS["green"]
    frames[:, 24:, :32], frames[:, 24:, 32:] = COLOURS["blue"], COLOURS["white"]
    return frames


def laid(folder: Path, way: str) -> Path:
    """A recording of the four colours, with the matrix of this way."""
    path = write_video(folder / "v.mp4", stored())
    if way != "as it is":
        lay(path, *LAID[way][0])
    return path


@pytest.mark.parametrize("way", LAID)
def test_a_recording_comes_as_its_matrix_says(way: str, tmp_path: Path) -> None:
    matrix, seen, _ = LAID[way]
    path = laid(tmp_path, way)
    clip = read_video(path, 8, 48)
    size = (48, 64) if matrix[0] else (64, 48)
    assert clip.frames.shape == clip.following.shape == (8, *size, 3)
    assert video_size(path) == (8, *size)
    assert {quarters(frame) for frame in (*clip.frames, *clip.following)} == {seen}


@pytest.mark.parametrize("way", LAID)
def test_every_pixel_is_where_the_filters_of_ffmpeg_put_it(way: str, tmp_path: Path) -> None:
    _, _, filters = LAID[way]
    path = laid(tmp_path, way)
    with av.open(str(path)) as container:
        orientation = orientation_of(next(container.decode(video=0)))
    picture = np.random.default_rng(0).integers(0, 255, (6, 10, 3), np.uint8)
    graph = av.filter.Graph()
    parts = [graph.add_buffer(width=10, height=6, format="rgb24", time_base="1/15")]
    parts += [graph.add(name, how) for name, how in filters]
    graph.link_nodes(*parts, graph.add("buffersink")).configure()
    graph.push(av.VideoFrame.from_ndarray(picture, format="rgb24"))
    assert np.array_equal(orientation.upright(picture), graph.pull().to_ndarray(format="rgb24"))


def test_frames_are_let_go_without_waiting_for_a_collection(tmp_path: Path) -> None:
    path = laid(tmp_path, "mirrored")
    assert frames_kept_by(lambda: read_video(path, 8, 48)) <= 1


def test_scale_does_not_matter_and_a_matrix_that_says_nothing_is_upright(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4", stored())
    plain = path.read_bytes()
    for matrix, expected in {
        (-3, 0, 0, 2): Orientation(mirrored=True),
        (1, 2, -2, 1): Orientation(transposed=True, mirrored=True),  # between two ways, nearer to the turn
        (0, 0, 0, 0): Orientation(),
    }.items():
        path.write_bytes(plain)
        with av.open(str(lay(path, *matrix))) as container:
            assert orientation_of(next(container.decode(video=0))) == expected
