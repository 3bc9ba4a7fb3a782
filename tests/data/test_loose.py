"""Clips in folders that no list describes: what is one, what is passed over, and names of all kinds."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from litemkd.data.finding.loose import find_classes, find_queries, read_centre
from litemkd.errors import DataError
from tests.data.recordings import numbered_frames, write_video


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_one_file_is_a_clip_whatever_it_is_called(tmp_path: Path) -> None:
    made = write_video(tmp_path / "x.ts", numbered_frames(10), "mpeg2video")
    for name in ("x.MTS", "x.recording", "x"):
        path = made.rename(tmp_path / name)
        (clip,) = find_queries(path).clips
        assert read_centre(clip.path, 8, 32, 32).shape == (8, 32, 32, 3)
        made = path
    (tmp_path / "x.txt").write_text("no video")
    (clip,) = find_queries(tmp_path / "x.txt").clips
    with pytest.raises(DataError, match=r"cannot read video .*x\.txt"):
        read_centre(clip.path, 8, 32, 32)


def test_what_is_neither_video_nor_picture_is_given_by_name(tmp_path: Path) -> None:
    names = (
        "a/1.MTS",
        "a/2.gif",
        "a/notes.txt",
        "a/.DS_Store",
        "b/1.mp4",
        "b/2/1.jpg",
        "b/2/list.csv",
        "top.csv",
    )
    found = find_classes(touch(tmp_path / "classes", *names))
    assert [clip.name for clip in found.clips] == ["a/1.MTS", "a/2.gif", "b/1.mp4", "b/2"]
    assert found.passed_over == ("top.csv", "a/notes.txt", "b/2/list.csv")
    assert find_queries(tmp_path / "classes") == found
    flat = find_queries(touch(tmp_path / "flat", "1.M2TS", "2/1.png", "2/x.txt", "y.txt"))
    assert [clip.name for clip in flat.clips] == ["1.M2TS", "2"]
    assert flat.passed_over == ("y.txt", "2/x.txt")
    pictures = find_queries(touch(tmp_path / "pictures", "1.png", "x.txt"))
    assert (len(pictures.clips), pictures.passed_over) == (1, ("x.txt",))
    with pytest.raises(
        DataError, match=r"only holds no clips, only x\.txt, y\.srt; a clip is a video \(\.mp4, "
    ):
        find_queries(touch(tmp_path / "only", "x.txt", "y.srt"))
    with pytest.raises(DataError, match=r"the class folder .*c holds no clips, only x\.txt; a clip is"):
        find_classes(touch(tmp_path / "one", "c/x.txt"))


def test_circled_digits_sort_as_text(tmp_path: Path) -> None:
    names = [f"{one}/1.mp4" for one in ("②", "10", "9", "a", "³")]
    found = find_classes(touch(tmp_path, *names))
    assert [clip.claimed for clip in found.clips] == ["9", "10", "a", "³", "②"]


def test_classes_are_in_composed_letters_and_two_that_look_the_same_are_refused(tmp_path: Path) -> None:
    (clip,) = find_classes(touch(tmp_path, "cafe\u0301/1.mp4")).clips
    assert clip.claimed == "caf\u00e9"
    with pytest.raises(DataError) as caught:
        find_classes(touch(tmp_path, "caf\u00e9/2.mp4"))
    assert "are both the class caf\u00e9, in two Unicode forms that look the same (" in str(caught.value)


def test_all_pictures_of_a_clip_are_sampled(tmp_path: Path) -> None:
    for t, frame in enumerate(numbered_frames(20), 1):
        Image.fromarray(frame).save(tmp_path / f"img_{t:05}.png")
    crops = read_centre(tmp_path, 8, 48, 48)
    assert [round((float(frame[-1, -1].mean()) - 20) / 4) for frame in crops] == [0, 3, 5, 8, 11, 14, 16, 19]
