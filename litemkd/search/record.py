"""MLflow's account of a study: its own run, and the true states of the runs of its trials."""

from __future__ import annotations

import os
from collections.abc import Sequence

import optuna
from optuna.trial import FrozenTrial, TrialState

from litemkd.search.pictures import study_pictures
from litemkd.search.study import BEST, best_trials, finished
from litemkd.search.tables import study_tables
from litemkd.search.trial import EPISODES, OF
from litemkd.tracking import Run, close_dead, metric_points, read_runs

STATES = {
    TrialState.COMPLETE: ("FINISHED",),
    TrialState.PRUNED: ("KILLED",),
    TrialState.FAIL: ("FAILED", "KILLED"),
    TrialState.RUNNING: ("RUNNING",),
}
NAMES = {"accuracy": "val accuracy, per cent", "gmacs": "GMACs per episode"}


def run_of_study(study: optuna.Study, dataset: str) -> tuple[str, str | None]:
    """A word that the study's run carries in the tag `litemkd.study_key`, and its id where it has one.

    The word is noted before the run is made, so a process that is killed between leaves no second run.
    """
    if (key := study.user_attrs.get("key")) is None:
        key = os.urandom(8).hex()
        study.set_user_attr("key", key)
    if (run_id := study.user_attrs.get("run")) is None:
        found = read_runs(dataset, stage="search", tags={"study_key": key}, limit=1)
        run_id = found[0].run_id if found else None
    return key, run_id


def close_lost_runs(study: optuna.Study, dataset: str) -> None:
    """Close the runs of trials whose worker died before it could."""
    states = {trial.number: trial.state for trial in study.get_trials(deepcopy=False)}
    for run in read_runs(dataset, stage="trial", tags={"study": study.study_name}):
        state = states[int(run.tags["litemkd.trial"])]
        if state.is_finished() and run.status not in STATES[state]:
            close_dead(run.run_id, "its worker died")


def record_study(run: Run, study: optuna.Study, objectives: Sequence[str], by_episode: bool) -> None:
    """Write the study on its run: counts, what pruning saved, the best value so far, pictures, tables.

    Args:
        run: of the study.
        study: what is written.
        objectives: by name.
        by_episode: trials report single episodes, which make no curves.
    """
    trials = finished(study)
    counts = {
        f"search/trials_{state.name.lower()}": float(sum(trial.state is state for trial in trials))
        for state in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
    }
    run.log_metrics({**counts, "search/saved_percent": 100 * saved(trials)}, len(trials))
    run.flush()
    run.describe(description(study))
    there = metric_points(run.run_id, BEST)
    for step, best in best_so_far(trials).items():
        if step not in there:  # its worker ended before it could log it
            run.log_metrics({BEST: best}, step)
    names = [NAMES[objective] for objective in objectives]
    for name, figure in study_pictures(study, names).items():
        if name != "curves" or not by_episode:
            run.log_figure(figure, f"study/{name}.png")
    for name, rows in study_tables(study, names).items():
        run.log_table(rows, f"study/{name}.json")


def best_so_far(trials: Sequence[FrozenTrial]) -> dict[int, float]:
    """The best accuracy when each complete trial ended, by trial number."""
    best, found = float("-inf"), {}
    ended = [trial for trial in trials if trial.datetime_complete is not None]
    for trial in sorted(ended, key=lambda trial: trial.datetime_complete):  # type: ignore[arg-type,return-value]
        if trial.state is TrialState.COMPLETE:
            best = max(best, trial.values[0])
            found[trial.number] = best
    return found


def saved(trials: Sequence[FrozenTrial]) -> float:
    """The share of training episodes that pruned trials did not run."""
    planned = sum(trial.user_attrs.get(OF, 0) for trial in trials if trial.state is not TrialState.FAIL)
    run = sum(trial.user_attrs.get(EPISODES, 0) for trial in trials if trial.state is not TrialState.FAIL)
    return 1 - run / planned if planned else 0.0


def description(study: optuna.Study) -> str:
    """What a study came to so far, in words for its run's page."""
    best = best_trials(study, 1)
    words = f"Study `{study.study_name}`, {len(finished(study))} trials."
    if best:
        words += f" Best on val: trial {best[0].number}, {best[0].values[0]:.2f} %."
    return words
