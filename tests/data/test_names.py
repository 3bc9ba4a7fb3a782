"""Names of clips: one form for a line, a file and a folder."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from litemkd.data.finding.folders import list_files, list_folders
from litemkd.data.names import both, clean_name, name_of, plain_name
from litemkd.errors import DataError

COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"


@pytest.mark.parametrize(
    ("given", "plain"),
    [
        ("a/a_1", "a/a_1"),
        ("a/a_1.mp4", "a/a_1"),
        ("a/a_1.mp4.mkv", "a/a_1"),
        ("a/a_1.MP4.part.webm", "a/a_1.MP4.part"),
        ("a/a_1.MTS", "a/a_1"),
        ("a/a_1.mp4.npy", "a/a_1"),
        ("a/v_1.avi 12", "a/v_1"),
        ("a/v.1.264.avi", "a/v.1.264"),
        ("a/Dr. No", "a/Dr. No"),
        (" a/b .mp4 ", "a/b"),
        (f"{DECOMPOSED}/{DECOMPOSED}.gif", f"{COMPOSED}/{COMPOSED}"),
    ],
)
def test_a_line_a_file_and_a_list_written_of_it_have_one_name(given: str, plain: str) -> None:
    assert plain_name(given) == clean_name(given) == plain
    assert plain_name(plain) == plain
    assert name_of(Path("x") / given.strip()) == plain


def test_files_in_class_folders_and_what_else_lies_there(tmp_path: Path) -> None:
    for name in (
        "a/1.mp4.mkv",
        "a/2.MTS",
        "a/notes.txt",
        "a/.DS_Store",
        "b/more/3.mp4",
        "4.mp4",
        "encoding.json",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = list_files(tmp_path, (".mkv", ".mts"))
    assert found.all() == {"a/1": tmp_path / "a/1.mp4.mkv", "a/2": tmp_path / "a/2.MTS"}
    assert found.passed_over == ("4.mp4", "a/notes.txt", "b/more/")
    assert found.find("a/3") is None
    assert found.path("a/3") == tmp_path / "a/3"
    assert list(list_folders(tmp_path).paths) == ["b/more"]
    assert list_folders(tmp_path / "none").paths == {}
    with pytest.raises(DataError, match=r"no folder .*none; it should hold one folder of clips for each class"):
        list_files(tmp_path / "none", (".mp4",))


def test_names_that_look_the_same_are_one_and_the_difference_of_two_files_is_said(tmp_path: Path) -> None:
    for form in (COMPOSED, DECOMPOSED):
        (tmp_path / form).mkdir()
    (tmp_path / COMPOSED / "1.mp4").touch()
    (tmp_path / DECOMPOSED / "2.mp4").touch()
    assert list(list_files(tmp_path, (".mp4",)).all()) == [f"{COMPOSED}/1", f"{COMPOSED}/2"]
    (tmp_path / DECOMPOSED / "1.mp4").touch()
    with pytest.raises(DataError) as caught:
        list_files(tmp_path, (".mp4",)).find(f"{COMPOSED}/1")
    assert str(caught.value) == (
        f"{tmp_path}/{DECOMPOSED}/1.mp4 and {tmp_path}/{COMPOSED}/1.mp4 are both {COMPOSED}/1, in two Unicode "
        f"forms that look the same ({tmp_path}/cafe\\u0301/1.mp4 and {tmp_path}/caf\\xe9/1.mp4); keep one or "
        "rename one"
    )
    assert both("a.mp4", "a.avi", "a") == "a.mp4 and a.avi are both a"
    assert unicodedata.normalize("NFC", DECOMPOSED) == COMPOSED
