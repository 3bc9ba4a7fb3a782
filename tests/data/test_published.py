"""The built-in facts about published splits, against numbers that are known of the data sets themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

from litemkd.data.published import class_key, published
from litemkd.data.splits import Split, make_split
from litemkd.errors import some
from tests.data.trees import DATA_SETS, classes, facts

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("dataset", "lists", "counts", "videos"),
    [
        ("ucf101", "ucf_ARN", (70, 10, 21), 13_320),  # all of UCF101
        ("hmdb51", "hmdb_ARN", (31, 10, 10), 6_766),  # all of HMDB51
        ("kinetics100", "kinetics_CMN", (64, 12, 24), 100 * 100),
        ("ssv2_small", "ssv2_CMN", (64, 12, 24), 100 * 100),
        ("ssv2_full", "ssv2_OTAM", (64, 12, 24), 71_796),
    ],
)
def test_they_add_up(dataset: str, lists: str, counts: tuple[int, ...], videos: int) -> None:
    known = facts(dataset)
    assert known.lists == lists
    assert tuple(split.classes for split in known.splits.values()) == counts
    assert sum(split.videos for split in known.splits.values()) == videos
    assert known.whole_classes is (dataset in {"ucf101", "hmdb51"})
    names = classes(dataset)
    assert len(names) == len({class_key(one) for one in names})  # no class twice, in any spelling
    if names:
        assert len(names) == sum(counts)


def test_what_is_known() -> None:
    assert all(published(dataset) is not None for dataset in DATA_SETS)
    assert published("mine") is None
    assert "hurling (sport)" in facts("kinetics100").splits["test"].names


def as_published(dataset: str) -> dict[str, Split]:
    """Splits of the published classes and counts."""
    splits = {}
    for name, about in facts(dataset).splits.items():
        names = about.names or [f"{name} {i}" for i in range(about.classes)]
        videos = [f"{names[i % len(names)]}/v{i}" for i in range(about.videos)]
        splits[name] = make_split(name, videos)
    return splits


@pytest.mark.parametrize("dataset", DATA_SETS)
def test_what_is_as_published_differs_in_nothing(dataset: str) -> None:
    assert facts(dataset).differences(as_published(dataset)) == []


def test_differences_name_classes_and_count_videos() -> None:
    splits = as_published("hmdb51")
    train = [video for video in splits["train"].videos if not video.startswith(("walk/", "wave/", "turn/"))]
    val = [*splits["val"].videos, "golf/extra"]
    test = [video for video in splits["test"].videos if not video.startswith("sit/") or video.endswith("7/v7")]
    found = {
        "train": make_split("train", train),
        "val": make_split("val", val),
        "test": make_split("test", [*test, *(f"sitting/{i}" for i in range(101))]),
    }
    gone = 4280 - len(train)
    assert facts("hmdb51").differences(found) == [
        f"train: 28 of 31 classes, {len(train)} of 4280 videos",
        "  3 classes missing: turn, walk, wave",
        f"  {gone} videos missing",
        "val: 10 of 10 classes, 1195 of 1194 videos",
        "  1 video more than published",
        f"test: 10 of 10 classes, {len(test) + 101} of 1292 videos",
        "  1 class missing: sit",
        "  1 class not of the published ones: sitting",
        f"  {1292 - len(test) - 101} videos missing",
    ]


def test_a_class_with_few_videos_is_named() -> None:
    splits = as_published("ucf101")
    kept, seen = [], 0
    for video in splits["val"].videos:
        seen += video.startswith("Shotput/")
        if not video.startswith("Shotput/") or seen <= 99:
            kept.append(video)
    told = facts("ucf101").differences({**splits, "val": make_split("val", kept)})
    assert told[1] == "  1 class with fewer than the 100 videos all have: Shotput (99)"


def test_spellings_and_first_names() -> None:
    assert class_key("Air_drumming ") == class_key("air  drumming") == "air drumming"
    assert class_key("airdrumming") != class_key("air drumming")
    assert some(list("abcde")) == "a, b, c, d, e"
    assert some(list("abcdefg")) == "a, b, c, d, e and 2 more"
