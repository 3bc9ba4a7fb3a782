"""Which lists a data set gets. No video is opened here: empty files will do, as many as are published."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from litemkd.config import load_config
from litemkd.data.lists import NOTE, ListSettings, ready_lists, split_folder
from litemkd.data.splits import SPLITS, read_splits
from litemkd.errors import ConfigError, DataError
from litemkd.stages.prepare import list_settings
from tests.data.trees import facts


def touch(folder: Path, count: int, suffix: str = ".avi") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        (folder / f"clip{number:03}{suffix}").touch()


def whole(folder: Path, dataset: str) -> Path:
    """As many empty files as are published, spread over the classes of each split."""
    for about in facts(dataset).splits.values():
        each, more = divmod(about.videos, about.classes)
        for place, one in enumerate(about.names):
            touch(folder / one, each + (place < more))
    return folder


def config_of(root: Path, dataset: str, *more: str) -> ListSettings:
    config = load_config(None, [f"data.dataset={dataset}", f"data.root={root / 'data'}", *more])
    return list_settings(config)


def refused(config: ListSettings) -> str:
    with pytest.raises(DataError) as caught:
        ready_lists(config)
    return str(caught.value)


@pytest.mark.parametrize("dataset", ["ucf101", "hmdb51"])
def test_the_whole_data_set_needs_no_option(tmp_path: Path, dataset: str) -> None:
    videos = whole(tmp_path / "disk", dataset)
    lists = ready_lists(config_of(tmp_path, dataset, f"data.videos={videos}"))
    assert (lists.differences, lists.missing, lists.unlisted) == ((), (), ())
    assert len(lists.remarks) == 1
    for name, about in facts(dataset).splits.items():
        assert len(lists.splits[name].videos) == about.videos
    assert read_splits(lists.folder) == lists.splits


def test_other_classes_are_named(tmp_path: Path) -> None:
    dataset = "hmdb51"
    videos = whole(tmp_path / "disk", dataset)
    # One class less, one video more, a class that no split has.
    _, gone, other = facts(dataset).splits["test"].names[:3]
    (videos / gone).rename(videos / "Cooking")
    touch(videos / other, 150)
    told = refused(config_of(tmp_path, dataset, f"data.videos={videos}"))
    assert f"    1 class missing: {gone}\n" in told
    assert "train:" not in told
    assert "val:" not in told
    skip = f"data.videos={videos}", "data.on_missing=skip"
    assert refused(config_of(tmp_path, dataset, *skip)) == (
        f"{videos} has class folders that stand in no list: Cooking; add their clips to a list, correct the "
        "folders' names, or leave them out with --set data.on_unlisted_class=skip"
    )
    lists = ready_lists(config_of(tmp_path, dataset, *skip, "data.on_unlisted_class=skip"))
    assert lists.unlisted == ("Cooking",)
    assert gone not in read_splits(lists.folder)["test"].classes


def test_too_many_videos_are_told_as_well(tmp_path: Path) -> None:
    videos = whole(tmp_path / "disk", "hmdb51")
    (videos / "golf" / "mine.avi").touch()
    assert refused(config_of(tmp_path, "hmdb51", f"data.videos={videos}")) == (
        f"{videos} does not hold what is published for hmdb51 (hmdb_ARN):\n"
        "  val: 10 of 10 classes, 1195 of 1194 videos\n"
        "    1 video more than published\n"
        "complete it and prepare again, or go on with what is there: --set data.on_missing=skip"
    )


def test_a_folder_with_videos_in_it_is_a_source_as_before(tmp_path: Path) -> None:
    source = tmp_path / "source"
    whole(source / "videos", "hmdb51")
    config = config_of(tmp_path, "hmdb51", f"data.source={source}")
    lists = ready_lists(config)
    assert lists.folder == tmp_path / "data" / "hmdb51" / "splits" / "hmdb_ARN"
    assert not (lists.folder.parents[1] / "videos").exists()  # nothing to link
    assert [path.name for path in source.iterdir()] == ["videos"]
    # They stand from then on, also when the videos are gone.
    (source / "videos").rename(source / "elsewhere")
    assert ready_lists(config).splits == lists.splits


def test_frames_alone_are_clips_too(tmp_path: Path) -> None:
    frames = tmp_path / "data" / "hmdb51" / "l8"
    for about in facts("hmdb51").splits.values():
        for one in about.names:
            for number in range(6):
                (frames / one / f"clip{number}").mkdir(parents=True)
    few = "data.on_missing=skip", "episode.shot=1"
    lists = ready_lists(config_of(tmp_path, "hmdb51", *few))
    assert len(lists.splits["val"].videos) == 60


def mine(folder: Path, classes: int = 6) -> Path:
    for one in range(classes):
        touch(folder / f"c{one}", 2)
    return folder


FEW = ("episode.way=2", "episode.shot=1", "episode.queries=1", "evaluation.shots=[1]", "loss.support=0")
THIRDS = tuple(f"data.make_splits.{name}={1 / 3}" for name in SPLITS)


def test_the_folder_of_links_is_not_linked_to_itself(tmp_path: Path) -> None:
    videos = mine(tmp_path / "data" / "mine" / "videos")
    lists = ready_lists(config_of(tmp_path, "mine", f"data.videos={videos}", *FEW, *THIRDS))
    assert sum(len(split.videos) for split in lists.splits.values()) == 12
    assert not (videos / "c0" / "clip000.avi").is_symlink()


def test_videos_beside_the_links(tmp_path: Path) -> None:
    """The archive was unpacked in the data set's own folder, and that is what is named."""
    folder = tmp_path / "data" / "mine"
    mine(folder / "archive")
    config = config_of(tmp_path, "mine", f"data.videos={folder}", *FEW, *THIRDS)
    first, second = ready_lists(config), ready_lists(config)
    assert (folder / "videos" / "c0" / "clip000.avi").resolve() == folder / "archive" / "c0" / "clip000.avi"
    assert first == second


def test_nothing_is_written_beside_a_folder_of_ones_own(tmp_path: Path) -> None:
    disk = mine(tmp_path / "disk")
    own = mine(tmp_path / "data" / "mine" / "videos", 1)
    told = refused(config_of(tmp_path, "mine", f"data.videos={disk}", *FEW, *THIRDS))
    assert told.startswith(f"{own} is there already and is not of links made here")
    assert [path.name for path in own.parent.iterdir()] == ["videos"]


def test_what_was_left_out_is_remembered(tmp_path: Path) -> None:
    disk = mine(tmp_path / "disk")
    given = tmp_path / "given"
    given.mkdir()
    for place, name in enumerate(SPLITS):
        names = [f"c{2 * place + i}/clip{c:03}" for i in range(2) for c in range(2)]
        (given / f"{name}list07.txt").write_text("\n".join([*names, f"c{2 * place}/gone"]))
    words = (f"data.videos={disk}", f"data.lists={given}", *FEW)
    assert "listed and not there: 3 clips: c0/gone, c2/gone, c4/gone\n" in refused(
        config_of(tmp_path, "mine", *words)
    )
    lists = ready_lists(config_of(tmp_path, "mine", *words, "data.on_missing=skip"))
    later = ready_lists(config_of(tmp_path, "mine", *FEW))
    assert later == lists
    assert later.missing == ("c0/gone", "c2/gone", "c4/gone")
    assert later.remarks[1] == "left out, listed and not there: 3 clips: c0/gone, c2/gone, c4/gone"
    # One has come since: it is taken in again, without naming the lists again.
    (disk / "c2" / "gone.avi").touch()
    again = config_of(tmp_path, "mine", f"data.videos={disk}", *FEW, "data.on_missing=skip")
    assert ready_lists(again).missing == ("c0/gone", "c4/gone")
    assert "c2/gone" in ready_lists(config_of(tmp_path, "mine", *FEW)).splits["val"].videos


def test_made_lists_follow_the_seed_and_stand_otherwise(tmp_path: Path) -> None:
    source = tmp_path / "data" / "mine"
    mine(source / "videos", 30)
    first = ready_lists(config_of(tmp_path, "mine", *FEW))
    note = json.loads((first.folder / NOTE).read_text())
    assert (note["from"], note["seed"]) == ("seed", 0)
    assert [len(split.classes) for split in first.splits.values()] == [18, 6, 6]
    # A folder that comes later does not deal anew behind the user's back; preparing will name it.
    touch(source / "videos" / "later", 2)
    assert ready_lists(config_of(tmp_path, "mine", *FEW)) == first
    other = ready_lists(config_of(tmp_path, "mine", *FEW, "data.split_seed=5"))
    assert other.splits != first.splits
    assert other.words == "classes dealt out from seed 5"
    # Edited, or without the note, they are the user's, whatever the seed says.
    val = first.folder / "vallist03.txt"
    val.write_text("".join(val.read_text().splitlines(keepends=True)[:-2]))
    edited = ready_lists(config_of(tmp_path, "mine", *FEW, "data.split_seed=6"))
    assert [len(split.classes) for split in edited.splits.values()] == [19, 5, 6]
    assert edited.words == f"lists in {first.folder}"
    (first.folder / NOTE).unlink()
    assert ready_lists(config_of(tmp_path, "mine", *FEW, "data.split_seed=7")) == edited


NAMED = (
    "data.classes.train=[c00,c01,c02,c03,c04]",
    "data.classes.val=[c05,c06,c07,c08,c09]",
    "data.classes.test=[c10,c11,c12,c13,c14]",
)


def test_classes_by_name(tmp_path: Path) -> None:
    source = tmp_path / "data" / "mine" / "videos"
    for number in range(16):
        touch(source / f"c{number:02}", 10, ".mp4")
    told = refused(config_of(tmp_path, "mine", *NAMED))
    assert "class folders that stand in no list: c15;" in told
    lists = ready_lists(config_of(tmp_path, "mine", *NAMED, "data.on_unlisted_class=skip"))
    assert lists.splits["test"].classes == ("c10", "c11", "c12", "c13", "c14")
    assert lists.words == "classes named in data.classes"
    # Other names, other lists, in the same folder.
    others = (NAMED[0], NAMED[1].replace("val", "test"), NAMED[2].replace("test", "val"))
    turned = ready_lists(config_of(tmp_path, "mine", *others, "data.on_unlisted_class=skip"))
    assert turned.splits["test"].classes == lists.splits["val"].classes
    assert read_splits(turned.folder) == turned.splits
    wrong = (*NAMED[:2], "data.classes.test=[c10,c11,c12,c13,c99]", "data.on_unlisted_class=skip")
    assert refused(config_of(tmp_path, "mine", *wrong)).startswith("data.classes.test: no videos of c99; ")
    (turned.folder / NOTE).unlink()
    told = refused(config_of(tmp_path, "mine", *NAMED))
    assert told.startswith(f"data.classes: classes are named there, and {turned.folder} holds lists of yours")


def test_classes_by_name_are_of_all_three_splits_and_of_one_each(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"data\.classes: .*no classes for val; some for each of train, val and test"
    ):
        config_of(tmp_path, "mine", NAMED[0], NAMED[2])
    with pytest.raises(ConfigError, match=r"data\.classes: .*named twice: c00; each class once would do"):
        config_of(tmp_path, "mine", *NAMED[:2], "data.classes.test=[c00,c11]")


def test_shares_that_are_none(tmp_path: Path) -> None:
    mine(tmp_path / "data" / "mine" / "videos", 30)
    told = refused(config_of(tmp_path, "mine", *FEW, "data.make_splits.train=0.5"))
    assert told == "split fractions are {'train': 0.5}; train, val and test above 0 that add up to 1 are needed"


def test_lists_that_are_asked_for_by_name_must_be_there(tmp_path: Path) -> None:
    mine(tmp_path / "data" / "mine" / "videos", 30)
    config = config_of(tmp_path, "mine", *FEW, "data.splits=other")
    assert refused(config).startswith(f"no split folder {tmp_path}/data/mine/splits/other; it should hold")
    assert not split_folder(config).exists()


def test_neither_videos_nor_frames(tmp_path: Path) -> None:
    (tmp_path / "data" / "mine").mkdir(parents=True)
    told = refused(config_of(tmp_path, "mine"))
    assert told.startswith(f"there is no rgb for {tmp_path}/data/mine; any of these would do:\n")
