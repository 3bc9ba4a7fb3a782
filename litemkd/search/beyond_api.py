"""What is used of Optuna beside its documented interface: all of it, and why.

Tried with the versions in pyproject.toml; tests/search/test_beyond_api.py tells when one has it no more.
"""

from __future__ import annotations

from typing import Any

from optuna.trial import FrozenTrial

# A file that begins otherwise is no journal, and nothing may be cut off it.
RECORD_BEGINS = b'{"op_code":'
# Beside a journal, made by Optuna's own programs, such as its dashboard: they and litemkd exclude each other.
LOCK_ENDING = ".lock"
# By these Optuna's dashboard, too, knows trials that go on with lost ones; its own callback would do that for
# trials that are lost by heartbeat alone.
_FIRST_TRY, _TRIES = "failed_trial", "retry_history"


def earlier_tries(trial: FrozenTrial) -> list[int]:
    """Numbers of the lost trials that this one goes on with, the first one first."""
    return list(trial.system_attrs.get(_TRIES, ()))


def as_retry(tries: list[int]) -> dict[str, Any]:
    """System attributes of a trial that goes on with these."""
    return {_FIRST_TRY: tries[0], _TRIES: tries}
