"""A student, and with --slow the main job, in two processes as a user starts them: all is written once."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow.entities import Run

from litemkd.config import load_config
from tests.helpers import usual_first
from tests.job import ROOT, SMOKE, Home, Job, small


def start(home: Home, *words: str) -> subprocess.CompletedProcess[str]:
    """`litemkd WORDS --processes 2` in a process of its own."""
    own = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "MLFLOW_TRACKING_URI": home.store}
    environment = {**os.environ, **own, "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING": "false"}
    return subprocess.run(
        [sys.executable, "-m", "litemkd", *words, *small(), "--processes", "2"],
        cwd=home.folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )


@pytest.fixture(scope="module", params=usual_first(["student"], ["distill"]))
def two(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, job: Job) -> Job:
    """A command in two processes on the data of the job that ran in one, with nothing else of it."""
    home = Home(tmp_path_factory.mktemp("two"))
    home.data.mkdir(parents=True)
    for entry in job.home.data.iterdir():
        if entry.name != "feature":
            (home.data / entry.name).symlink_to(entry)
    done = start(home, request.param)
    assert done.returncode == 0, done.stderr[-3000:]
    return Job(home, done.stdout, done.stderr, home.runs())


@pytest.fixture(scope="module")
def one(two: Job, job: Job) -> Job:
    """What the same command made in one process."""
    if two.of_stage("distill"):
        return job
    student = job.student(distilled=False)
    tests = [run for run in job.of_stage("evaluate") if above(run) == student.info.run_id]
    return replace(job, runs=[student, *tests])


def above(run: Run) -> str | None:
    return run.data.tags.get("mlflow.parentRunId")


def test_there_is_one_tree_of_runs(two: Job, one: Job) -> None:
    assert [run.info.status for run in two.runs] == ["FINISHED"] * len(one.runs)
    assert [run.info.run_name for run in two.runs] == [run.info.run_name for run in one.runs]
    mine, other = ({run.info.run_id: place for place, run in enumerate(job.runs)} for job in (two, one))
    assert [mine[above(run)] for run in two.runs[1:]] == [other[above(run)] for run in one.runs[1:]]
    assert {run.data.tags["litemkd.processes"] for run in two.runs} == {"2"}
    assert all("litemkd.processes" not in run.data.tags for run in one.runs)


def test_every_metric_is_there_once_a_step(two: Job, one: Job) -> None:
    for mine, other in zip(two.runs, one.runs, strict=True):
        ours, whole = two.home.history(mine), one.home.history(other)
        assert ours.keys() == whole.keys()
        for name in ours:
            assert [step for step, _ in ours[name]] == [step for step, _ in whole[name]], name


def test_figures_are_those_of_one_process(two: Job, one: Job) -> None:
    """A step of this experiment has one batch, so the first process sees all of them, batch norm included."""
    assert load_config(SMOKE).student.train.accumulate == 1
    for mine, other in zip(two.of_stage("student"), one.of_stage("student"), strict=True):
        for name in ("train/loss", "val/accuracy", "test/accuracy", "test/accuracy_5shot"):
            assert mine.data.metrics[name] == pytest.approx(other.data.metrics[name], rel=1e-3), name


def test_models_are_registered_once(two: Job) -> None:
    client = two.home.client
    for kind in ("student", "teacher"):
        name, count = f"litemkd-toy-{kind}", len(two.of_stage(kind))
        assert len(client.search_model_versions(f"name = '{name}'")) == count
        if count:
            assert client.get_registered_model(name).aliases.keys() == {"champion", "lite"}


def test_one_process_tells(two: Job) -> None:
    said = two.stdout
    assert said.count("registered model:") == 1
    assert said.count("student, labels only, 5-shot") + said.count("student, distilled ") == 1


@pytest.mark.slow
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
