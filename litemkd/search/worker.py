"""A worker: a process that takes trials from a study's queue until none waits."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import time
from pathlib import Path

import optuna
import torch

from litemkd.errors import StorageError
from litemkd.runtime.processes import end_with_parent
from litemkd.search.interrupts import Interrupts
from litemkd.search.job import Job, divided_config
from litemkd.search.storage import exclusive
from litemkd.search.study import BEST, QUEUE, best_trials, finished, waiting
from litemkd.search.trial import TrialRunner, shared
from litemkd.stages.build import build_device
from litemkd.storage.files import not_a_file
from litemkd.tracking import attach


def work(job: Job, place: int, deadline: float | None) -> None:
    """Run trials. The main function of a process; its output goes to a log file.

    Args:
        job: the study and how it is worked on.
        place: this worker's number, from 0.
        deadline: time.time() after which no trial is begun.
    """
    with log_file(job, place).open("a", buffering=1) as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
        interrupts = Interrupts()
        threading.Thread(target=end_with_parent, daemon=True).start()
        with contextlib.suppress(KeyboardInterrupt):
            _work(job, place, deadline, interrupts)


def log_file(job: Job, place: int) -> Path:
    """The file that a worker's output goes to, in the folder of its job, which is made if missing.

    Raises:
        StorageError: something that is no file, or no folder, is in the way.
    """
    folder = job.folder()
    path = folder / f"worker-{place}.log"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise StorageError(
            f"{error.filename}: {error.strerror}; a folder of the search belongs there"
        ) from None
    if path.exists() and (what := not_a_file(path)) is not None:
        raise StorageError(f"{path}: {what}; the output of a worker belongs there, remove it by hand")
    return path


def _work(job: Job, place: int, deadline: float | None, interrupts: Interrupts) -> None:
    if torch.cuda.device_count() > 1:
        torch.cuda.set_device(place % torch.cuda.device_count())
    config = job.config()
    device = build_device(config)
    inputs = [
        shared(divided_config(config, place), device, teacher) for place, teacher in enumerate(job.teachers)
    ]
    seen = len(finished(job.open()))  # a sampler that begins again must not draw the same again
    study = job.open(seed=config.seed + 1000 * place + seen)
    parent = attach(job.run_id, config.data.dataset)
    queue = contextlib.ExitStack()
    run_trial = TrialRunner(job, inputs, parent, interrupts, leave_queue=queue.close)

    def log_best(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        if job.finalists is None and (best := best_trials(study, 1)):
            parent.log_metrics({BEST: best[0].values[0]}, trial.number)
            parent.flush()

    try:
        while not interrupts.pending and (deadline is None or time.time() < deadline):
            with queue:  # left by the runner, as soon as the trial has an owner
                queue.enter_context(exclusive(job.storage, QUEUE))
                if not waiting(study):
                    break
                study.optimize(run_trial, n_trials=1, catch=(Exception,), callbacks=[log_best])
    finally:
        parent.close(None)
