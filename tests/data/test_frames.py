"""Frames on disk: order, form, and faults."""

import io

import numpy as np
import pytest
from PIL import Image

from litemkd.data import frames as module
from litemkd.data.frames import frame_folder, write_frames
from litemkd.errors import DataError
from litemkd.recordings.endings import natural_key
from tests.data.recordings import clip_of, frame_numbers, numbered_frames


def test_names_sort_as_people_do():
    names = ["img_10.jpg", "img_2.jpg", "img_1.jpg", "a.jpg", "10.jpg", "9.jpg"]
    expected = ["9.jpg", "10.jpg", "a.jpg", "img_1.jpg", "img_2.jpg", "img_10.jpg"]
    assert sorted(names, key=natural_key) == expected
    # Signs that are digits and no numbers are text; digits of other scripts are numbers.
    assert sorted(["②", "10", "³", "٣", "1②"], key=natural_key) == ["1②", "٣", "10", "³", "②"]


@pytest.mark.parametrize("T", [8, 12])
def test_what_is_written_comes_back(tmp_path, T):
    clip = tmp_path / "rgb_l8" / "run" / "v1"
    frames = numbered_frames(T)
    write_frames(clip, frames)
    back = clip_of(clip, T)
    assert back.shape == frames.shape
    assert frame_numbers(back) == list(range(T))
    assert np.abs(back.astype(int) - frames).mean() < 1
    assert [path.name for path in clip.parent.iterdir()] == ["v1"]


def test_the_original_release_names_and_order(tmp_path):
    frames = numbered_frames(12)
    for t, frame in enumerate(frames, 1):  # 1.jpg .. 12.jpg: sorted as text, 10 would come before 2
        Image.fromarray(frame).save(tmp_path / f"{t}.jpg")
    (tmp_path / "Thumbs.db").touch()
    assert frame_numbers(clip_of(tmp_path, 12)) == list(range(12))


def test_colour_is_kept_sharp(tmp_path):
    frames = np.zeros((1, 16, 16, 3), np.uint8)
    frames[:, :, 7] = [255, 0, 0]  # a red line one pixel wide
    write_frames(tmp_path / "c", frames)
    assert clip_of(tmp_path / "c", 1)[0, :, 7, 0].min() > 200


def test_a_failed_write_leaves_the_old_clip(tmp_path, monkeypatch):
    clip = tmp_path / "c" / "v"
    write_frames(clip, numbered_frames(4))
    old = {path.name: path.read_bytes() for path in clip.iterdir()}
    real = Image.fromarray
    left = iter([True, True])
    monkeypatch.setattr(module.Image, "fromarray", lambda frame: real(frame) if next(left, False) else 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_frames(clip, numbered_frames(4, 32, 32))
    assert {path.name: path.read_bytes() for path in clip.iterdir()} == old
    assert [path.name for path in clip.parent.iterdir()] == ["v"]


def test_the_folder_of_a_modality(tmp_path):
    assert frame_folder(tmp_path, "rgb", 8) is None
    (tmp_path / "l8").mkdir()
    assert frame_folder(tmp_path, "rgb", 8) == tmp_path / "l8"
    assert frame_folder(tmp_path, "flow", 8) is None
    (tmp_path / "rgb_l8").mkdir()
    assert frame_folder(tmp_path, "rgb", 8) == tmp_path / "rgb_l8"


def test_faults_are_named(tmp_path):
    clip = tmp_path / "v1"
    write_frames(clip, numbered_frames(8))
    with pytest.raises(DataError, match=r"v1 has 8 frames; exactly 12 are needed"):
        clip_of(clip, 12)
    with pytest.raises(DataError, match=r"v1 has 8 frames; exactly 4 are needed"):
        clip_of(clip, 4)
    with pytest.raises(DataError, match=r"no frames: cannot open the folder .*v2 \(No such file"):
        clip_of(tmp_path / "v2", 8)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty has 0 frames"):
        clip_of(tmp_path / "empty", 8)

    whole = (clip / "3.jpg").read_bytes()
    for keep in (len(whole) - 100, 300):  # in the picture, and in the header
        (clip / "3.jpg").write_bytes(whole[:keep])
        with pytest.raises(DataError, match=r"cannot read frame .*3\.jpg: .*[Tt]runcated"):
            clip_of(clip, 8)
    (clip / "3.jpg").write_text("not a picture")
    with pytest.raises(DataError, match=r"cannot read frame .*3\.jpg"):
        clip_of(clip, 8)
    other = io.BytesIO()
    Image.fromarray(numbered_frames(1, 40, 40)[0]).save(other, "JPEG")
    (clip / "3.jpg").write_bytes(other.getvalue())
    with pytest.raises(DataError, match=r"3\.jpg is 40x40, but 1\.jpg beside it is 64x48"):
        clip_of(clip, 8)
    with pytest.raises(DataError, match=r"\(8, 4, 4\) uint8; \(T, H, W, 3\)"):
        write_frames(tmp_path / "bad", np.zeros((8, 4, 4), np.uint8))
