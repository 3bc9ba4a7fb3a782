"""What is used of Optuna beside its documented interface is there, and means what is taken of it."""

from __future__ import annotations

import warnings
from pathlib import Path

import optuna
from optuna.storages import RetryHeartbeatStaleTrialCallback
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from litemkd.search.beyond_api import LOCK_ENDING, RECORD_BEGINS, as_retry, earlier_tries


def test_a_journal_begins_with_what_is_known_of_it(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    optuna.create_study(storage=optuna.storages.JournalStorage(JournalFileBackend(str(path))))
    assert all(line.startswith(RECORD_BEGINS) for line in path.read_bytes().splitlines())


def test_optunas_lock_lies_where_it_is_looked_for(tmp_path: Path) -> None:
    lock = JournalFileOpenLock(str(tmp_path / "journal"))
    lock.acquire()
    assert [file.name for file in tmp_path.iterdir()] == [f"journal{LOCK_ENDING}"]
    lock.release()


def test_tries_are_noted_as_optuna_notes_them() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study()
    with warnings.catch_warnings(action="ignore", category=optuna.exceptions.ExperimentalWarning):
        again = RetryHeartbeatStaleTrialCallback()
        study.add_trial(optuna.create_trial(state=optuna.trial.TrialState.FAIL))
        again(study, study.trials[-1])
        again(study, study.trials[-1])
    assert [earlier_tries(trial) for trial in study.trials] == [[], [0], [0, 1]]
    assert study.trials[-1].system_attrs == as_retry([0, 1])
