"""`litemkd init`: what it sees in a folder of recordings, and an experiment file that works as it is."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from litemkd.cli import main
from litemkd.config import load_config
from litemkd.data.finding.survey import sided, survey
from litemkd.data.splits import check_enough, make_split
from litemkd.data.toy.dataset import write_video
from litemkd.errors import DataError
from litemkd.stages.init import REST, make_plan
from tests.job import Home


def film(path: Path, frames: int = 9, short: int = 34) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    shade = np.linspace(0, 255, frames).astype(np.uint8)[:, None, None, None]
    write_video(path, np.broadcast_to(shade, (frames, short, 40, 3)).copy(), exact=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight classes that can be used, one with a single clip, one of clips of no class."""
    made = tmp_path_factory.mktemp("my videos") / "videos"
    names = ["swipe_left", "swipe_right", "no", "yes", "true, or not", "2024", "wave", "nod"]
    for name in names:
        for number in range(3):
            film(made / name / f"{number}.mp4", frames=9 + number)
    film(made / "alone" / "0.mp4", frames=30, short=64)
    for number in range(4):
        film(made / "Unclassified" / f"{number}.mp4")
    (made / "notes.txt").write_text("mine")
    return made


def begun(home: Path, *words: str) -> Result:
    with Home(home).entered():
        return CliRunner().invoke(main, ["init", *words])


def test_a_look_at_recordings(folder: Path) -> None:
    found = survey(folder)
    assert found.clips == {
        **dict.fromkeys(("swipe_left", "swipe_right", "no", "yes", "true, or not", "2024", "wave", "nod"), 3),
        "alone": 1,
        "Unclassified": 4,
    }
    assert (found.opened, found.frames[0], found.frames[-1], found.sides[0], found.sides[-1]) == (
        29,
        9,
        30,
        34,
        40,  # high, and 40 wide
    )
    assert found.sided == ("swipe_left", "swipe_right")
    assert found.unreadable == ()


def test_the_file_works_at_once(folder: Path, tmp_path: Path) -> None:
    done = begun(tmp_path, str(folder))
    assert done.exit_code == 0, done.output
    (file,) = tmp_path.glob("*.yaml")
    assert done.stdout.splitlines()[-2:] == [
        f"written: {file.name}",
        f"next:    litemkd distill --config {file.name}",
    ]
    config = load_config(file)
    text = file.read_text(encoding="utf-8")
    assert "alone (1)" in text
    assert "swipe_left, swipe_right: a mirror" in text
    assert (config.data.dataset, config.data.flip) == (file.stem, False)
    assert sorted(one for names in config.data.classes.values() for one in names) == sorted(
        ["swipe_left", "swipe_right", "no", "yes", "true, or not", "2024", "wave", "nod"]
    )
    assert (config.episode.way, config.episode.shot, config.episode.queries) == (2, 2, 1)
    quick = "student.train.episodes=2 student.train.validations=1 student.train.warmup=1 threads=1"
    quick += " student.train.recalibrate=2 evaluation.val_episodes=4 evaluation.test_episodes=8 data.workers=1"
    words = ["student", "--config", file.name, "--device", "cpu", "--overrides", quick]
    with Home(tmp_path).entered():
        trained = CliRunner().invoke(main, words)
    assert trained.exit_code == 0, trained.output
    assert f"registered model: litemkd-{file.stem}-student version 1" in trained.output


def test_nothing_is_written_over_and_nothing_half_written(folder: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("seed: 1\n")
    done = begun(tmp_path, str(folder), "--output", "mine.yaml")
    assert done.exit_code == 1
    assert (
        "mine.yaml is there already and is not written over; another file by --output would do" in done.output
    )
    assert mine.read_text() == "seed: 1\n"
    assert list(tmp_path.iterdir()) == [mine]


@pytest.mark.parametrize(
    ("made", "told"),
    [
        ((), "holds no video"),
        (
            ("a/1", "a/2", "b/1", "b/2", "c/1", "c/2", "d/1"),
            "3 classes with two clips or more (a, b, c); 6 would do",
        ),
        (("1", "a/2"), "in no class folder"),
    ],
)
def test_what_cannot_be_begun_with_is_told(tmp_path: Path, made: Iterable[str], told: str) -> None:
    (tmp_path / "films").mkdir()
    for name in made:
        film(tmp_path / "films" / f"{name}.mp4")
    done = begun(tmp_path, "films")
    assert done.exit_code == 1
    assert told in done.output
    assert not list(tmp_path.glob("*.yaml"))


def test_damaged_and_short_clips_are_skipped_and_said(folder: Path, tmp_path: Path) -> None:
    for path in folder.rglob("*.mp4"):
        (tmp_path / "v" / path.parent.name).mkdir(parents=True, exist_ok=True)
        (tmp_path / "v" / path.parent.name / path.name).write_bytes(path.read_bytes())
    whole = tmp_path / "v" / "wave" / "0.mp4"
    whole.write_bytes(whole.read_bytes()[:200])
    film(tmp_path / "v" / "nod" / "short.mp4", frames=5)
    assert begun(tmp_path, "v", "--name", "mine").exit_code == 0
    text = (tmp_path / "mine.yaml").read_text()
    assert "# Could not be read: 1, such as: cannot read video" in text
    assert "# Shorter than 8 frames, and skipped: 1 of" in text
    assert yaml.safe_load(text)["data"]["on_bad_clip"] == "skip"


@given(st.dictionaries(st.sampled_from([f"c{i}" for i in range(40)] + list(REST[:2])), st.integers(1, 30)))
def test_any_plan_is_one_that_episodes_can_be_drawn_for(clips: dict[str, int]) -> None:
    real = {name: count for name, count in clips.items() if name not in REST}
    if sum(count > 1 for count in real.values()) < 6:
        with pytest.raises(DataError, match="6 would do"):
            make_plan(clips)
        return
    plan = make_plan(clips)
    dealt = [one for names in plan.classes.values() for one in names]
    assert sorted([*dealt, *plan.left_out]) == sorted(clips)
    assert not set(dealt) & set(REST)
    for split, names in plan.classes.items():
        listed = make_split(split, [f"{one}/{i}" for one in names for i in range(clips[one])])
        check_enough(listed, plan.shot, plan.queries if split == "train" else 1, plan.way)


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (("bright", "upright", "cleft", "sidewalk"), ()),
        (("turnLeft", "wave"), ("turnLeft",)),
        (("hand l", "hand r"), ("hand l", "hand r")),
        (("plan l", "plan b"), ()),
        (("spin_ccw", "spin"), ("spin_ccw",)),
        (("LEFT", "Right"), ("LEFT", "Right")),
    ],
)
def test_names_that_speak_of_a_side(names: tuple[str, ...], wanted: tuple[str, ...]) -> None:
    assert sided(names) == wanted
