"""Which store is used, how it is shown, and runs read back."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from litemkd import tracking
from litemkd.errors import TrackingError
from litemkd.tracking import store


def test_the_command_that_shows_the_store(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert tracking.ui_command() == "litemkd ui"
    with monkeypatch.context() as patch:  # an environment that `mlflow run` made
        patch.setattr(sys, "prefix", f"/home/me/.mlflow/envs/mlflow-{'0a' * 20}")
        assert tracking.ui_command() == "mlflow ui"
    assert tracking.use_store("sqlite:///other folder/x.db") == f"sqlite:///{workdir}/other%20folder/x.db"
    assert os.environ["MLFLOW_TRACKING_URI"] == f"sqlite:///{workdir}/other%20folder/x.db"
    assert tracking.ui_command() == f"litemkd ui --store sqlite:///{workdir}/other%20folder/x.db"
    tracking.use_store("postgresql+psycopg2://me:secret@db/x")
    assert tracking.ui_command() == 'litemkd ui --store "$MLFLOW_TRACKING_URI"'
    tracking.use_store("http://me:secret@host:5000")
    assert tracking.ui_command() == "http://me:***@host:5000"


def test_a_missing_store_is_not_made_by_reading(workdir: Path) -> None:
    assert tracking.read_runs("toy") == []
    assert tracking.find_version("litemkd-toy-student", {"a": "b"}) is None
    assert tracking.close_orphans() == []
    assert list(workdir.iterdir()) == []


def test_an_interrupted_creation_is_begun_anew(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (workdir / "mlflow.db.part").write_text("half a database")
    made: list[str] = []

    def make(path: Path) -> None:
        assert not path.exists()
        path.write_text("tables")
        made.append(path.name)

    monkeypatch.setattr("litemkd.tracking.store.opening._make_tables", make)
    store.create_sqlite_store(workdir / "mlflow.db")
    store.create_sqlite_store(workdir / "mlflow.db")
    assert made == ["mlflow.db.part"]
    assert (workdir / "mlflow.db").read_text() == "tables"


@pytest.mark.parametrize(
    "told",
    [
        "(sqlite3.OperationalError) database is locked",
        "(sqlite3.IntegrityError) UNIQUE constraint failed: tags.key, tags.run_uuid",
        '(psycopg.errors.UniqueViolation) duplicate key value violates "registered_model_tag_pk"',
    ],
)
def test_another_process_in_the_way_is_waited_for(monkeypatch: pytest.MonkeyPatch, told: str) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    answers = iter([MlflowException(told)] * 3)

    def call() -> str:
        for error in answers:
            raise error
        return "done"

    assert store.retry(call) == "done"
    with pytest.raises(MlflowException, match="other"):
        store.retry(lambda: (_ for _ in ()).throw(MlflowException("other")))


def test_runs_read_back(client: MlflowClient) -> None:
    with tracking.stage_run(
        "distill", dataset="toy", name="a", tags={"head": "trx"}, params={"lr": 1}
    ) as outer:
        outer.log_metrics({"val/accuracy": 61.0}, step=5)
        with tracking.stage_run("teacher", dataset="toy", name="b"):
            pass
    with pytest.raises(ZeroDivisionError), tracking.stage_run("student", dataset="other", name="c"):
        raise ZeroDivisionError
    assert {record.name for record in tracking.read_runs()} == {"a", "b", "c"}
    assert {record.name for record in tracking.read_runs("toy")} == {"a", "b"}
    assert tracking.read_runs("nothing") == []
    (record,) = tracking.read_runs("toy", stage="distill", tags={"head": "trx"})
    assert (record.name, record.stage, record.experiment) == ("a", "distill", "litemkd/toy")
    assert (dict(record.params), dict(record.metrics)) == ({"lr": "1"}, {"val/accuracy": 61.0})
    assert record.end_time is not None
    assert record.end_time >= record.start_time
    (child,) = tracking.read_runs("toy", stage="teacher")
    assert child.parent_run_id == record.run_id
    assert len(tracking.read_runs("toy", limit=1)) == 1
    (best,) = tracking.read_runs(filter_string="metrics.`val/accuracy` > 60")
    assert best.name == "a"
    (failed,) = tracking.read_runs("other")
    assert failed.status == "FAILED"
    with pytest.raises(TrackingError, match="cannot be read"):
        tracking.read_runs("toy", filter_string="nonsense")


def test_telemetry_is_off_before_mlflow_is_imported() -> None:
    code = (
        "import litemkd.tracking.mlflow_settings, os; assert os.environ['MLFLOW_DISABLE_TELEMETRY'] == 'true';"
        "from mlflow.telemetry.utils import is_telemetry_disabled; assert is_telemetry_disabled()"
    )
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW")}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
