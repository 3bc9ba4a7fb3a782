"""Settings of all tests, and the main job, which is run once for all that look at it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

if TYPE_CHECKING:
    from tests.job import Job

# Tests run beside others on few cores; threads that wait for each other there cost far more than they bring.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """`litemkd distill` in an empty folder: what it printed, its runs, and the folder."""
    from tests.job import run_job

    return run_job(tmp_path_factory.mktemp("home"))
