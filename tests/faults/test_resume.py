"""Killed at any moment and gone on with, a command ends as if nothing had been: same runs, points, weights."""

from __future__ import annotations

import logging
import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest

from litemkd.tracking import download
from tests.faults.commands import Place, kill, send, wait_for
from tests.job import Home, Job

KILLS = int(os.environ.get("LITEMKD_KILLS", "3"))
SEED = int(os.environ.get("LITEMKD_KILLS_SEED", "0"))
MOST = 60  # changes of what is on disk that are waited for before a kill: a moment on machines of any speed
LONG = [f"{part}.train.episodes=24" for part in ("student", "teacher.expert")]  # for the long form
EVERY = ("--set", "save_minutes=0")


def told(home: Home) -> dict[tuple[str, str], dict[str, list[tuple[int, float]]]]:
    """Every run by stage and name, and all its points in the order in which they were logged."""
    found = {}
    for run in home.runs():
        key = run.data.tags["litemkd.stage"], run.info.run_name
        assert key not in found, f"two runs of {key}"
        assert run.info.status == "FINISHED", (key, run.info.status)
        assert len(run.outputs.model_outputs) == (key[0] in ("expert", "teacher", "student")), key
        found[key] = home.history(run)
    return found


def registered(home: Home) -> dict[tuple[str, int], tuple[bytes, str]]:
    """Every version's weights, and the name of the run that made it."""
    found = {}
    for kind in ("teacher", "student"):
        for one in home.client.search_model_versions(f"name = 'litemkd-toy-{kind}'"):
            with home.entered():
                weights = (download(one.name, int(one.version)) / "weights.safetensors").read_bytes()
            found[kind, int(one.version)] = weights, home.client.get_run(one.run_id).info.run_name
    return found


def uninterrupted(job: Job, folder: Path, words: list[str]) -> Home:
    """The main job without interruptions, for the long form."""
    folder.mkdir()
    place = Place.beside(job.home, folder)
    assert place.start("distill", *words).wait(1800) == 0, place.printed
    return place.home


@pytest.mark.slow
def test_killed_at_random_moments_the_main_job_ends_the_same(job: Job, tmp_path: Path) -> None:
    words = [word for setting in LONG for word in ("--set", setting)] if KILLS > 10 else []
    (tmp_path / "parts").mkdir()
    place = Place.beside(job.home, tmp_path / "parts")
    dice = random.Random(SEED)
    for number in range(KILLS):
        changes = place.changes(dice.randint(1, MOST))
        process = place.start("distill", *words, *EVERY, "--resume")
        wait_for(lambda changes=changes: next(changes), process)
        time.sleep(dice.uniform(0, 0.2))
        code = kill(process)
        assert code in (0, -signal.SIGKILL), (number, place.printed)
    # The setting for GPUs is taken, and changes nothing on a CPU.
    last = place.start("distill", *words, *EVERY, "--resume", "--set", "deterministic=true")
    assert last.wait(1800) == 0, place.printed
    if words:
        whole = uninterrupted(job, tmp_path / "whole", words)
        expected, weights = told(whole), registered(whole)
    else:
        runs = {run.info.run_id: run for run in job.runs}  # other tests have made more in this store since
        expected = {
            (run.data.tags["litemkd.stage"], run.info.run_name): job.home.history(run) for run in runs.values()
        }
        weights = {
            key: value
            for key, value in registered(job.home).items()
            if key in (("teacher", 1), ("student", 1), ("student", 2))
        }
    assert told(place.home) == expected
    assert registered(place.home) == weights
    assert len(place.states()) <= 2 * len(list(place.home.folder.glob("checkpoints/*/")))


def test_told_to_stop_torn_and_changed(job: Job, tmp_path: Path) -> None:
    """One student: Ctrl-C, a changed setting, a torn checkpoint, SIGTERM, and the changed setting again."""
    place = Place.beside(job.home, tmp_path)
    settings = {"episodes": 60, "validations": 3, "schedule": "constant", "warmup": 0}
    words = [word for key, value in settings.items() for word in ("--set", f"student.train.{key}={value}")]
    words += EVERY
    rate = ("--set", "student.train.lr=0.0123")

    first = place.start("student", *words)
    assert wait_for(lambda: len(place.states()) == 2, first), place.printed
    assert send(first, signal.SIGINT) == 130
    assert "Traceback" not in place.printed
    run = place.run("student")
    assert (run.info.status, run.data.tags["litemkd.stopped"]) == ("KILLED", "Ctrl-C")

    refused = place.home.run("student", *words, *rate, "--resume")
    assert refused.exit_code == 1
    (line,) = [line for line in refused.output.splitlines() if line.startswith("  - ")]
    assert line.startswith("  - student.train.lr: ")
    assert line.endswith(", now 0.0123")
    assert "--allow-changes" in refused.output
    assert run.info.run_name in refused.output
    assert place.run("student").info.status == "KILLED"

    newest = place.states()[0]
    newest.write_bytes(newest.read_bytes()[:1000])
    again = place.start("student", *words, "--resume")
    assert wait_for(lambda: place.states()[0].name > newest.name and newest not in place.states(), again)
    assert send(again, signal.SIGTERM) == 143
    assert f"{newest.relative_to(tmp_path)}: damaged" in place.printed
    assert f"going on with the run {run.info.run_name} ({run.info.run_id}), killed" in place.printed
    stopped = place.run("student")
    assert stopped.info.run_id == run.info.run_id
    assert (stopped.info.status, stopped.data.tags["litemkd.stopped"]) == ("KILLED", "SIGTERM")
    done = max(step for step, _ in place.home.history(stopped)["train/loss"])

    place.home.must("student", *words, *rate, "--resume", "--allow-changes")
    ended = place.run("student")
    assert ended.info.run_id == run.info.run_id
    assert ended.info.status == "FINISHED"
    assert "litemkd.stopped" not in ended.data.tags
    assert ended.data.tags["litemkd.changed"].startswith("student.train.lr: ")
    history = place.home.history(ended)
    assert [step for step, _ in history["train/loss"]] == list(range(1, 61))
    rates = [value for _, value in history["train/lr"]]
    assert rates[done - 1] != 0.0123
    assert rates[done] == pytest.approx(0.0123)
    assert [int(version.version) for version in place.home.client.search_model_versions()] == [1]


def test_nothing_to_go_on_from_is_said(job: Job, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """`prepare` opens its run when the data are there: killed before, it has left none to go on with."""
    place = Place.beside(job.home, tmp_path)
    shutil.rmtree(frames := tmp_path / "data" / "toy" / "rgb_l8")
    process = place.start("prepare", "--resume")
    assert wait_for(frames.exists, process), place.printed
    kill(process)
    assert place.home.runs() == []
    with caplog.at_level(logging.INFO):
        place.home.must("prepare", "--resume")
        assert "--resume: no run of these settings and data was interrupted here" in caplog.text
        assert "which had finished" not in caplog.text
        place.home.must("prepare", "--resume")
    assert "which had finished" in caplog.text
    assert place.run("prepare").data.tags["litemkd.resumed"] == "1"
