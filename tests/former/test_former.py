"""A store of the first version (`store.tar.xz`) is read, gone on with and served by this one.

It was made by `litemkd distill --config former.yaml`, killed after the first of two states of the distilled
student. It holds the store, the state, the registered teacher and plain student, and what was not yet sent.
Figures are those that the first version reached where nobody killed it.
"""

from __future__ import annotations

import re
import sqlite3
import tarfile
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from litemkd.cli import main
from litemkd.stages.build import load_model
from litemkd.tracking.store import connect
from tests.job import Home, Job, copy_data

STORE = Path(__file__).with_name("store.tar.xz")
MADE_IN = "/tmp/litemkd-former"
PLACES = (
    ("runs", "artifact_uri"),
    ("experiments", "artifact_location"),
    ("logged_models", "artifact_location"),
    ("model_versions", "storage_location"),
)
TEACHER, PLAIN, DISTILLED = (52.2, 33.8), (36.0, 27.2), (35.6, 25.2)  # 5-shot, 1-shot


def unpacked(folder: Path) -> Home:
    """The store in another folder, as somebody moves one."""
    with tarfile.open(STORE) as archive:
        safe = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # Python 3.11.4 or later
        archive.extractall(folder, **safe)
    with sqlite3.connect(folder / "mlflow.db") as database:
        for table, column in PLACES:
            database.execute(f"update {table} set {column} = replace({column}, ?, ?)", (MADE_IN, str(folder)))
    database.close()
    return Home(folder)


@pytest.fixture(scope="module")
def former(tmp_path_factory: pytest.TempPathFactory) -> Home:
    home = unpacked(tmp_path_factory.mktemp("former"))
    with home.entered():
        connect()
    return home


def reached(home: Home, name: str) -> tuple[float, float]:
    """Accuracies, 5-shot and 1-shot, of the newest run whose name begins so."""
    run = [run for run in home.runs() if run.info.run_name.startswith(name)][-1]
    return run.data.metrics["test/accuracy_5shot"], run.data.metrics["test/accuracy_1shot"]


def test_its_registered_models_load(former: Home) -> None:
    for name in ("litemkd-toy-teacher", "litemkd-toy-student"):
        assert former.client.get_model_version(name, "1").status == "READY"
    kinds = sorted(
        type(load_model(path.parent)).__name__ for path in former.folder.glob("mlruns/**/model.json")
    )
    assert kinds == ["Student", "TeacherBundle"]


def test_its_runs_are_compared(former: Home) -> None:
    result = former.must("compare")
    assert re.search(r"36\.00 ± 9\.89 \(1\) +± 4\.02  27\.20 ± 7\.94 \(1\) +± 3\.55", result.output)


@pytest.mark.slow
def test_its_interrupted_run_goes_on(tmp_path: Path, job: Job, caplog: pytest.LogCaptureFixture) -> None:
    home = unpacked(tmp_path)
    copy_data(job.home.data, home.data)  # made by this version: the digest has to be that of the first
    with caplog.at_level("INFO"):
        # Students of the toy saw single frames then.
        plain = ("--set", "student.temporal=none")
        result = home.run("distill", "--resume", *plain, config=home.folder / "former.yaml")
    assert result.exit_code == 0, result.output
    assert "going on with the run distill into conv4 + trx, seed 0" in caplog.text
    assert "teacher: using litemkd-toy-teacher version 1, made before" in caplog.text
    assert "student, distilled: goes on after 2 of 4 episodes" in caplog.text
    # Sums of another processor may differ in the last digit, which may turn a query or two of 500.
    np.testing.assert_allclose(reached(home, "teacher"), TEACHER, atol=1)
    np.testing.assert_allclose(reached(home, "labels only"), PLAIN, atol=1)
    np.testing.assert_allclose(reached(home, "distilled"), DISTILLED, atol=1)
    assert re.search(r"registered model: litemkd-toy-student version 2\n", result.output)
    with home.entered():  # what was not sent was kept for the store's address of then
        sent = CliRunner().invoke(main, ["sync", "--moved"])
    assert (sent.exit_code, list((tmp_path / "runs" / "unsent").glob("*"))) == (0, []), sent.output
