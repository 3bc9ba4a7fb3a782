"""Mistakes that users make: one message that names what is wrong and what would do, and no run left open."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from litemkd.config import load_config
from litemkd.data.toy import toy_classes
from litemkd.tracking import download
from tests.job import SMOKE, Home, Job


@pytest.fixture(scope="module")
def home(job: Job, tmp_path_factory: pytest.TempPathFactory) -> Home:
    return job.home.copy(tmp_path_factory.mktemp("home"))


@pytest.fixture
def refused(home: Home) -> Callable[..., str]:
    """Run a command that must fail in words; gives the words. No run may be left open."""

    def run(command: str, *words: str, runs: int = 0) -> str:
        results = []
        made = home.made_by(lambda: results.append(home.run(command, *words)))
        (result,) = results
        assert result.exit_code == 1, result.output
        assert isinstance(result.exception, SystemExit)  # not a traceback
        assert result.stderr.count(f"litemkd {command}: ") == 1
        assert [one.info.status for one in made] == ["FAILED"] * runs
        said = result.stderr.partition(f"litemkd {command}: ")[2].strip()
        for one in made:
            assert one.data.tags["litemkd.error"] == said
        return said

    return run


def test_all_wrong_keys_at_once(refused: Callable[..., str]) -> None:
    said = refused(
        "student", "--set", "student.widht=3", "--set", "episode.way=1", "--overrides", "sed=1 'a b'"
    )
    assert said.startswith("4 mistakes in the configuration:")
    assert "student.widht: no such key; did you mean `student.width`?" in said
    assert "episode.way: 1 given" in said
    assert "sed: no such key; did you mean `seed`?" in said
    assert "override `a b`: not of the form key=value" in said
    assert "quotes must be closed" in refused("student", "--overrides", "seed='1")


def test_a_missing_data_root(refused: Callable[..., str]) -> None:
    # A number is a folder's name like any other.
    said = refused("student", "--set", "data.dataset=mine", "--data-root", "2024")
    assert said.startswith("2024/mine: no such folder; put the data set there, or name its folder with")
    assert "no such folder" in refused("prepare", "--set", "data.dataset=mine", "--data-root", "no: [such")


def test_overrides_keep_what_is_quoted(refused: Callable[..., str]) -> None:
    said = refused("prepare", "--overrides", "data.dataset=mine data.source='/no where/at all'")
    assert said.startswith("/no where/at all: no such folder")


def test_classes_with_too_few_videos(refused: Callable[..., str]) -> None:
    clips = load_config(SMOKE).data.toy.clips_per_class
    said = refused("student", "--set", f"evaluation.shots=[{clips}]")
    assert f"fewer than {clips + 1} videos" in said
    assert "split val" in said
    assert said.count(f"({clips})") == len(toy_classes("val"))  # each is named


@pytest.fixture
def bare(home: Home, tmp_path: Path) -> Path:
    """A data root with the same data, and no features."""
    toy = tmp_path / "data" / "toy"
    toy.mkdir(parents=True)
    for path in home.data.iterdir():
        if path.name != "feature":
            (toy / path.name).symlink_to(path)
    return toy


def write_features(toy: Path, modality: str, width: int = 16) -> list[Path]:
    rng = np.random.default_rng(0)
    files = []
    for video in sorted((toy / "videos").glob("*/*.mp4")):
        file = toy / "feature" / modality / video.parent.name / video.stem / "f.npy"
        file.parent.mkdir(parents=True)
        np.save(file, rng.standard_normal((8, width)).astype(np.float32))
        files.append(file)
    return files


def test_broken_features_of_ones_own(home: Home, refused: Callable[..., str], bare: Path) -> None:
    words = ["teacher", "--data-root", str(bare.parent), "--set", "teacher.experts=features"]
    words += ["--set", "teacher.modalities=[rgb,depth]", "--set", "teacher.fusion.feed_forward=8"]

    said = refused(*words, runs=1)
    count = len(toy_classes("train")) * load_config(SMOKE).data.toy.clips_per_class
    assert f"feature/rgb: no features for {count} of {count} videos" in said
    rgb, depth = write_features(bare, "rgb"), write_features(bare, "depth")
    gone = depth[0]
    good = np.load(gone)
    gone.unlink()
    said = refused(*words, runs=1)
    assert "feature/depth: no features for 1 of " in said
    assert f"{gone.parent.parent.name}/{gone.parent.name}" in said

    bad = good.copy()
    bad[3, 4] = np.nan
    np.save(gone, bad)
    said = refused(*words, runs=1)
    assert said.startswith(f"{gone}: features must be finite floating-point numbers, found 1 NaN")
    np.save(gone, good[:5])
    assert refused(*words, runs=1).startswith(f"{gone}: features of shape (5, 16); (8, ")

    # Mended, they are a teacher's food like any other, of whatever widths, and stay as they are.
    shutil.rmtree(bare / "feature" / "depth")
    write_features(bare, "depth", width=12)
    before = rgb[0].read_bytes()
    made = home.made_by(lambda: home.must(*words))
    assert [run.data.tags["litemkd.stage"] for run in made] == ["teacher"]
    assert rgb[0].read_bytes() == before
    assert (bare / "feature" / "mm_features" / "made_from.json").is_file()


def test_features_of_unknown_origin_are_never_written_over(bare: Path, refused: Callable[..., str]) -> None:
    write_features(bare, "depth")
    said = refused("teacher", "--data-root", str(bare.parent), "--set", "teacher.modalities=[depth]")
    assert f"{bare / 'feature' / 'depth'}: holds features of unknown origin; to use them set" in said


def test_models_that_do_not_fit(home: Home, refused: Callable[..., str], tmp_path: Path) -> None:
    with home.entered():
        champion = download("litemkd-toy-student", 1)
    other = tmp_path / "other"
    shutil.copytree(champion, other)
    described = json.loads((other / "model.json").read_text())
    described["student"]["width"] //= 2
    (other / "model.json").write_text(json.dumps(described))
    assert f"{other}: weights of another architecture: " in refused("evaluate", "--model", str(other))
    assert "holds a teacher; a student would do" in refused(
        "evaluate", "--model", "models:/litemkd-toy-teacher/1"
    )
    said = refused("evaluate", "--set", "data.crop=32")
    assert "made for data.crop = 36, the configuration says 32" in said


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("nowhere", "nowhere: holds no model.json; a folder of a saved model would do"),
        (
            "models:/litemkd-toy-student",
            "models:/litemkd-toy-student@champion or models:/litemkd-toy-student/1",
        ),
        ("models:/litemkd-toy-student/99", "99"),
        ("models:/litemkd-toy-student@best", "best"),
        ("models:/nobody@champion", "nobody"),
    ],
)
def test_a_model_that_is_not_there(refused: Callable[..., str], address: str, told: str) -> None:
    assert told in refused("evaluate", "--model", address)


def test_no_run_is_left_open(home: Home) -> None:
    assert not home.runs("attributes.status = 'RUNNING'")
