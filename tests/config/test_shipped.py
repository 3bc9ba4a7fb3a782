"""Experiments and search spaces by path and by name: a user's own before those that come with litemkd."""

from __future__ import annotations

from pathlib import Path

import pytest

from litemkd.config import load_config
from litemkd.config.shipped import EXPERIMENTS, SPACES, NamedFiles
from litemkd.errors import ConfigError
from litemkd.search.space import read_space

ROOT = Path(__file__).parents[2]


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def put(path: Path, text: str = "seed: 1\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def refused(kind: NamedFiles, name: str) -> str:
    with pytest.raises(ConfigError) as caught:
        kind.find(name)
    (problem,) = caught.value.problems
    return problem


def test_names_mean_what_comes_with_litemkd_in_an_empty_folder(empty: Path) -> None:
    assert EXPERIMENTS.find("toy") == ROOT / "experiments/toy/default.yaml"
    assert (
        EXPERIMENTS.find("toy/smoke")
        == EXPERIMENTS.find("toy/smoke.yaml")
        == ROOT / "experiments/toy/smoke.yaml"
    )
    assert EXPERIMENTS.find("published") == ROOT / "experiments/published.yaml"
    assert EXPERIMENTS.find("ucf101") == ROOT / "experiments/ucf101/resnet18.yaml"  # it has no default.yaml
    assert SPACES.find("default") == ROOT / "tuning/spaces/default.yaml"
    assert list(empty.iterdir()) == []


def test_every_name_is_found_and_read() -> None:
    assert SPACES.names() == ["architecture", "default", "loss"]
    assert {"toy", "toy/smoke", "published", "ucf101", "ucf101/mobilenet_v3_small"} <= set(EXPERIMENTS.names())
    assert not {"toy/default", "ucf101/resnet18"} & set(EXPERIMENTS.names())  # the folder's name is shorter
    for name in EXPERIMENTS.names():
        load_config(EXPERIMENTS.find(name))
    for name in SPACES.names():
        read_space(SPACES.find(name))


def test_a_path_wins_over_every_name(empty: Path) -> None:
    put(empty / "experiments/toy.yaml")
    put(empty / "experiments/toy/default.yaml")
    assert EXPERIMENTS.find("toy") == Path("experiments/toy.yaml")
    put(empty / "toy", "seed: 7\n")  # no matter what it is called
    assert load_config(EXPERIMENTS.find("toy")).seed == 7
    assert EXPERIMENTS.find(empty / "experiments/toy.yaml") == empty / "experiments/toy.yaml"


def test_a_folder_is_no_file_and_hides_no_name(empty: Path) -> None:
    (empty / "toy").mkdir()
    (empty / "default").mkdir()
    assert EXPERIMENTS.find("toy") == ROOT / "experiments/toy/default.yaml"
    assert SPACES.find("default") == ROOT / "tuning/spaces/default.yaml"


def test_ones_own_come_before_those_of_litemkd(empty: Path) -> None:
    mine = put(empty / "experiments/toy/smoke.yaml"), put(empty / "tuning/spaces/default.yaml")
    assert (EXPERIMENTS.find("toy/smoke").resolve(), SPACES.find("default").resolve()) == mine
    assert EXPERIMENTS.find("toy") == ROOT / "experiments/toy/default.yaml"  # there is none of one's own
    own = put(empty / "experiments/mine.yaml")
    assert EXPERIMENTS.find("mine").resolve() == own
    assert "mine" in EXPERIMENTS.names()


def test_the_default_of_a_folder(empty: Path) -> None:
    second = put(empty / "experiments/mine/resnet18.yaml")
    assert EXPERIMENTS.find("mine").resolve() == second
    first = put(empty / "experiments/mine/default.yaml")
    assert EXPERIMENTS.find("mine").resolve() == EXPERIMENTS.find("mine/").resolve() == first
    put(empty / "tuning/spaces/mine/default.yaml")
    assert refused(SPACES, "mine").startswith(
        "mine: no such file and no search space of this name"
    )  # of no folder
    assert SPACES.find("mine/default").resolve() == empty / "tuning/spaces/mine/default.yaml"


@pytest.mark.parametrize("name", ["toy/smok", "toy/smoke2.yaml", "experiments/toy/smoke.yml", "smoke"])
def test_what_comes_near_is_in_the_message(empty: Path, name: str) -> None:
    told = refused(EXPERIMENTS, name)
    assert told.startswith(f"{name}: no such file and no experiment of this name; there are: ")
    assert "toy/smoke" in told


def test_all_names_are_in_the_message_where_none_comes_near(empty: Path) -> None:
    assert refused(SPACES, "qqqq") == (
        "qqqq: no such file and no search space of this name; there are: architecture, default, loss"
    )
    assert "; there are: loss" in refused(SPACES, "tuning/spaces/los.yaml")


def test_names_do_not_lead_out_of_their_folder(empty: Path) -> None:
    put(empty / "secret.yaml")
    (empty / "experiments").mkdir()
    for name in ("../secret", "toy/../../secret", str(ROOT / "experiments/toy/smoke"), "/secret", ""):
        assert "no such file and no experiment of this name" in refused(EXPERIMENTS, name)
    assert EXPERIMENTS.find("experiments/../secret.yaml")  # a path is a path


def test_a_name_that_no_file_can_have_is_told(empty: Path) -> None:
    assert refused(EXPERIMENTS, "a" * 300).endswith("File name too long")


def test_a_base_by_name_is_that_of_litemkd_or_lies_beside_the_file(empty: Path) -> None:
    mine = put(empty / "deep/mine.yaml", "base: toy/smoke\nseed: 5\n")
    smoke = load_config(EXPERIMENTS.find("toy/smoke"))
    assert load_config(mine) == smoke.model_copy(update={"seed": 5})
    put(empty / "deep/experiments/toy/smoke.yaml", "seed: 1\nepisode: {shot: 3}\n")
    assert load_config(mine).episode.shot == 3
    put(empty / "deep/toy/smoke", "episode: {shot: 2}\n")
    assert load_config(mine).episode.shot == 2


def test_a_base_that_is_nowhere_names_its_file_and_what_comes_near(empty: Path) -> None:
    mine = put(empty / "mine.yaml", "base: toy/smok\n")
    with pytest.raises(ConfigError) as caught:
        load_config(mine)
    (told,) = caught.value.problems
    assert told.startswith(
        f"{mine}: base: toy/smok: no such file and no experiment of this name; there are: toy"
    )
