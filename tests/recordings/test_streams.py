"""Which stream of a recording is the film, and recordings that are damaged."""

from pathlib import Path

import av
import numpy as np
import pytest

from litemkd.data.finding.loose import read_centre
from litemkd.errors import DataError
from litemkd.recordings.streams import opened
from litemkd.recordings.videos import count_frames, read_video, video_size
from tests.data.recordings import frame_numbers, noisy_frames, numbered_frames, with_cover_first, write_video
from tests.faults.trees import damage


def test_a_cover_picture_before_the_film_is_passed_over(tmp_path: Path) -> None:
    path = with_cover_first(tmp_path / "v.mp4", numbered_frames(20))
    with av.open(str(path)) as container:
        assert [one.codec_context.name for one in container.streams.video] == ["png", "h264"]
    clip = read_video(path, 8, 32)
    assert clip.n_frames == 20 == count_frames(path)
    assert frame_numbers(clip.frames) == clip.times.tolist()
    assert video_size(path) == (20, 48, 64)


def test_a_cover_picture_alone_is_no_film(tmp_path: Path) -> None:
    path = with_cover_first(tmp_path / "v.mp4", numbered_frames(20))
    data = path.read_bytes()
    at = data.index(b"trak", data.index(b"covr"))
    path.write_bytes(data[:at] + b"free" + data[at + 4 :])  # the film's entry
    with pytest.raises(DataError) as caught:
        read_video(path, 8, 32)
    assert str(caught.value) == f"{path} has no video in it, only still pictures (cover art, thumbnails)"


def two_films(path: Path, first: int, second: int, default: int) -> Path:
    """An MKV of two streams, of widths `first` and `second` and 5 and 6 frames, one of them the default."""
    with av.open(str(path), "w") as container:
        streams = []
        for number, width in enumerate((first, second)):
            stream = container.add_stream("libx264", rate=15)
            stream.height, stream.width, stream.pix_fmt = 48, width, "yuv420p"
            stream.disposition = av.stream.Disposition(int(number == default))
            streams.append(stream)
        for number, stream in enumerate(streams):
            for frame in numbered_frames(5 + number, width=stream.width):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode())
    return path


def test_of_two_films_the_default_then_the_larger_then_the_first(tmp_path: Path) -> None:
    assert video_size(two_films(tmp_path / "a.mkv", 64, 96, 0)) == (5, 48, 64)
    assert video_size(two_films(tmp_path / "b.mkv", 96, 64, 1)) == (6, 48, 64)
    assert video_size(two_films(tmp_path / "c.mkv", 64, 96, 2)) == (6, 48, 96)
    assert video_size(two_films(tmp_path / "d.mkv", 64, 64, 2)) == (5, 48, 64)


def test_video_that_nothing_here_decodes_is_told(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4", numbered_frames(9))
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zzzz"))
    with pytest.raises(DataError) as caught:
        read_video(path, 8, 32)
    assert str(caught.value) == f"{path} has video of a kind that cannot be decoded here; H.264 in MP4 would do"


@pytest.mark.parametrize(
    ("suffix", "codec"), [("mp4", "mpeg4"), ("avi", "mpeg4"), ("mpg", "mpeg2video"), ("flv", "flv")]
)
def test_a_damaged_recording_is_told_in_one_way_by_all_who_read_it(
    suffix: str, codec: str, tmp_path: Path
) -> None:
    path = write_video(tmp_path / f"v.{suffix}", noisy_frames(40), codec)
    assert count_frames(path) == 40
    damage(path)
    said = set()
    for _ in range(3):
        for read in (count_frames, video_size, lambda file: read_video(file, 8, 32)):
            with pytest.raises(DataError) as caught:
                read(path)
            said.add(str(caught.value))
        with pytest.raises(DataError) as caught:
            read_centre(path, 8, 32, 24)
        said.add(str(caught.value))
    (words,) = said
    assert words.startswith(f"cannot read video {path} ({path.stat().st_size} bytes): damaged, frame ")
    assert words.endswith(" cannot be decoded whole")


def test_of_damaged_h264_the_decoder_sees_a_part_and_the_same_each_time(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4", noisy_frames(20))
    whole = path.read_bytes()
    seen: list[list[str]] = []
    for _ in range(2):
        words = []
        for seed in range(20):
            path.write_bytes(whole)
            damage(path, seed)
            try:
                assert count_frames(path) == 20
            except DataError as error:
                words.append(f"{seed} {error}")
        seen.append(words)
    assert seen[0] == seen[1]
    assert len(seen[0]) > 3
    assert all("damaged, frame " in words for words in seen[0])


def test_one_thread_decodes_so_that_signs_of_damage_do_not_come_and_go(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4", numbered_frames(9))
    with opened(path) as film:
        frames = list(film.frames())
        assert film.stream.codec_context.thread_count == 1
    assert len(frames) == 9


def test_a_packet_that_is_not_whole_is_told(tmp_path: Path) -> None:
    """A container that does not say how long it is, cut within a frame."""
    path = write_video(tmp_path / "v.flv", noisy_frames(20), "flv")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 6 // 10])
    with pytest.raises(DataError, match=r"cut or damaged, the data after frame \d+ is not whole"):
        read_video(path, 8, 32)


def test_a_whole_recording_gives_the_same_frames_with_any_number_of_threads(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4", noisy_frames(20))
    with opened(path) as film:
        ours = [frame.to_ndarray(format="rgb24") for frame in film.frames()]
    for threads in (1, 2, 4):
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_type, stream.codec_context.thread_count = "AUTO", threads
            theirs = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        assert np.array_equal(ours, theirs)
