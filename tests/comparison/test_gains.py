"""Paired differences between distilled students and those on labels alone."""

from __future__ import annotations

import numpy as np
import pytest

from litemkd.comparison.comparison import Comparison, compare
from litemkd.comparison.entries import read_entries
from litemkd.comparison.gains import Gains
from litemkd.comparison.grouping import Column, group
from litemkd.tracking import RunRecord
from tests.comparison.runs import record

FIVE = Column("ucf101", 5)


def compared(
    *records: RunRecord, jobs: tuple[RunRecord, ...] = (), arrays: dict[str, np.ndarray] | None = None
) -> Comparison:
    entries, left = read_entries(records)
    gains = Gains(entries, jobs, lambda run_id, shot: (arrays or {}).get(run_id))
    return compare(group(entries), gains, left)


def test_what_a_job_recorded_is_taken() -> None:
    jobs, students = [], []
    for seed, gain in enumerate((7.12, 4.03, 5.95)):
        job = record(
            seed, stage="distill", metrics={"gain/accuracy_5shot": gain, "gain/accuracy_ci95_5shot": 0.4}
        )
        jobs.append(job)
        students += [record(seed, distilled=kind, parent=job.run_id) for kind in (True, False)]
    line = next(line for line in compared(*students, jobs=tuple(jobs)).lines if line.row.keys[2] == "yes")
    cell = line.cells[FIVE]
    assert cell.gain is not None
    assert cell.gain.words(signed=True) == "+5.70 ± 3.88 * (3)"
    baselines = [run.run_id for run in students if run.tags["litemkd.distilled"] == "false"]
    assert [gain.baseline for gain in cell.gains if gain] == baselines


def test_separate_jobs_are_paired_by_their_episodes() -> None:
    rng = np.random.default_rng(0)
    labels = [record(seed, distilled=False) for seed in (0, 1)]
    # Of another backbone or learning rate is no baseline, and one of other episodes cannot be.
    strangers = [record(0, distilled=False, params={"student.train.lr": 0.5}, start=9.0)]
    distilled = [record(seed, params={"loss.temperature": 2.0}) for seed in (0, 1)]
    arrays = {
        run.run_id: rng.choice([0.0, 20.0, 40.0, 60.0, 80.0, 100.0], 400).astype(np.float32)
        for run in (*strangers, *labels, *distilled)
    }
    comparison = compared(*strangers, *labels, *distilled, arrays=arrays)
    (line,) = [line for line in comparison.lines if line.row.keys[2] == "yes"]
    gains = line.cells[FIVE].gains
    for gain, mine, theirs in zip(gains, distilled, labels, strict=True):
        differences = arrays[mine.run_id].astype(float) - arrays[theirs.run_id].astype(float)
        assert gain is not None
        assert gain.baseline == theirs.run_id
        assert gain.points.mean == pytest.approx(differences.mean())
        assert gain.points.half == pytest.approx(1.96 * differences.std(ddof=1) / 20)
    arrays[labels[0].run_id] = arrays[labels[0].run_id][:100]
    assert [gain is None for gain in _gains(compared(*labels, *distilled, arrays=arrays))] == [True, False]
    assert _gains(compared(*labels, *distilled)) == (None, None)


def _gains(comparison: Comparison) -> tuple[object, ...]:
    (line,) = [line for line in comparison.lines if line.row.keys[2] == "yes"]
    assert all(
        cell.gain is None
        for line in comparison.lines
        for cell in line.cells.values()
        if line.row.keys[2] == "no"
    )
    return line.cells[FIVE].gains
