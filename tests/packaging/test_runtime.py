"""`litemkd-runtime` in an environment of its own: no torch, no MLflow, small, and soon with a first answer."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.data.recordings import write_video
from tests.export.making import exported, student_form
from tests.packaging.environments import ROOT, bare, run

pytestmark = [
    pytest.mark.environments,
    pytest.mark.skipif(
        os.environ.get("LITEMKD_ENVIRONMENTS") != "1", reason="LITEMKD_ENVIRONMENTS=1 runs them"
    ),
]
MOST_BYTES, MOST_SECONDS = 150e6, 2.0


def test_it_installs_small_and_answers_soon_without_torch(tmp_path: Path) -> None:
    wheels = tmp_path / "wheels"
    words = [sys.executable, "-m", "pip", "wheel", "--quiet", "--wheel-dir", wheels, ROOT / "litemkd-runtime"]
    run(words, tmp_path, dict(os.environ))
    sizes = {wheel.name: wheel.stat().st_size for wheel in wheels.iterdir()}
    print(f"{sum(sizes.values()) / 1e6:.1f} MB of wheels: {sizes}")
    assert sum(sizes.values()) <= MOST_BYTES
    home = tmp_path / "an environment"
    run([sys.executable, "-m", "venv", home], tmp_path, dict(os.environ))
    install = [home / "bin" / "python", "-m", "pip", "install", "--quiet", "--no-index", "--find-links", wheels]
    run([*install, "litemkd-runtime"], tmp_path, bare(home / "bin"))
    listed = run([home / "bin" / "python", "-m", "pip", "list"], tmp_path, bare(home / "bin"))
    assert not {"torch", "mlflow", "litemkd"} & {
        line.split()[0] for line in listed.splitlines() if line.strip()
    }

    exported(tmp_path / "out", student_form({"name": "otam"}))
    for number, shade in enumerate((20, 230)):
        frames = np.full((8, 48, 64, 3), shade, np.uint8)
        for clip in ("support/{}/a.mp4", "support/{}/b.mp4", "query/{}.mp4"):
            write_video(tmp_path / clip.format(("dark", "light")[number]), frames)
    begun = time.perf_counter()
    done = subprocess.run(
        [
            home / "bin" / "litemkd-runtime",
            "predict",
            "--model",
            "out",
            "--support",
            "support",
            "--query",
            "query",
        ],
        cwd=tmp_path,
        env=bare(home / "bin"),
        capture_output=True,
        text=True,
    )
    taken = time.perf_counter() - begun
    assert done.returncode == 0, done.stderr
    rows = [line.split(",")[:2] for line in done.stdout.splitlines()]
    assert rows == [["query", "predicted"], ["dark.mp4", "dark"], ["light.mp4", "light"]]
    print(f"{taken:.2f} s from start to the end")
    assert taken <= MOST_SECONDS
