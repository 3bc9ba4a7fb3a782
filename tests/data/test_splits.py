"""Split lists: what is accepted, and what is refused with which words."""

import os
from pathlib import Path

import numpy as np
import pytest

from litemkd.data.splits import SPLITS, check_enough, make_split, make_splits, read_splits, write_splits
from litemkd.errors import DataError

GOOD = {"train": ["run/v1", "run/v2", "jump/v1"], "val": ["sit/v1"], "test": ["wave/v1"]}


def write(folder: Path, lists: dict[str, list[str]], pattern: str = "{}list03.txt", **changes: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, lines in lists.items():
        (folder / pattern.format(name)).write_text("".join(f"{line}\n" for line in lines))
    for name, data in changes.items():
        (folder / pattern.format(name)).write_bytes(data)
    return folder


@pytest.mark.parametrize("pattern", ["{}list03.txt", "{}list07.txt", "{}.txt"])
def test_reads_in_list_order_with_sorted_classes(tmp_path, pattern):
    splits = read_splits(write(tmp_path / "s", GOOD, pattern))
    assert list(splits) == list(SPLITS)
    train = splits["train"]
    assert train.videos == ("run/v1", "run/v2", "jump/v1")
    assert train.classes == ("jump", "run")
    assert train.labels.dtype == np.int64
    assert train.labels.tolist() == [1, 1, 0]
    with pytest.raises(ValueError, match="read-only"):
        train.labels[0] = 0


def test_list03_wins_over_other_lists(tmp_path):
    folder = write(tmp_path, GOOD)
    (folder / "trainlist01.txt").write_text("other/v1\n")
    assert read_splits(folder)["train"].classes == ("jump", "run")


def test_windows_files_and_extensions_do_no_harm(tmp_path):
    data = "\ufeffrun fast/v_1.AVI\r\n\r\n"
    data += "run fast/v.2.part.mp4\r\nrun fast/v3.zip\r\njump/v4.avi 12\r\njump/Dr. No"
    splits = read_splits(write(tmp_path, GOOD, train=data.encode()))
    assert splits["train"].videos == (
        "run fast/v_1",
        "run fast/v.2.part",
        "run fast/v3",
        "jump/v4",
        "jump/Dr. No",
    )


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("v1", "'v1' is not of the form class/video"),
        ("a/b/c", "'a/b/c' is not of the form class/video"),
        ("run/", "'run/' is not of the form class/video"),
        ("run/.mp4", "'run/.mp4' is not of the form class/video"),
        ("/data/run/v1.mp4", "is an absolute path"),
        ("C:\\run\\v1.mp4", "is an absolute path"),
        ("../v1", "goes out of the folder with '..'"),
        ("run/v1", "run/v1 is already on line 1"),
        ("run/v1.mp4", "run/v1 is already on line 1"),
    ],
)
def test_a_bad_line_is_named_with_file_and_number(tmp_path, line, words):
    folder = write(tmp_path, GOOD, train=f"run/v1\n\n{line}\n".encode())
    with pytest.raises(DataError) as caught:
        read_splits(folder)
    assert str(caught.value).startswith(f"{folder / 'trainlist03.txt'}:3: ")
    assert words in str(caught.value)


def test_all_shared_classes_are_listed(tmp_path):
    lists = {"train": ["a/1", "b/1", "c/1"], "val": ["a/2"], "test": ["a/3", "c/3", "d/1"]}
    with pytest.raises(DataError, match=r"share 2 classes: a \(train and val and test\), c \(train and test\)"):
        read_splits(write(tmp_path, lists))


def test_missing_empty_and_doubtful_files(tmp_path):
    with pytest.raises(DataError, match=r"no split folder .*none.* it should hold trainlist03\.txt"):
        read_splits(tmp_path / "none")
    folder = write(tmp_path / "s", GOOD)
    (folder / "vallist03.txt").unlink()
    with pytest.raises(DataError, match=r"has no list for val: none of vallist03\.txt"):
        read_splits(folder)
    (folder / "vallist01.txt").write_text("sit/v1\n")
    (folder / "vallist02.txt").write_text("sit/v1\n")
    with pytest.raises(DataError, match=r"several lists for val .*vallist01\.txt, vallist02\.txt"):
        read_splits(folder)
    (folder / "vallist03.txt").write_text("\n \n")
    with pytest.raises(DataError, match=r"vallist03\.txt lists no video"):
        read_splits(folder)
    (folder / "vallist03.txt").write_bytes(b"\xff\xfe\x00s")
    with pytest.raises(DataError, match=r"cannot read .*vallist03\.txt as UTF-8"):
        read_splits(folder)


def test_made_splits_share_out_whole_classes(tmp_path):
    videos = [f"class{c:02}/v{i}" for c in range(20) for i in range(3)]
    shares = {"train": 0.5, "val": 0.25, "test": 0.25}
    splits = make_splits(videos, shares, seed=3)
    assert [len(splits[name].classes) for name in SPLITS] == [10, 5, 5]
    assert sorted(v for s in splits.values() for v in s.videos) == videos
    assert make_splits(videos[::-1], shares, seed=3) == splits
    assert make_splits(videos, shares, seed=4) != splits
    write_splits(tmp_path / "made", splits)
    assert read_splits(tmp_path / "made") == splits
    assert sorted(path.name for path in (tmp_path / "made").iterdir()) == sorted(
        f"{n}list03.txt" for n in SPLITS
    )


@pytest.mark.parametrize("classes", [3, 4, 5, 7, 11, 24])
def test_made_splits_use_every_class_and_none_is_empty(classes):
    videos = [f"c{c}/v" for c in range(classes)]
    splits = make_splits(videos, {"train": 0.8, "val": 0.1, "test": 0.1}, seed=0)
    assert sum(len(split.classes) for split in splits.values()) == classes
    assert min(len(split.classes) for split in splits.values()) >= 1


def test_splits_that_cannot_be_made():
    with pytest.raises(DataError, match=r"split fractions are .*'val': 0\.5"):
        make_splits(["a/1"], {"train": 0.8, "val": 0.5, "test": 0.1}, 0)
    with pytest.raises(DataError, match="2 classes cannot be divided"):
        make_splits(["a/1", "b/1"], {"train": 0.8, "val": 0.1, "test": 0.1}, 0)
    overlapping = {"train": make_split("train", ["a/1"]), "val": make_split("val", ["a/2"])}
    with pytest.raises(DataError, match="share 1 class: a"):
        write_splits(Path("never"), overlapping)


def test_every_class_with_too_few_videos_is_named():
    split = make_split("val", ["a/1", "a/2", "b/1", "c/1", "c/2", "c/3"])
    check_enough(split, shot=1, queries=0, way=3)
    with pytest.raises(DataError) as caught:
        check_enough(split, shot=2, queries=1, way=5)
    assert str(caught.value) == (
        "split val is too small: it has 3 classes, 5-way episodes need 5; 2 classes have fewer than 3 videos "
        "(2 for support, 1 for query): a (2), b (1)"
    )


def test_videos_can_be_left_out():
    split = make_split("val", ["b/1", "a/1", "c/1", "b/2"])
    left = split.without(["b/1", "a/1", "x/9"])
    assert left.videos == ("c/1", "b/2")
    assert left.classes == ("b", "c")
    assert left.labels.tolist() == [1, 0]


@pytest.mark.data
@pytest.mark.skipif("LITEMKD_TEST_DATA" not in os.environ, reason="LITEMKD_TEST_DATA is not set")
def test_real_lists():
    splits = read_splits(Path(os.environ["LITEMKD_TEST_DATA"]) / "msr_action3d" / "splits" / "msr_fewshot")
    assert [len(splits[name].classes) for name in SPLITS] == [10, 5, 5]
    assert [len(splits[name].videos) for name in SPLITS] == [274, 141, 141]
    check_enough(splits["test"], shot=5, queries=1, way=5)
