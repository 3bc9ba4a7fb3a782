"""One of two processes that train one model is killed: both end, and the job goes on to the same bits.

They are started as torchrun starts them, but without its agent, which would end the other: it has to see by
itself that it is alone. `LITEMKD_TWO_KILLS` kills so often, at moments that `LITEMKD_KILLS_SEED` draws.
"""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest

from tests.faults.commands import Place, wait_for
from tests.faults.test_resume import told
from tests.helpers import free_port
from tests.job import Job
from tests.warm import Warm

KILLS = int(os.environ.get("LITEMKD_TWO_KILLS", "2"))
SEED = int(os.environ.get("LITEMKD_KILLS_SEED", "0"))
MOST = 24  # changes of what is on disk that are waited for before a kill
TRAINING = {"episodes": 12, "accumulate": 2, "validations": 2}
WORDS = ("student", "--set", "save_minutes=0", *(f"--set=student.train.{k}={v}" for k, v in TRAINING.items()))
ENDS = 120  # seconds in which both have to end


def start(place: Place, *words: str) -> list[Warm]:
    """The command in two processes."""
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": str(free_port())}
    return [
        place.start(*WORDS, *words, out=f"out{rank}", more={**shared, "RANK": rank, "LOCAL_RANK": rank})
        for rank in ("0", "1")
    ]


def printed(place: Place) -> str:
    return "\n".join((place.home.folder / f"out{rank}").read_text() for rank in (0, 1))


def weights(place: Place) -> bytes:
    (model,) = place.home.folder.glob("checkpoints/toy-student-*/model/weights.safetensors")
    return model.read_bytes()


@pytest.mark.slow
def test_one_of_two_is_killed_and_the_job_ends_with_the_same_bits(job: Job, tmp_path: Path) -> None:
    whole, parts = (tmp_path / "whole", tmp_path / "parts")
    whole.mkdir(), parts.mkdir()
    uninterrupted, killed = (Place.beside(job.home, folder) for folder in (whole, parts))
    assert [one.wait(600) for one in start(uninterrupted)] == [0, 0], printed(uninterrupted)
    dice, hits = random.Random(SEED), 0
    for number in range(KILLS):
        changes = killed.changes(dice.randint(1, MOST))
        both = start(killed, "--resume")
        wait_for(lambda changes=changes: next(changes), both[0])
        time.sleep(dice.uniform(0, 0.2))
        hit = dice.choice(both)
        running = hit.poll() is None
        if running:
            os.kill(hit.pid, signal.SIGKILL)
        codes = [one.wait(ENDS) for one in both]
        hits += running
        assert (-signal.SIGKILL in codes) == running, (number, codes, printed(killed))
    assert hits
    assert [one.wait(600) for one in start(killed, "--resume")] == [0, 0], printed(killed)
    assert told(killed.home) == told(uninterrupted.home)
    assert weights(killed) == weights(uninterrupted)
