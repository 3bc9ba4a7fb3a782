"""Decoding: the right frames, in the right size, from real files; and files that are not right."""

import os
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from litemkd.errors import DataError
from litemkd.recordings.endings import VIDEO_SUFFIXES
from litemkd.recordings.streams import Film
from litemkd.recordings.times import sample_times
from litemkd.recordings.videos import count_frames, read_video, resize_short
from tests.data.recordings import frame_numbers, lay, numbered_frames, write_video


@pytest.mark.parametrize(
    ("n", "T", "times"),
    [
        (8, 8, [0, 1, 2, 3, 4, 5, 6, 7]),
        (15, 8, [0, 2, 4, 6, 8, 10, 12, 14]),
        (30, 8, [0, 4, 8, 12, 17, 21, 25, 29]),
        (3, 6, [0, 0, 1, 1, 2, 2]),
        (9, 1, [0]),
        (1, 2, [0, 0]),
    ],
)
def test_times_are_even_with_both_ends(n, T, times):
    assert sample_times(n, T).tolist() == times


def test_no_times_of_nothing():
    with pytest.raises(DataError, match="cannot take 8 of 0 frames"):
        sample_times(0, 8)


@pytest.mark.parametrize(("suffix", "codec"), [("mp4", "libx264"), ("avi", "mpeg4")])
def test_takes_the_frames_it_says_and_those_after_them(tmp_path, suffix, codec):
    path = write_video(tmp_path / f"v.{suffix}", numbered_frames(30), codec)
    clip = read_video(path, 8, 32)
    assert clip.frames.shape == clip.following.shape == (8, 32, 43, 3)
    assert clip.frames.dtype == np.uint8
    assert clip.n_frames == 30 == count_frames(path)
    assert clip.times.tolist() == sample_times(30, 8).tolist()
    assert frame_numbers(clip.frames) == clip.times.tolist()
    assert frame_numbers(clip.following) == [1, 5, 9, 13, 18, 22, 26, 28]
    earlier, later = clip.flow_pairs()
    assert frame_numbers(earlier) == [0, 4, 8, 12, 17, 21, 25, 28]
    assert frame_numbers(later) == [1, 5, 9, 13, 18, 22, 26, 29]


def test_a_wrong_count_in_the_container_does_not_matter(tmp_path, monkeypatch):
    path = write_video(tmp_path / "v.mp4", numbered_frames(30))
    right = read_video(path, 8, 32)
    monkeypatch.setattr(Film, "packets", lambda film: 33)
    again = read_video(path, 8, 32)
    assert again.n_frames == 30
    assert np.array_equal(again.frames, right.frames)
    assert np.array_equal(again.following, right.following)


def test_same_size_is_not_resized_and_growing_works(tmp_path):
    path = write_video(tmp_path / "v.mp4", numbered_frames(9))
    assert read_video(path, 3, 48).frames.shape == (3, 48, 64, 3)
    assert read_video(path, 3, 96).frames.shape == (3, 96, 128, 3)


def test_shrinking_takes_area_means():
    frame = np.zeros((8, 12, 3), np.uint8)
    frame[::2] = 200
    assert (resize_short(frame, 4) == 100).all()
    assert resize_short(frame.transpose(1, 0, 2), 4).shape == (6, 4, 3)


def test_a_recording_turned_by_its_container_comes_upright(tmp_path):
    path = lay(write_video(tmp_path / "v.mp4", numbered_frames(8)), 0, 1, -1, 0)
    frames = read_video(path, 8, 48).frames
    assert frames.shape == (8, 64, 48, 3)
    # A quarter turn clockwise: the mark goes from the top left to the top right.
    assert frames[:, 2:12, -8:-2].min() > 200
    assert frames[:, 2:12, 2:8].max() < 100


def test_a_short_recording_is_refused(tmp_path):
    path = write_video(tmp_path / "v.mp4", numbered_frames(5))
    with pytest.raises(DataError) as caught:
        read_video(path, 8, 32)
    assert str(caught.value) == f"{path} has 5 frames; 8 are needed"


def test_files_that_are_no_video_are_named(tmp_path):
    text = tmp_path / "notes.mp4"
    text.write_text("this is not a video\n" * 50)
    with pytest.raises(DataError, match=r"cannot read video .*notes\.mp4 \(1000 bytes\): Invalid data"):
        read_video(text, 8, 32)
    empty = tmp_path / "empty.mp4"
    empty.touch()
    with pytest.raises(DataError, match=r"cannot read video .*empty\.mp4 \(0 bytes\)"):
        read_video(empty, 8, 32)
    whole = write_video(tmp_path / "whole.mp4", numbered_frames(30)).read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"cannot read video .*cut\.mp4 \(\d+ bytes\): cut, \d+ bytes"):
        read_video(cut, 8, 32)
    with pytest.raises(DataError, match=r"no video .*gone\.mp4"):
        read_video(tmp_path / "gone.mp4", 8, 32)


@pytest.mark.data
@pytest.mark.skipif("LITEMKD_TEST_DATA" not in os.environ, reason="LITEMKD_TEST_DATA is not set")
def test_real_recordings():
    folder = Path(os.environ["LITEMKD_TEST_DATA"]) / "clips"
    sizes = {}
    for path in sorted(folder.iterdir()):
        clip = read_video(path, 8, 64)
        assert clip.n_frames == count_frames(path)
        assert clip.frames.std() > 5
        sizes[path.name] = clip.frames.shape[1:3], clip.n_frames
    assert sizes["arm_wrestling_340x256.mp4"] == ((64, 85), 280)
    assert sizes["people_1920x1080.mp4"] == ((64, 114), 72)
    assert sizes["long_300frames_340x256.mp4"] == ((64, 85), 300)


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.skipif("LITEMKD_TEST_DATA" not in os.environ, reason="LITEMKD_TEST_DATA is not set")
def test_no_whole_recording_is_taken_for_a_damaged_one():
    """Each has the frames that its container says."""
    paths = [path for path in Path(os.environ["LITEMKD_TEST_DATA"]).rglob("*") if path.suffix in VIDEO_SUFFIXES]
    assert paths
    for path in paths:
        with av.open(str(path)) as container:
            stated = container.streams.video[0].frames
        assert count_frames(path) == stated


def test_an_animated_gif_is_a_recording(tmp_path):
    frames = [Image.fromarray(frame) for frame in numbered_frames(12)]
    frames[0].save(tmp_path / "a.GIF", save_all=True, append_images=frames[1:], duration=40)
    clip = read_video(tmp_path / "a.GIF", 8, 48)
    assert clip.n_frames == 12
    assert frame_numbers(clip.frames) == clip.times.tolist()
    frames[0].save(tmp_path / "still.gif")
    with pytest.raises(DataError, match=r"still\.gif has 1 frames; 8 are needed"):
        read_video(tmp_path / "still.gif", 8, 48)


def test_a_thin_recording_is_refused_for_what_would_be_made_of_it(tmp_path):
    path = write_video(tmp_path / "thin.mkv", np.zeros((10, 2, 16_000, 3), np.uint8), "ffv1")
    assert read_video(path, 8, 2).frames.shape == (8, 2, 16_000, 3)
    with pytest.raises(
        DataError, match=r"thin\.mkv is 16000x2 pixels, and would be 2048000x256 with a short side"
    ):
        read_video(path, 8, 256)
