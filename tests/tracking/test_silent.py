"""The run of processes other than the first takes all that a run takes, and writes nothing."""

from __future__ import annotations

import inspect
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from litemkd.tracking.runs.run import Run, SilentRun

CALLS = {
    "keep_alive": (),
    "log_metrics": ({"a": 1.0}, 0),
    "flush": (),
    "log_params": ({"a": 1},),
    "set_tags": ({"a": 1},),
    "describe": ("words",),
    "use_model": ("litemkd-toy-teacher", 1),
    "log_text": ("words", "a/words.txt"),
    "log_dict": ({"a": 1}, "a.yaml"),
    "log_figure": (plt.figure(), "a.png"),
    "log_picture": (Image.new("RGB", (2, 2)), "a.png"),
    "log_array": (np.zeros(2), "a.npy"),
    "log_table": ([{"a": 1}], "a.json"),
    "log_artifact": (Path("none"),),
    "log_dataset": ("toy", "digest", "folder", "training"),
    "log_environment": (),
    "log_model": (Path("none"),),
    "keep_model": (Path("none"),),
    "put_model": (Path("none"),),
    "close": ("FINISHED",),
}


def test_every_call_is_known() -> None:
    public = {name for name, _ in inspect.getmembers(Run, inspect.isfunction) if not name.startswith("_")}
    assert public == set(CALLS)


@pytest.mark.parametrize("name", CALLS)
def test_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")  # nobody there: a request would be an error
    run = SilentRun("0123", "1", "a run", "toy")
    more = {"name": "m", "step": 0, "metrics": {}} if name.endswith("_model") and name != "use_model" else {}
    assert getattr(run, name)(*CALLS[name], **more) in (None, "")
    assert list(tmp_path.iterdir()) == []
    assert (run.run_id, run.name) == ("0123", "a run")
