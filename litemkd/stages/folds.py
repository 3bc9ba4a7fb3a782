"""folds: a stage in every fold over classes, as children of one run, one after the other or several at once.

What a fold reached is written to that run as soon as the fold is done, so a command that is gone on with after
an interruption runs only those that are missing.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Literal

import torch

from litemkd.config import Config
from litemkd.errors import ConfigError, LitemkdError, Terminated
from litemkd.evaluation.accuracy import Evaluation
from litemkd.evaluation.checks import is_check
from litemkd.evaluation.intervals import Interval
from litemkd.evaluation.studies import Training, estimate
from litemkd.report.tables import markdown_table, text_table
from litemkd.runtime.distributed import group
from litemkd.runtime.processes import end_with_parent
from litemkd.stages.build import build_device
from litemkd.stages.evaluate import evaluate_stage
from litemkd.stages.prepare import prepare
from litemkd.stages.setup import Setup
from litemkd.stages.student import distill_stage, student_stage
from litemkd.stages.teacher import teacher_stage
from litemkd.tracking import Run, RunOptions, read_run, read_table, stage_run

log = logging.getLogger(__name__)

Stage = Literal["teacher", "student", "distill", "evaluate"]
Reached = dict[str, dict[int, Interval]]  # by model, or gain, and number of shots
GAIN, OWN = "gain by distillation", "student of the fold"


@dataclass(frozen=True)
class FoldJob:
    """A stage that is to be run in every fold.

    Attributes:
        config: with `data.folds` and no `data.fold`.
        stage: its name.
        resume: go on with the interrupted command.
        allow_changes: also where its settings were others.
        options: of the stage by option, `--teacher`, `--no-baseline` or `--model`.
    """

    config: Config
    stage: Stage
    resume: bool = False
    allow_changes: bool = False
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """What is done, in words."""
        return f"{self.stage} in {self.config.data.fold_count} folds"

    def config_of(self, fold: int) -> Config:
        """The configuration of a fold."""
        data = self.config.data.model_copy(update={"fold": fold})
        return self.config.model_copy(update={"data": data})

    def do(self, fold: int, digest: str) -> tuple[Reached, str]:
        """Run the stage in a fold; what it reached, and the digest of all folds' data.

        Raises:
            LitemkdError: that data is not what `digest`, if one is given, was of.
        """
        setup = Setup.of(self.config_of(fold), resume=self.resume, allow_changes=self.allow_changes)
        found = setup.data.folds_digest
        if digest and found != digest:
            raise LitemkdError("the data changed while its folds were worked on; the command begins anew")
        return self._run(setup), found

    def _run(self, setup: Setup) -> Reached:
        choice = self.options.get("--teacher", "auto")
        if self.stage == "teacher":
            return {"teacher": _accuracies(teacher_stage(setup, choice=choice).tests)}
        if self.stage == "student":
            return {"student, labels only": _accuracies(student_stage(setup).tests)}
        if self.stage == "evaluate":
            source, tests = evaluate_stage(setup, model=self.options["--model"] or None)
            return {source if self.options["--model"] else OWN: _accuracies(tests)}
        outcome = distill_stage(setup, choice=choice, baseline=self.options.get("--no-baseline") != "true")
        reached = {"teacher": _accuracies(outcome.teacher.tests)}
        if outcome.labels is not None:
            reached["student, labels only"] = _accuracies(outcome.labels.tests)
        reached["student, distilled"] = _accuracies(outcome.distilled.tests)
        return reached | ({GAIN: outcome.gains} if outcome.gains else {})


def _accuracies(tests: Mapping[int, Evaluation]) -> dict[int, Interval]:
    return {shot: test.accuracy for shot, test in tests.items()}


def folds_stage(job: FoldJob, *, parallel: int = 1) -> tuple[str, Run]:
    """Run a stage in every fold; the closing table in words, and the run that is the parent of all.

    Args:
        job: what is to be done.
        parallel: so many folds at once, each in a process of its own.

    Raises:
        ConfigError: no folds, or a model that was trained on classes of some fold.
        LitemkdError: folds that failed, when the others are done.
    """
    _refuse(job, parallel)
    config, count = job.config, job.config.data.fold_count
    device = build_device(config)
    first = prepare(job.config_of(0))  # what all folds share is made before any is begun
    setup = Setup(config, device, None, job.resume, job.allow_changes, {**job.options, "--fold": "all"})
    opening = {"leave_open": lambda: False} if parallel > 1 else {}  # a run that several processes write on
    tags = {"backbone": config.student.backbone.name, "head": config.student.head.name}
    with setup.run("folds", job.title, tags, resumable=True, **opening) as run:
        digest = first.folds_digest
        done = {} if run.former is None else _reached(run, count, digest)
        left = [fold for fold in range(count) if fold not in done]
        for fold in done:
            log.info("fold %d of %d: finished before", fold, count)
        if parallel > 1 and left:
            _at_once(job, run, left, parallel, digest)
            done = _reached(run, count, digest)
        else:
            for place, fold in enumerate(left, 1):
                log.info("fold %d of %d (%d of %d that are left)", fold, count, place, len(left))
                done[fold], _ = job.do(fold, digest)
                _note(run, fold, done[fold], digest)
        header, rows = folds_table([done[fold] for fold in range(count)])
        _log(run, header, rows, done)
    return text_table(header, rows), run


def _refuse(job: FoldJob, parallel: int) -> None:
    problems = []
    if not job.config.data.fold_count:
        problems.append("--fold: all given without data.folds; --set data.folds=4, for instance, would do")
    if job.stage == "evaluate" and job.options["--model"] and not is_check(job.options["--model"]):
        problems.append(
            f"--model: {job.options['--model']} given with --fold all; a model was trained on classes that "
            "folds test. A check without training would do, or no --model for the best student of each fold"
        )
    if parallel > 1 and group().size > 1:
        problems.append("--parallel: given beside --processes; one of them would do")
    if problems:
        raise ConfigError(problems)


def _note(run: Run, fold: int, reached: Reached, digest: str) -> None:
    """Write what a fold reached to the run of all: from now on it is finished."""
    rows = [
        [model, shot, value.mean, value.half, digest]
        for model, values in reached.items()
        for shot, value in values.items()
    ]
    columns = ["model", "shot", "mean", "half", "data"]
    run.log_text(json.dumps({"columns": columns, "data": rows}), f"folds/{fold}.json")
    run.flush()


def _reached(run: Run, count: int, digest: str) -> dict[int, Reached]:
    """What the folds that are finished on these data reached."""
    record, found = read_run(run.run_id), dict[int, Reached]()
    for fold in range(count):
        rows = read_table(record, f"folds/{fold}.json")
        if rows is not None and all(row["data"] == digest for row in rows):
            reached: Reached = {}
            for row in rows:
                reached.setdefault(row["model"], {})[int(row["shot"])] = Interval(row["mean"], row["half"])
            found[fold] = reached
    return found


def folds_table(folds: list[Reached]) -> tuple[list[str], list[list[str]]]:
    """The closing table: a row a fold and one of all, whose intervals are over folds."""
    columns = [(model, shot) for model, values in folds[0].items() for shot in values]
    header = ["fold", *(f"{model}, {shot}-shot" for model, shot in columns)]

    def cell(model: str, mean: float, half: float) -> str:
        return f"{mean:{'+' if model == GAIN else ''}.2f} ± {half:.2f}"

    rows = [
        [
            str(fold),
            *(cell(model, reached[model][shot].mean, reached[model][shot].half) for model, shot in columns),
        ]
        for fold, reached in enumerate(folds)
    ]
    means = [
        estimate([Training(reached[model][shot], str(fold)) for fold, reached in enumerate(folds)])
        for model, shot in columns
    ]
    last = [cell(model, one.mean, one.half) for (model, _), one in zip(columns, means, strict=True)]
    return header, [*rows, ["all, ± over folds", *last]]


def _log(run: Run, header: list[str], rows: list[list[str]], done: Mapping[int, Reached]) -> None:
    run.log_text(markdown_table(header, rows), "result.md")
    run.log_table([dict(zip(header, row, strict=True)) for row in rows], "result.json")
    names = {
        "student, distilled": "test/accuracy",
        "student, labels only": "labels/accuracy",
        GAIN: "gain/accuracy",
    }
    metrics: dict[str, float] = {}
    for model, values in done[0].items():
        for shot in values:
            found = estimate([Training(reached[model][shot], str(fold)) for fold, reached in done.items()])
            name = names.get(model, "teacher/accuracy" if model == "teacher" else "test/accuracy")
            metrics |= {f"{name}_{shot}shot": found.mean, f"{name}_ci95_{shot}shot": found.half}
    run.log_metrics(metrics, 0)
    run.describe(f"On the test classes of every fold:\n\n{markdown_table(header, rows)}")


def _at_once(job: FoldJob, run: Run, left: list[int], parallel: int, digest: str) -> None:
    """Run folds in processes of their own, so many at once.

    Raises:
        LitemkdError: some failed; the others are done.
        TrackingError: the run of all is not in the store, which is away.
    """
    run.flush()
    read_run(run.run_id)
    context, failed = multiprocessing.get_context("spawn"), []
    threads = job.config.threads or max(1, len(os.sched_getaffinity(0)) // parallel)
    job = replace(job, config=job.config.model_copy(update={"threads": threads}))
    waiting, working = list(left), dict[int, tuple[int, SpawnProcess]]()
    try:
        while waiting or working:
            for place in range(parallel):
                if waiting and place not in working:
                    fold = waiting.pop(0)
                    target = log_file(job.config, fold)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    worker = context.Process(target=_work, args=(job, fold, run.run_id, digest, place))
                    worker.start()
                    working[place] = fold, worker
                    log.info("fold %d begun, see %s", fold, target)
            wait([worker.sentinel for _, worker in working.values()])
            for place, (fold, worker) in [*working.items()]:
                if not worker.is_alive():
                    worker.join()
                    del working[place]
                    failed += [fold] if worker.exitcode else []
                    log.info("fold %d %s", fold, "failed" if worker.exitcode else "done")
    finally:
        for _, worker in working.values():
            worker.terminate()
        for _, worker in working.values():
            worker.join(20)
            worker.kill()
    if failed:
        logs = ", ".join(str(log_file(job.config, fold)) for fold in failed)
        raise LitemkdError(
            f"{len(failed)} of {len(left)} folds failed: {', '.join(map(str, failed))}; see {logs}. The same "
            "command with --resume goes on with them"
        )


def log_file(config: Config, fold: int) -> Path:
    """Where a fold that is run in a process of its own says what it does."""
    return config.output / "folds" / f"{config.data.dataset}-fold-{fold}.log"


def _work(job: FoldJob, fold: int, run_id: str, digest: str, place: int) -> None:
    """The main function of a process that runs one fold; its output goes to a log file."""
    with log_file(job.config, fold).open("a", buffering=1) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
        signal.signal(signal.SIGTERM, _terminated)
        threading.Thread(target=end_with_parent, daemon=True).start()
        if torch.cuda.device_count() > 1:
            torch.cuda.set_device(place % torch.cuda.device_count())
        options = RunOptions(run_id=run_id, leave_open=lambda: True, system_metrics=False)
        name = f"{job.title}, seed {job.config.seed}"
        with stage_run("folds", dataset=job.config.data.dataset, name=name, options=options) as run:
            reached, _ = job.do(fold, digest)
            _note(run, fold, reached, digest)


def _terminated(signum: int, _: object) -> None:
    raise Terminated(signum)
