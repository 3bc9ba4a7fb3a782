"""Finding videos in the layouts of archives; names of lists in other spellings; links."""

from __future__ import annotations

from pathlib import Path

import pytest

from litemkd.data.finding.catalogue import NOTE, find_videos, link_videos
from litemkd.data.finding.folders import list_files
from litemkd.errors import DataError


def files(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def names(folder: Path) -> list[str]:
    return list(find_videos(folder).all())


@pytest.mark.parametrize("above", ["", "UCF-101/", "a/b/c/"])
def test_a_class_is_the_folder_a_video_lies_in(tmp_path: Path, above: str) -> None:
    files(tmp_path, f"{above}Run/v_Run_g01_c01.avi", f"{above}Jump/x.AVI", f"{above}Jump/notes.txt")
    assert names(tmp_path) == ["Jump/x", "Run/v_Run_g01_c01"]
    assert find_videos(tmp_path).classes == ("Jump", "Run")


def test_folders_within_folders_of_their_name_and_archives_of_their_own(tmp_path: Path) -> None:
    files(
        tmp_path,
        "walk/walk/a.avi",
        "run/b.avi",
        "run.rar",
        ".hidden/run/c.avi",
        "__MACOSX/run/._b.avi",
        "run/._b.avi",
    )
    assert names(tmp_path) == ["run/b", "walk/a"]


def test_links_to_folders_are_followed_and_a_loop_ends(tmp_path: Path) -> None:
    files(tmp_path / "disk", "run/a.mp4")
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "data").symlink_to(tmp_path / "disk")
    (tmp_path / "disk" / "run" / "again").symlink_to(tmp_path / "disk")
    # The same file by another way is the same clip.
    assert names(tmp_path / "here") == ["run/a"]


def test_what_the_software_made_is_not_looked_into(tmp_path: Path) -> None:
    files(tmp_path, "archive/run/a.mp4", "videos/run/a.mp4")
    found = find_videos(tmp_path, leave_out=[tmp_path / "videos"])
    assert found.find("run/a") == tmp_path / "archive" / "run" / "a.mp4"


@pytest.mark.parametrize("disk", ["air drumming", "air_drumming", "Air Drumming"])
@pytest.mark.parametrize("listed", ["air drumming", "air_drumming"])
@pytest.mark.parametrize(
    ("file", "clip"),
    [
        ("-aB_3456789", "-aB_3456789"),
        ("-aB_3456789_000012_000022", "-aB_3456789"),
        ("-aB_3456789", "-aB_3456789_000012_000022"),
        ("-aB_3456789_000012_000022", "-aB_3456789_000012_000022"),
    ],
)
def test_spellings_of_kinetics(tmp_path: Path, disk: str, listed: str, file: str, clip: str) -> None:
    path = files(tmp_path, f"train/{disk}/{file}.mp4") / "train" / disk / f"{file}.mp4"
    assert find_videos(tmp_path).find(f"{listed}/{clip}") == path
    assert find_videos(tmp_path).find(f"{listed}/-ab_3456789") is None  # names of videos are case-sensitive


def test_other_seconds_are_another_video(tmp_path: Path) -> None:
    files(tmp_path, "run/abcdefghijk_000012_000022.mp4")
    assert find_videos(tmp_path).find("run/abcdefghijk_000050_000060") is None


def test_numbers_without_class_folders(tmp_path: Path) -> None:
    files(tmp_path, "20bn/1.webm", "20bn/2.webm")
    found = find_videos(tmp_path, flat=True)
    assert found.find("Pushing [something], slowly/2") == tmp_path / "20bn" / "2.webm"
    assert found.find("Pushing/3") is None
    assert found.classes == found.not_of([]) == ()
    # In the folder itself they need no telling.
    assert find_videos(tmp_path / "20bn").find("Pushing/1") == tmp_path / "20bn" / "1.webm"
    with pytest.raises(
        DataError, match=r"1\.webm and perhaps others are in no class folder; put .* --lists DIR"
    ):
        find_videos(tmp_path / "20bn").all()


def test_published_classes_take_their_spelling_and_leave_others(tmp_path: Path) -> None:
    files(tmp_path, "Brush_Hair/a.avi", "cooking/b.avi", "stray.avi")
    found = find_videos(tmp_path)
    assert list(found.all({"brush hair": "brush_hair"})) == ["brush_hair/a"]
    assert found.not_of(["brush_hair"]) == ("cooking",)


def test_two_files_of_one_name(tmp_path: Path) -> None:
    files(tmp_path, "a/run/x.mp4", "b/run/x.mp4", "b/run/y.mp4")
    found = find_videos(tmp_path)
    assert found.find("run/y") is not None
    with pytest.raises(DataError) as caught:
        found.find("run/x")
    assert str(caught.value) == (
        f"{tmp_path}/a/run/x.mp4 and {tmp_path}/b/run/x.mp4 are both run/x; keep one or rename one"
    )
    with pytest.raises(DataError, match="are both run/x"):
        found.all()


def test_nothing_to_find(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone: no such folder; --videos DIR names the folder"):
        find_videos(tmp_path / "gone")
    files(tmp_path, "run.rar")
    with pytest.raises(
        DataError,
        match=r"holds no video \(\.mp4, .*FFmpeg reads\), down to 5 folders .*, only run\.rar; if there are",
    ):
        find_videos(tmp_path)


def test_names_that_a_list_would_change(tmp_path: Path) -> None:
    files(tmp_path, "run/a.mp4.avi", "run/b c.d.mp4")
    assert names(tmp_path) == ["run/a", "run/b c.d"]
    files(tmp_path, "run/two\nlines.avi")
    with pytest.raises(DataError, match="has a name that cannot stand in a list; rename it"):
        names(tmp_path)


def test_links_are_laid_out_once_and_follow_changes(tmp_path: Path) -> None:
    source, links = files(tmp_path / "in", "x/Run/a.AVI", "x/Run/b.avi"), tmp_path / "out" / "videos"
    link_videos(links, find_videos(source).all())
    assert list(list_files(links, (".avi",)).all()) == ["Run/a", "Run/b"]
    assert (links / "Run" / "a.avi").read_text() == "x/Run/a.AVI"
    first = links.stat().st_ino
    link_videos(links, find_videos(source).all())
    assert links.stat().st_ino == first  # nothing new, nothing written
    (source / "x" / "Run" / "b.avi").unlink()
    link_videos(links, find_videos(source).all())
    assert list(list_files(links, (".avi",)).all()) == ["Run/a"]
    assert (source / "x" / "Run" / "a.AVI").is_file()  # only links were taken away


def test_a_folder_of_ones_own_is_not_replaced_by_links(tmp_path: Path) -> None:
    source, own = files(tmp_path / "in", "Run/a.avi"), files(tmp_path / "videos", "Run/mine.avi")
    with pytest.raises(DataError, match=r"videos is there already and is not of links made here; move it away"):
        link_videos(own, find_videos(source).all())
    assert (own / "Run" / "mine.avi").is_file()
    assert not (own / NOTE).exists()
