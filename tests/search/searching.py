"""Searches, as a process of their own where they are killed, and what study and runs say afterwards."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import optuna
from click.testing import CliRunner
from mlflow.entities import Run
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import FrozenTrial, TrialState

from litemkd.search.command import main
from litemkd.search.storage import open_storage
from litemkd.search.study import is_unfinished
from tests.job import ROOT, Home, copy_data, small
from tests.warm import Warm

STATUS = {
    TrialState.COMPLETE: {"FINISHED"},
    TrialState.PRUNED: {"KILLED"},
    TrialState.FAIL: {"FAILED", "KILLED"},
}


@dataclass
class Place:
    """A folder with data, a store and a registered teacher, in which searches run."""

    home: Home
    storage: str
    opened: BaseStorage | None = None
    before: tuple[str, ...] = ()  # words before the command, to start it as another machine would

    @classmethod
    def copy(cls, home: Home, folder: Path) -> Place:
        """A copy of where the main job ran, so that what is made here is of the search alone."""
        copy_data(home.folder / "data", folder / "data")
        shutil.copy(home.folder / "mlflow.db", folder / "mlflow.db")
        return cls(Home(folder), str(folder / "optuna.journal"))

    def words(self, *words: str) -> list[str]:
        return [*small(), "--study", "s", "--storage", self.storage, *words]

    def start(self, *words: str) -> Warm | subprocess.Popen[str]:
        """`python tuning/search.py` in a process group of its own; its output goes to search.out."""
        script = str(ROOT / "tuning" / "search.py")
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")},
            "MLFLOW_TRACKING_URI": self.home.store,
            "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING": "false",
            "OMP_NUM_THREADS": "1",
            "TQDM_MININTERVAL": "10",
        }
        said = self.home.folder / "search.out"
        if not self.before:
            return Warm((script, *self.words(*words)), self.home.folder, environment, said, session=True)
        with said.open("a") as out:
            return subprocess.Popen(
                [*self.before, sys.executable, script, *self.words(*words)],
                cwd=self.home.folder,
                env=environment,
                stdout=out,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
                preexec_fn=_hear_interrupts,
            )

    def search(self, *words: str) -> tuple[int, str]:
        """Run a search to its end in this process, its workers in theirs; exit code and what it printed."""
        with self.home.entered():
            result = CliRunner().invoke(main, self.words(*words))
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.output

    @property
    def printed(self) -> str:
        return (self.home.folder / "search.out").read_text()

    def study(self, name: str = "s") -> optuna.Study | None:
        """The study, None as long as there is none."""
        if "://" not in self.storage and not Path(self.storage).exists():
            return None
        if self.opened is None:
            self.opened = open_storage(self.storage)
        try:
            return optuna.load_study(study_name=name, storage=self.opened)
        except KeyError:
            return None

    def close(self) -> None:
        """Close the connections to a server."""
        if isinstance(self.opened, RDBStorage):
            self.opened.remove_session()
            self.opened.engine.dispose()

    def trials(self, name: str = "s") -> list[FrozenTrial]:
        study = self.study(name)
        return [] if study is None else study.get_trials(deepcopy=False)

    def runs_of(self, study: str) -> dict[int, Run]:
        """MLflow's runs of a study's trials by the trial's number."""
        found = self.home.runs(f"tags.`litemkd.stage` = 'trial' and tags.`litemkd.study` = '{study}'")
        numbers = [int(run.data.tags["litemkd.trial"]) for run in found]
        assert len(set(numbers)) == len(numbers), f"two runs of one trial: {sorted(numbers)}"
        return dict(zip(numbers, found, strict=True))

    def parent(self) -> Run:
        (run,) = self.home.runs("tags.`litemkd.stage` = 'search'")
        return run

    def check_truth(self, trials: int, name: str = "s") -> None:
        """No trial lost, none twice, numbers unique, and MLflow says of each what the study says."""
        there = self.trials(name)
        assert [trial.number for trial in there] == list(range(len(there)))
        assert all(trial.state.is_finished() for trial in there)
        ended = [trial for trial in there if not (trial.state is TrialState.FAIL and is_unfinished(trial))]
        assert len(ended) == trials
        gone_on_with = [trial.user_attrs["retry_of"] for trial in there if "retry_of" in trial.user_attrs]
        assert len(set(gone_on_with)) == len(gone_on_with), "a trial was gone on with twice"
        unfinished = {
            trial.number for trial in there if trial.state is TrialState.FAIL and is_unfinished(trial)
        }
        assert set(gone_on_with) == unfinished
        runs = self.runs_of(name)
        for trial in there:
            if trial.number in runs:  # killed before it had a run, it has none
                assert runs[trial.number].info.status in STATUS[trial.state], (trial.number, trial.state)
            else:
                assert trial.number in unfinished


def _hear_interrupts() -> None:
    """Ctrl-C ends a process as in a shell, also where the tests run in the background, which ignores it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def wait_for(condition: Callable[[], bool], seconds: float = 240) -> None:
    """Wait until something is so."""
    end = time.time() + seconds
    while not condition():
        assert time.time() < end, f"not so after {seconds} s"
        time.sleep(0.1)


def kill(process: Warm | subprocess.Popen[str], signum: int = signal.SIGKILL) -> None:
    """Send a signal to a search and all its workers, and wait for it."""
    os.killpg(process.pid, signum)
    process.wait(60)
