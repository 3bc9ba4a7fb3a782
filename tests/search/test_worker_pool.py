"""The pool of workers: when it is done."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from litemkd.config.shipped import SPACES
from litemkd.search import worker_pool
from litemkd.search.job import Job
from litemkd.search.study import RETRY_OF, waiting
from tests.job import SMOKE


def take_all(job: Job, place: int, deadline: float | None) -> None:
    """A worker whose trials take no time, and that finds one of another machine lost as Optuna does."""
    study = job.open()
    if len(study.trials) == 1:
        study.add_trial(optuna.create_trial(state=TrialState.FAIL))
    while waiting(study):
        study.optimize(lambda trial: 1.0, n_trials=1)


def test_a_trial_that_optuna_found_lost_is_gone_on_with_before_the_pool_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers on PostgreSQL end lost trials by heartbeat themselves; the pool has to let them wait again."""
    monkeypatch.setattr(worker_pool, "work", take_all)
    monkeypatch.setattr(worker_pool, "POLL", 0.1)
    job = Job(SMOKE, (), SPACES.find("default"), str(tmp_path / "optuna.journal"), "s", pruner="none")
    study = job.open()
    study.enqueue_trial({})
    told: list[str] = []
    worker_pool.WorkerPool(job, None, told.append, "search").work()
    first, lost, again = study.trials
    states = [trial.state for trial in (first, lost, again)]
    assert states == [TrialState.COMPLETE, TrialState.FAIL, TrialState.COMPLETE]
    assert again.user_attrs[RETRY_OF] == lost.number
