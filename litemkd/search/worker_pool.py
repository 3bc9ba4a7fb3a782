"""The workers of this machine: started, watched, replaced when they die, stopped together."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess

import optuna
from optuna.trial import TrialState

from litemkd.errors import LitemkdError
from litemkd.runtime.progress import Bar
from litemkd.search.job import Job
from litemkd.search.storage import exclusive
from litemkd.search.study import QUEUE, best_trials, finished, requeue_lost, running, waiting
from litemkd.search.tables import REASON
from litemkd.search.worker import log_file, work

POLL = 1.0  # seconds between two looks at the study
LOOK = 10.0  # seconds between two searches for trials whose worker is gone
PATIENCE = 20.0  # seconds that a worker is given to stop
HOPELESS = 3  # trials that may fail before one succeeds


class WorkerPool:
    """Works on a study until no trial waits or runs.

    Args:
        job: the study.
        deadline: time.time() after which no trial is begun.
        tell: takes what happens, a line each.
        label: of the progress bar.
    """

    def __init__(self, job: Job, deadline: float | None, tell: Callable[[str], None], label: str) -> None:
        self.job, self.deadline, self.tell, self.label = job, deadline, tell, label
        self.study = job.open()
        self.workers: dict[int, BaseProcess] = {}
        self.deaths = 0  # since a trial came to its end

    def work(self) -> None:
        """Run the trials.

        Raises:
            LitemkdError: the first trials all failed, or workers end before they take a trial.
        """
        ended = {trial.number for trial in finished(self.study)}
        total = len(ended) + waiting(self.study) + running(self.study)
        with Bar(total=total, initial=len(ended), desc=self.label, unit="trial") as bar, self._stopped():
            looked = 0.0
            while True:
                died = self._reap()
                # Also before the end: a lost trial that Optuna itself found and ended has to wait again.
                if died or self._at_rest() or time.time() - looked > LOOK:
                    looked = time.time()
                    with exclusive(self.job.storage, QUEUE):
                        for line in requeue_lost(self.study):
                            bar.write(line)
                for trial in finished(self.study):
                    if trial.number not in ended:
                        ended.add(trial.number)
                        self.deaths = 0
                        bar.update()
                        bar.write(self._line(trial))
                self._refuse_hopeless()
                if self._at_rest():
                    return
                if self._wanted():
                    self._start()
                time.sleep(POLL)

    def _wanted(self) -> bool:
        """Whether a trial waits that may still be begun."""
        late = self.deadline is not None and time.time() > self.deadline
        return not late and waiting(self.study) > 0

    def _at_rest(self) -> bool:
        """Whether nothing is left to be done, here or on another machine."""
        return not self._wanted() and not self.workers and not running(self.study)

    def _start(self) -> None:
        context = _processes()
        for place in range(min(self.job.workers, len(self.workers) + waiting(self.study))):
            if place not in self.workers:
                log_file(self.job, place)  # told here: a worker without its log has nowhere to say why
                environment = {**os.environ, "TQDM_DISABLE": "1"}
                arguments = (environment, work, self.job, place, self.deadline)
                worker = context.Process(target=_as_here, args=arguments, daemon=True)
                worker.start()
                self.workers[place] = worker

    def _reap(self) -> bool:
        """Forget workers that ended; whether one of them died.

        Raises:
            LitemkdError: one after the other dies and no trial comes to an end.
        """
        died = False
        for place, worker in [*self.workers.items()]:
            if worker.is_alive():
                continue
            worker.join()
            del self.workers[place]
            if code := worker.exitcode:
                died = True
                self.deaths += 1
                why = f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
                words = f"worker {place}: {why}; see {log_file(self.job, place)}"
                if self.deaths >= HOPELESS:
                    raise LitemkdError(f"{self.deaths} workers died and no trial ended meanwhile. {words}")
                self.tell(words)
        return died

    def _refuse_hopeless(self) -> None:
        ended = finished(self.study)
        if len(ended) >= HOPELESS and all(trial.state is TrialState.FAIL for trial in ended):
            last = ended[-1].user_attrs[REASON]
            raise LitemkdError(f"all of the first {len(ended)} trials failed, the last one with: {last}")

    @contextlib.contextmanager
    def _stopped(self) -> Iterator[None]:
        """Have no worker left at the end of the block, whatever ends it."""
        try:
            yield
        finally:
            for worker in self.workers.values():
                worker.terminate()
            end = time.time() + PATIENCE
            for worker in self.workers.values():
                worker.join(max(0.0, end - time.time()))
                if worker.is_alive():
                    worker.kill()
                    worker.join()
            self.workers.clear()
            with exclusive(self.job.storage, QUEUE):
                requeue_lost(self.study)

    def _line(self, trial: optuna.trial.FrozenTrial) -> str:
        title = self._title(trial)
        if trial.state is TrialState.FAIL:
            return f"{title}: failed: {trial.user_attrs[REASON]}"
        if trial.state is TrialState.PRUNED:
            return f"{title}: {trial.user_attrs[REASON]}"
        words = {"accuracy": "val {:.2f} %", "gmacs": "{:.2f} GMACs"}
        values = zip(self.job.objectives, trial.values, strict=True)
        found = ", ".join(words[name].format(value) for name, value in values)
        if self.job.finalists is not None:
            return f"{title}: {found}"
        best = best_trials(self.study, 1)[0]
        return f"{title}: {found}; best {best.values[0]:.2f} %, trial {best.number}"

    def _title(self, trial: optuna.trial.FrozenTrial) -> str:
        finalists = self.job.finalists
        if finalists is None:
            return f"trial {trial.number}"
        return f"{finalists.titles[trial.params['setting']]} again, seed {trial.params['seed']}"


def _processes() -> SpawnContext | ForkServerContext:
    """How workers are started: forked from a process that has loaded the libraries, where the system can.

    Never forked from this one, whose threads, and what they have to do with a GPU, a fork would break.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["litemkd.search.worker"])
    return context


def _as_here(environment: dict[str, str], work: Callable[..., None], *arguments: object) -> None:
    """Do this in an environment, and not in that of when the process that is forked was started."""
    os.environ.clear()
    os.environ.update(environment)
    work(*arguments)
