"""A SQLite store of thousands of runs: three real ones, and copies of them made in the tables themselves."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from litemkd.tracking import Run, promote, register_model, stage_run
from tests.comparison.runs import record

KEYS = 10  # metrics of a student
STEPS = 150  # points of each
SETTINGS = 100  # temperatures that differ
COLUMNS = {
    "runs": "name,source_type,source_name,entry_point_name,user_id,status,source_version,lifecycle_stage,"
    "artifact_uri,experiment_id,deleted_time",
    "metrics": "key,value,timestamp,step,is_nan",
    "latest_metrics": "key,value,timestamp,step,is_nan",
}


def make_job(folder: Path) -> None:
    """A `distill` run with both students, as the stages write them, in the store in use."""
    (folder / "model").mkdir()
    (folder / "model" / "weights.safetensors").write_bytes(bytes(1000))
    (folder / "model" / "model.json").write_text("{}")
    told = record(dataset="toy")
    with stage_run("distill", dataset="toy", name="distill", params=told.params) as outer:
        for distilled in (False, True):
            told = record(dataset="toy", distilled=distilled)
            tags = {key: value for key, value in told.tags.items() if key != "litemkd.stage"}
            with stage_run("student", dataset="toy", name=told.name, tags=tags, params=told.params) as run:
                for step in range(STEPS):
                    run.log_metrics({f"train/m{key}": math.sin(step + key) for key in range(KEYS)}, step)
                run.log_metrics({**told.metrics, "val/accuracy": 60.0}, STEPS)
                run.log_array(np.full(100, 60.0 + distilled, np.float32), "episode_accuracy_5shot.npy")
                if distilled:
                    register(run, folder / "model")
        outer.log_metrics({"gain/accuracy_5shot": 1.0, "gain/accuracy_ci95_5shot": 0.1}, 0)
    promote("litemkd-toy-student")


def register(run: Run, model: Path) -> None:
    tags = {"val_accuracy": 60.0, "protocol": "p", "gmacs_per_episode": 1.0}
    metrics = {"val/accuracy": 60.0}
    register_model(run, model, "litemkd-toy-student", name="student", step=STEPS, metrics=metrics, tags=tags)


def multiply(file: Path, copies: int) -> tuple[int, int]:
    """So many copies of all runs, with other ids, times, seeds and temperatures; runs and points afterwards."""
    with sqlite3.connect(file) as base:
        base.execute("PRAGMA journal_mode = OFF")
        base.execute("PRAGMA synchronous = OFF")
        base.execute("CREATE TEMP TABLE copies (old TEXT, new TEXT, number INTEGER, PRIMARY KEY (number, old))")
        ids = [row[0] for row in base.execute("SELECT run_uuid FROM runs")]
        base.executemany("INSERT INTO copies VALUES (?, ?, ?)", _names(ids, copies))
        base.execute(
            f"INSERT INTO runs (run_uuid, start_time, end_time, {COLUMNS['runs']}) SELECT new, "
            f"start_time - 60000 * number, end_time - 60000 * number, {COLUMNS['runs']} "
            "FROM runs JOIN copies ON run_uuid = old"
        )
        base.execute(
            "INSERT INTO params (key, value, run_uuid) SELECT key, CASE key WHEN 'seed' THEN number "
            f"WHEN 'loss.temperature' THEN 1 + number % {SETTINGS} / 10.0 ELSE value END, new "
            "FROM params JOIN copies ON run_uuid = old"
        )
        base.execute(
            "INSERT INTO tags (key, value, run_uuid) SELECT key, COALESCE((SELECT new FROM copies AS above "
            "WHERE above.number = copies.number AND old = value AND key = 'mlflow.parentRunId'), value), new "
            "FROM tags JOIN copies ON run_uuid = old"
        )
        for table in ("latest_metrics", "metrics"):  # in the order of the key: appended, not scattered
            base.execute(
                f"INSERT INTO {table} (run_uuid, {COLUMNS[table]}) SELECT new, {COLUMNS[table]} FROM {table} "
                "JOIN copies ON run_uuid = old ORDER BY key, timestamp, step, new"
            )
        base.commit()
        base.execute("ANALYZE")
        (runs,), (points,) = (base.execute(f"SELECT COUNT(*) FROM {x}").fetchone() for x in ("runs", "metrics"))
    return runs, points


def _names(ids: list[str], copies: int) -> Iterator[tuple[str, str, int]]:
    for number in range(1, copies + 1):
        for run_id in ids:
            yield run_id, f"{number:06x}{run_id[6:]}", number
