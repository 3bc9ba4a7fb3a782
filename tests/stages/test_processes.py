"""The main job in two processes, as a user starts it: one tree of runs, everything written once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from litemkd.config import load_config
from tests.job import ROOT, SMOKE, Home, Job

WORDS = ["--config", str(SMOKE), "--set", "threads=1", "--set", "data.workers=1", "--device", "cpu"]


def start(home: Home, *words: str) -> subprocess.CompletedProcess[str]:
    """`litemkd WORDS --processes 2` in a process of its own."""
    own = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "MLFLOW_TRACKING_URI": home.store}
    environment = {**os.environ, **own, "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING": "false"}
    return subprocess.run(
        [sys.executable, "-m", "litemkd", *words, *WORDS, "--processes", "2"],
        cwd=home.folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory, job: Job) -> Job:
    """The main job in two processes on the data of the one that ran in one, with nothing else of it."""
    home = Home(tmp_path_factory.mktemp("two"))
    (home.folder / "data").mkdir()
    kept = {entry.name: entry for entry in job.home.data.iterdir() if entry.name != "feature"}
    (home.folder / "data" / "toy").mkdir()
    for name, entry in kept.items():
        (home.folder / "data" / "toy" / name).symlink_to(entry)
    done = start(home, "distill")
    assert done.returncode == 0, done.stderr[-3000:]
    return Job(home, done, home.runs())  # type: ignore[arg-type]


def test_there_is_one_tree_of_runs(two: Job, job: Job) -> None:
    assert [run.info.status for run in two.runs] == ["FINISHED"] * len(job.runs)
    assert [run.info.run_name for run in two.runs] == [run.info.run_name for run in job.runs]
    assert {run.data.tags["litemkd.processes"] for run in two.runs} == {"2"}
    assert all("litemkd.processes" not in run.data.tags for run in job.runs)


def test_every_metric_is_there_once_a_step(two: Job, job: Job) -> None:
    for mine, other in zip(two.runs, job.runs, strict=True):
        one, whole = two.home.history(mine), job.home.history(other)
        assert one.keys() == whole.keys()
        for name in one:
            assert [step for step, _ in one[name]] == [step for step, _ in whole[name]], name


def test_figures_are_those_of_one_process(two: Job, job: Job) -> None:
    """A step of this experiment has one batch, so the first process sees all of them, batch norm included."""
    assert load_config(SMOKE).student.train.accumulate == 1
    for distilled in (True, False):
        mine, other = two.student(distilled).data.metrics, job.student(distilled).data.metrics
        for name in ("train/loss", "val/accuracy", "test/accuracy", "test/accuracy_5shot"):
            assert mine[name] == pytest.approx(other[name], rel=1e-3), name


def test_models_are_registered_once(two: Job) -> None:
    client = two.home.client
    names = {"litemkd-toy-student": 2, "litemkd-toy-teacher": 1}
    for name, count in names.items():
        assert len(client.search_model_versions(f"name = '{name}'")) == count
        assert client.get_registered_model(name).aliases.keys() == {"champion", "lite"}


def test_one_process_tells(two: Job) -> None:
    said = two.result.stdout
    assert said.count("registered model:") == 1
    assert said.count("student, distilled ") == 1


def test_a_mistake_is_told_without_a_traceback(tmp_path: Path) -> None:
    done = start(Home(tmp_path), "student", "--set", "data.dataset=nothere")
    assert done.returncode == 1
    assert "litemkd student: " in done.stderr
    assert "no such folder" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_configuration_is_checked_before_anything_is_started(tmp_path: Path) -> None:
    done = start(Home(tmp_path), "student", "--set", "student.train.lr=-1")
    assert done.returncode == 1
    assert done.stderr.count("student.train.lr") == 1
