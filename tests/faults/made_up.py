"""A training without a network: `python -m tests.faults.made_up NAME STEPS PAUSE`, for a process of its own.

It writes the number of each step to NAME.step once the step's metrics were handed over, and waits as long as
there is a file NAME.hold.
"""

from __future__ import annotations

import logging
import math
import os
import sys
import time
from pathlib import Path

STEPS = 60


def values(step: int) -> dict[str, float]:
    """What a step logs."""
    return {
        "train/loss": 1 / (step + 1),
        "train/odd": math.nan if step % 7 == 0 else step * 0.1,
        "val/accuracy": 50 + math.sin(step),
    }


def train(name: str, steps: int, pause: float) -> None:
    from litemkd.tracking import promote, register_model, stage_run

    (folder := Path(f"{name}-model")).mkdir(exist_ok=True)
    (folder / "weights.safetensors").write_bytes(bytes(range(256)) * 400)
    (folder / "model.json").write_text("{}")
    with stage_run("distill", dataset="toy", name=name, params={"lr": 0.1}) as outer:
        with stage_run("teacher", dataset="toy", name=f"{name}-first", tags={"head": "trx"}) as run:
            for step in range(steps // 2):
                run.log_metrics(values(step), step)
                told(name, step, pause)
            run.log_text(f"first half, {os.environ['MLFLOW_TRACKING_URI']}", "notes/first.txt")
            run.set_tags({"where": os.environ["MLFLOW_TRACKING_URI"]})
        with stage_run("student", dataset="toy", name=f"{name}-second", params={"width": 3}) as run:
            run.log_dataset("toy", "d" * 64, "data/toy", "training", {"videos": 5})
            for step in range(steps // 2, steps):
                run.log_metrics(values(step), step)
                told(name, step, pause)
            run.log_table([{"a": 1}, {"a": 2}], "table.json")
            version = register_model(
                run,
                folder,
                "litemkd-toy-student",
                name="student",
                step=steps - 1,
                metrics={"val/accuracy": values(steps - 1)["val/accuracy"]},
                tags={"val_accuracy": 50.0, "protocol": name, "gmacs_per_episode": 1.0},
            )
            run.log_metrics({"cost/gmacs_per_episode": 1.0}, 0)
        outer.set_tags({"student": f"version {version}"})
    for change in promote("litemkd-toy-student").changes:
        print(change)


def told(name: str, step: int, pause: float) -> None:
    with Path(f"{name}.step").open("a") as file:
        file.write(f"{step}\n")
    time.sleep(pause)
    while Path(f"{name}.hold").exists():
        time.sleep(0.05)


def reached(folder: Path, name: str) -> int:
    """The last step that a training has handed over, -1 before the first."""
    path = folder / f"{name}.step"
    words = path.read_text().split() if path.exists() else []
    return int(words[-1]) if words else -1


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    train(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
