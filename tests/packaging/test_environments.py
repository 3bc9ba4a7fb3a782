"""The main job in environments of its own, made from nothing: what `mlflow run` makes, and the wheel's.

They take minutes and a package registry, so that they run where LITEMKD_ENVIRONMENTS=1, in `.ci/run` for one.
LITEMKD_PYTHONS names the Pythons that the wheel is tried on, for instance "3.11 3.13"; this one when not given.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import yaml

from tests.packaging.environments import ROOT, bare, build_wheel, interpreter, run, scratch_clone

pytestmark = [
    pytest.mark.environments,
    pytest.mark.skipif(
        os.environ.get("LITEMKD_ENVIRONMENTS") != "1", reason="LITEMKD_ENVIRONMENTS=1 runs them"
    ),
]
PYTHONS = os.environ.get("LITEMKD_PYTHONS", f"{sys.version_info.major}.{sys.version_info.minor}").split()
GAIN = "gain by distillation"


def tool(name: str) -> Path:
    """A program of this environment."""
    return Path(sys.executable).parent / name


def make(home: Path, python: Path | str, *packages: str | Path) -> Path:
    """The programs of a new environment with these packages."""
    run([tool("uv"), "venv", "--quiet", "--python", python, home], home.parent, bare())
    run([tool("uv"), "pip", "install", "--quiet", "--python", home, *packages], home.parent, bare(), 1800)
    return home / "bin"


def wanted_python() -> Path:
    """An interpreter of the version that conda.yaml asks for; uv would download it if it could."""
    (version,) = (
        word.partition("=")[2]
        for word in yaml.safe_load((ROOT / "conda.yaml").read_text())["dependencies"]
        if isinstance(word, str) and word.startswith("python=")
    )
    found = interpreter(version)
    if found is None:
        pytest.skip(f"no Python {version} here")
    return found


def test_mlflow_run_makes_the_environment_once_and_ends_with_the_table(tmp_path: Path) -> None:
    """In a clone, with nothing but MLflow and uv."""
    launcher = make(tmp_path / "launcher", sys.executable, "mlflow<3.18", "uv")
    project = scratch_clone(tmp_path / "a clone")
    shell = bare(launcher, wanted_python().parent, MLFLOW_ENV_ROOT=str(tmp_path / "envs"))
    words = [launcher / "mlflow", "run", ".", "-e", "distill", "--env-manager", "uv"]
    for seed in (0, 1):
        printed = run([*words, "-P", "config=toy/smoke", "-P", f"seed={seed}"], project, shell, 2400)
        assert GAIN in printed
        # `litemkd` is in an environment that the user's shell does not know.
        assert printed.rstrip().splitlines()[-1].startswith("browse the runs:  mlflow ui")
    (made,) = (tmp_path / "envs").rglob("pyvenv.cfg")
    assert list(made.parent.rglob("litemkd-*.dist-info"))


@pytest.mark.parametrize("version", PYTHONS)
def test_the_wheel_alone_does_everything_in_an_empty_folder(version: str, tmp_path: Path) -> None:
    python = interpreter(version)
    if python is None:
        pytest.skip(f"no Python {version} here")
    programs = make(tmp_path / "environment", python, build_wheel(tmp_path / "wheel"))
    empty = tmp_path / "an empty folder"
    empty.mkdir()
    shell = bare(programs)

    def litemkd(line: str) -> str:
        return run([programs / "litemkd", *line.split()], empty, shell)

    assert GAIN in litemkd("distill --config toy/smoke")
    assert "2 trials" in litemkd(
        "search --config toy/smoke --trials 2 --finalists 1 --final-seeds 1 --workers 1"
    )
    assert "conv4" in litemkd("compare")
    videos = empty / "data" / "toy" / "videos"
    for folder in sorted(videos.iterdir())[:5]:
        for place, clip in enumerate(sorted(folder.iterdir())[:4]):
            target = empty / (f"support/{folder.name}" if place < 3 else "query") / clip.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.hardlink_to(clip)
    assert "5 queries named" in litemkd("predict --support support --query query --out table.csv")
    assert (empty / "table.csv").read_text().count("\n") == 6
