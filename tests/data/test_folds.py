"""Folds over classes: what is dealt out, what is written, and what is refused. No video is opened here."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from litemkd.config import digest_of, load_config
from litemkd.data.folds import Folds, deal, divided, ready_folds
from litemkd.data.lists import NOTE, Lists, ready_lists
from litemkd.data.splits import SPLITS, read_splits
from litemkd.errors import ConfigError, DataError
from litemkd.stages.prepare import list_settings
from tests.data.test_lists import FEW, mine
from tests.job import SMOKE


@given(
    way=st.integers(2, 6),
    k=st.integers(2, 8),
    more=st.integers(0, 30),
    seed=st.integers(0, 5),
    val=st.floats(0.1, 0.5),
)
@settings(max_examples=60, deadline=None)
def test_every_class_is_tested_once_and_the_parts_are_balanced(
    way: int, k: int, more: int, seed: int, val: float
) -> None:
    classes = [f"c{one}" for one in range(k * way + 2 * way + more)]
    if (
        round(val * (len(classes) - -(-len(classes) // k))) > len(classes) - -(-len(classes) // k) - way
        or k == 2
    ):
        classes += [f"d{one}" for one in range(4 * way)]
    folds = deal(classes, k, way=way, val_share=val, seed=seed)
    assert Counter(name for fold in folds for name in fold["test"]) == Counter(classes)
    for fold in folds:
        assert sorted(name for part in fold.values() for name in part) == sorted(classes)
        assert all(len(part) >= way for part in fold.values())
    sizes = [len(fold["test"]) for fold in folds]
    assert max(sizes) - min(sizes) <= 1
    assert len({len(fold["val"]) for fold in folds}) == 1
    assert deal(classes[::-1], k, way=way, val_share=val, seed=seed) == folds


def test_ten_classes_make_three_folds_of_three_ways() -> None:
    folds = deal([str(one) for one in range(10)], 3, way=3, val_share=0.25, seed=0)
    assert [tuple(len(fold[name]) for name in SPLITS) for fold in folds] == [(4, 3, 3), (4, 3, 3), (3, 3, 4)]
    assert folds != deal([str(one) for one in range(10)], 3, way=3, val_share=0.25, seed=1)
    with pytest.raises(DataError, match=r"data\.folds: 4 given, and 10 classes; .* 3 each: 3 folds would do"):
        deal([str(one) for one in range(10)], 4, way=3, val_share=0.25, seed=0)
    with pytest.raises(DataError, match="9 classes or more, or smaller episodes, would do"):
        deal(list("abcde"), 2, way=3, val_share=0.25, seed=0)


def fold_of(root: Path, number: int, *more: str) -> Lists:
    overrides = [f"data.root={root / 'data'}", "data.dataset=mine", f"data.fold={number}", *FEW, *more]
    config = load_config(None, overrides)
    return ready_folds(list_settings(config), Folds(config.data.folds, number))


def test_folds_are_written_as_lists_and_share_their_clips(tmp_path: Path) -> None:
    source = tmp_path / "disk"
    mine(source / "videos")
    words = f"data.source={source}", "data.folds=3"
    found = [fold_of(tmp_path, number, *words) for number in range(3)]
    assert Counter(one for lists in found for one in lists.splits["test"].classes) == Counter(
        f"c{one}" for one in range(6)
    )
    assert len({lists.everything for lists in found}) == len({lists.division for lists in found}) == 1
    assert len(found[0].everything) == 12
    for number, lists in enumerate(found):
        assert lists.folder == tmp_path / f"data/mine/splits/mine_3folds_seed0/{number}"
        assert read_splits(lists.folder) == lists.splits
        assert lists.words == f"fold {number} of 3, classes dealt out from seed 0"
    assert fold_of(tmp_path, 0, *words, "data.split_seed=1").splits != found[0].splits


def test_lists_of_folds_that_were_edited_are_read(tmp_path: Path) -> None:
    source = tmp_path / "disk"
    mine(source / "videos")
    words = f"data.source={source}", "data.folds=3"
    before = fold_of(tmp_path, 1, *words)
    path = before.folder / "trainlist03.txt"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(reversed(lines)) + "\n")
    after = fold_of(tmp_path, 1, *words)
    assert after.splits["train"].videos == tuple(reversed(lines))
    assert after.division != before.division


def test_named_classes_alone_are_dealt_out(tmp_path: Path) -> None:
    source = tmp_path / "disk"
    mine(source / "videos", 8)
    words = f"data.source={source}", "data.folds=3", "data.on_unlisted_class=skip"
    classes = "data.classes={train: [c0, c1], val: [c2, c3], test: [c4, c5]}"
    assert {one.partition("/")[0] for one in fold_of(tmp_path, 0, *words, classes).everything} == {
        f"c{one}" for one in range(6)
    }


def test_folds_may_be_given_class_by_class_or_as_folders(tmp_path: Path) -> None:
    source = tmp_path / "disk"
    mine(source / "videos")
    ways = [
        "{train: [c0, c1], val: [c2, c3], test: [c4, c5]}",
        "{train: [c4, c5], val: [c0, c1], test: [c2, c3]}",
    ]
    given = f"data.source={source}", f"data.folds=[{', '.join(ways)}]"
    found = fold_of(tmp_path, 1, *given)
    assert found.splits["test"].classes == ("c2", "c3")
    assert found.words == "fold 1 of 2, as data.folds names it"
    note = json.loads((found.folder / NOTE).read_text())
    assert (note["fold"], note["of"]) == (1, 2)
    for place, folder in enumerate(("one", "two")):
        lists = fold_of(tmp_path, place, *given)
        for name, split in lists.splits.items():
            path = tmp_path / "data/mine/splits" / folder / f"{name}list03.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(f"{video}\n" for video in split.videos))
    named = fold_of(tmp_path, 1, f"data.source={source}", "data.folds=[one, two]")
    assert named.splits == found.splits
    assert (named.everything, named.division) == (found.everything, found.division)
    with pytest.raises(DataError, match=r"data\.folds\.0\.test: no videos of nothing"):
        fold_of(
            tmp_path, 0, f"data.source={source}", f"data.folds=[{ways[0].replace('c5', 'nothing')}, {ways[1]}]"
        )


def test_lists_of_the_users_own_are_dealt_out_anew(tmp_path: Path) -> None:
    source = tmp_path / "disk"
    mine(source / "videos", 9)
    for place, name in enumerate(SPLITS):
        path = source / "splits" / "mine" / f"{name}list03.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"c{2 * place + one}/clip{clip:03}\n" for one in (0, 1) for clip in (0, 1)))
    lists = fold_of(tmp_path, 2, f"data.source={source}", "data.folds=3", "data.on_unlisted_class=skip")
    assert {one.partition("/")[0] for one in lists.everything} == {f"c{one}" for one in range(6)}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["data.folds=1"], "data.folds: 1 given; 2 or more; or a list"),
        (["data.folds=[a]"], r"data.folds: \['a'\] given; 2 or more"),
        (["data.folds=[a, 3]"], "fold 0 is neither like the others"),
        (["data.folds=[{tests: [a]}, {}]"], "fold 0 has a part 'tests'; train, val and test would do"),
        (["data.folds=[{test: [a]}, {}]"], "fold 0: no classes for train and val"),
        (["data.fold=0"], "data.fold: 0 given; data.folds beside it, such as 4, would do"),
        (["data.folds=3", "data.fold=3"], "data.fold: 3 given; 0 to 2 would do"),
    ],
)
def test_what_is_no_fold_is_refused(words: list[str], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        load_config(None, words)


def test_without_folds_nothing_is_another_configuration() -> None:
    config = load_config(SMOKE)
    assert "folds" not in config.model_dump()["data"]
    assert config.made_dir == config.dataset_dir
    assert digest_of(load_config(SMOKE, ["data.folds=3"])) != digest_of(config)


def divided_at(root: Path, number: int, *more: str) -> Lists:
    overrides = [f"data.root={root / 'data'}", "data.dataset=mine", f"data.division={number}", *FEW, *more]
    wanted = list_settings(load_config(None, overrides))
    return divided(wanted, ready_lists(wanted), number)


def test_divisions_change_val_and_leave_test(tmp_path: Path) -> None:
    source = tmp_path / "disk"
    mine(source / "videos", 8)
    classes = "data.classes={train: [c0, c1, c2, c3], val: [c4, c5], test: [c6, c7]}"
    words = f"data.source={source}", classes
    first, *others = [divided_at(tmp_path, number, *words) for number in range(3)]
    assert first.everything == ()
    assert {lists.splits["test"] for lists in others} == {first.splits["test"]}
    val = [lists.splits["val"].classes for lists in (first, *others)]
    assert sorted(name for names in val for name in names) == [f"c{one}" for one in range(6)]
    for number, lists in enumerate(others, 1):
        assert {*lists.splits["train"].classes} == {f"c{one}" for one in range(6)} - {*val[number]}
        assert read_splits(lists.folder) == lists.splits
        assert lists.words == f"classes named in data.classes, division {number}"
        # The order of the first, so that packs are shared.
        assert lists.everything == tuple(video for split in first.splits.values() for video in split.videos)
    with pytest.raises(DataError, match=r"data\.division: 3 given; of 6 classes .* 2 are val; 0 to 2 would do"):
        divided_at(tmp_path, 3, *words)


def test_divisions_of_a_fold_leave_its_test_classes(tmp_path: Path) -> None:
    source = tmp_path / "disk"
    mine(source / "videos")
    words = f"data.source={source}", "data.folds=3"
    fold = fold_of(tmp_path, 1, *words)
    config = load_config(
        None, [f"data.root={tmp_path / 'data'}", "data.dataset=mine", "data.fold=1", *FEW, *words]
    )
    other = divided(list_settings(config), fold, 1)
    assert other.splits["test"] == fold.splits["test"]
    assert other.splits["val"].classes == fold.splits["train"].classes
    assert other.folder.name == "1_division1" or other.folder.name.endswith("_1_division1")
    assert other.everything == fold.everything
