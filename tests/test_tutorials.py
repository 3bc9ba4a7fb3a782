"""The tutorials run from top to bottom, in a folder of their own, and what is kept of them is small.

They take minutes, so they run by `LITEMKD_TUTORIALS=1 pytest -m tutorials` alone.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "tutorials"
NAMES = ("toy", "distillation", "search", "own_videos")  # the first one makes what two others go on with
MOST_KB = 400


def test_what_is_kept_is_small_and_tells_of_no_machine() -> None:
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == set(NAMES)
    for name in NAMES:
        text = (FOLDER / f"{name}.ipynb").read_text(encoding="utf-8")
        assert len(text) < 1000 * MOST_KB, name
        assert "/home/" not in text
        assert "/tmp/" not in text
        kinds = {
            output["output_type"] for cell in json.loads(text)["cells"] for output in cell.get("outputs", [])
        }
        assert "error" not in kinds, name


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tutorials")


@pytest.mark.tutorials
@pytest.mark.skipif(os.environ.get("LITEMKD_TUTORIALS") != "1", reason="LITEMKD_TUTORIALS=1 runs them")
@pytest.mark.parametrize("name", NAMES)
def test_a_tutorial_runs(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbformat = pytest.importorskip("nbformat")
    client = pytest.importorskip("nbclient")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for variable in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID"):
        monkeypatch.delenv(variable, raising=False)
    notebook: Any = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    client.NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    ).execute()
    pictures = [
        output
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if {"image/png", "image/jpeg"} & set(output.get("data", {}))
    ]
    assert len(pictures) >= 2
