"""Stores that cannot be opened or written, a server that keeps no files, and SIGKILL while files are sent."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from litemkd.tracking import require_store, store, use_store
from litemkd.tracking.delivery.journal import Journal, promise
from litemkd.tracking.delivery.outbox import FOLDER
from litemkd.tracking.store import create_sqlite_store
from tests.faults.serving import CANARY, Database, Server, run
from tests.faults.test_data import as_nobody
from tests.helpers import usual_first
from tests.job import SMOKE, Home

STUDENT = ("-m", "litemkd", "student", "--config", str(SMOKE), "--device", "cpu")
SECONDS = 20  # as docs/tracking.md says; nearly all of it is the start of Python on a busy machine


def folder_in_its_place(folder: Path) -> tuple[str, str]:
    path = folder / "store.db"
    path.mkdir()
    why = "it is a folder, not a file"
    return "sqlite:///store.db", f"{path} cannot be opened: {why}; sqlite:///{path}/mlflow.db would do"


def no_database(folder: Path) -> tuple[str, str]:
    (folder / "store.db").write_text("a letter\n")
    return "sqlite:///store.db", f"sqlite:///{folder}/store.db cannot be opened: file is not a database. Check"


def below_a_file(folder: Path) -> tuple[str, str]:
    (folder / "file").touch()
    return "sqlite:///file/store.db", f"{folder}/file/store.db cannot be made: {folder}/file is no folder."


def a_pipe(folder: Path) -> tuple[str, str]:
    os.mkfifo(folder / "store.db")
    return (
        "sqlite:///store.db",
        f"{folder}/store.db cannot be opened: it is a named pipe, not a file; sqlite:///",
    )


def no_postgresql(folder: Path) -> tuple[str, str]:
    pytest.importorskip("psycopg")
    address = f"postgresql+psycopg://me:{CANARY}@127.0.0.1:1/x"
    return address, "postgresql+psycopg://me:***@127.0.0.1:1/x does not answer: Connection refused. Start it"


def no_postgresql_at_a_socket(folder: Path) -> tuple[str, str]:
    pytest.importorskip("psycopg")
    address = "postgresql+psycopg:///x?host=/nowhere"
    return (
        address,
        'socket "/nowhere/.s.PGSQL.5432" failed: No such file or directory. Check',
    )


def no_driver(folder: Path) -> tuple[str, str]:
    return "mysql+nodriver:///x", "Can't load plugin: sqlalchemy.dialects:mysql.nodriver. Check"


UNUSABLE: list[Callable[[Path], tuple[str, str]]] = [
    folder_in_its_place,
    no_database,
    below_a_file,
    a_pipe,
    no_postgresql,
    no_postgresql_at_a_socket,
    no_driver,
]


@pytest.mark.parametrize("made", UNUSABLE)
def test_a_store_that_cannot_be_opened(made: Callable[[Path], tuple[str, str]], tmp_path: Path) -> None:
    """Said in a line, within seconds and before any work: MLflow's own tries take minutes."""
    address, said = made(tmp_path)
    there = sorted(tmp_path.rglob("*"))
    begun = time.monotonic()
    code, printed = run(tmp_path, address, *STUDENT)
    assert time.monotonic() - begun < SECONDS
    assert code == 1
    (line,) = printed.splitlines()
    assert line.startswith("litemkd student: the tracking store ")
    assert said in line
    assert CANARY not in line
    assert sorted(path for path in tmp_path.rglob("*") if path.name != "ran.out") == there


def test_a_data_base_that_postgresql_does_not_have(tmp_path: Path) -> None:
    database = Database()
    try:
        address = database.uri.replace("/postgres?", "/nothing?", 1)
        begun = time.monotonic()
        code, printed = run(tmp_path, address, *STUDENT)
        assert time.monotonic() - begun < SECONDS
    finally:
        database.remove()
    assert code == 1
    (line,) = printed.splitlines()
    assert 'database "nothing" does not exist. Check MLFLOW_TRACKING_URI' in line


@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_store_that_is_read_only(what: str, tmp_path: Path) -> None:
    """Of another user's store the reason is told, before any work."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("another user's rights are taken on by root only")
    create_sqlite_store(tmp_path / "mlflow.db")
    (tmp_path / "work").mkdir()
    for path in [tmp_path, *tmp_path.parents[:-2]]:
        path.chmod(path.stat().st_mode | 0o055)
    os.chown(tmp_path / "work", 65534, 65534)
    os.chown(tmp_path / ("mlflow.db" if what == "folder" else "."), 65534, 65534)
    if what == "file":
        (tmp_path / "mlflow.db").chmod(0o644)

    with Home(tmp_path / "work").entered():
        use_store(f"sqlite:///{tmp_path}/mlflow.db")
        store.connect()  # all modules are loaded, which the other user may not be able to read
        assert as_nobody(lambda: require_store("toy", writing=False)) == ""
        said = as_nobody(lambda: require_store("toy"))
    why = {
        "file": "attempt to write a readonly database",
        "folder": f"the folder {tmp_path} may not be written to",
    }
    assert said.startswith(
        f"TrackingError: the tracking store {tmp_path}/mlflow.db cannot be written: {why[what]}. "
    )
    assert list((tmp_path / "work").iterdir()) == []


MAKE = """
import logging
from pathlib import Path
from litemkd.tracking import register_model, require_store, stage_run

logging.basicConfig(level=logging.INFO, format="%(message)s")
require_store("toy")
print("the work begins", flush=True)
Path("model").mkdir()
Path("model/weights.safetensors").write_bytes(bytes(256))
Path("model/model.json").write_text("{}")
with stage_run("student", dataset="toy", name="x") as run:
    run.log_table([{"a": 1}], "per_class.json")
    register_model(run, Path("model"), "litemkd-toy-student", name="student", step=1, metrics={}, tags={})
"""
READ = """
import logging
from litemkd.errors import TrackingError
from litemkd.tracking import download, read_runs, read_table

logging.basicConfig(level=logging.INFO, format="%(message)s")
(record,) = read_runs("toy")
print([read_table(record, "per_class.json") for _ in range(2)])
try:
    print(download("models:/litemkd-toy-student/1"))
except TrackingError as error:
    print("error:", error)
"""


@pytest.fixture
def fileless(tmp_path: Path) -> Iterator[Server]:
    """A server that hands out a path of each client's own disk as the place of artifacts."""
    folder = tmp_path / "server"
    folder.mkdir()
    create_sqlite_store(folder / "mlflow.db")
    words = ("--no-serve-artifacts", "--default-artifact-root", str(tmp_path / "first" / "root"))
    server = Server(folder, f"sqlite:///{folder}/mlflow.db", artifacts=words)
    server.start()
    yield server
    server.kill()


def test_a_server_that_keeps_no_files(fileless: Server, tmp_path: Path) -> None:
    """Said before the work begins, and again where another client misses a file because of it."""
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    code, printed = run(first, fileless.uri, "-c", MAKE)
    assert code == 0, printed
    warning, begins, *rest = printed.splitlines()
    assert warning.startswith(
        f"the tracking server {fileless.uri} keeps no files: those of the experiment litemkd/toy are written "
        f"to {first}/root/1 on the machine that logs them, this one, and no other will find them"
    )
    assert "--serve-artifacts --artifacts-destination FOLDER" in warning
    assert begins == "the work begins"
    assert "keeps no files" not in "".join(rest)
    code, printed = run(first, fileless.uri, "-c", READ)
    assert (code, "[[{'a': 1}], [{'a': 1}]]" in printed, "not at the server" in printed) == (0, True, False)

    shutil.move(first / "root", first / "elsewhere")  # as it is on any other machine
    code, printed = run(second, fileless.uri, "-c", READ)
    assert code == 0, printed
    assert "[None, None]" in printed
    (of_run,) = [line for line in printed.splitlines() if line.startswith("the files of run ")]
    (error,) = [line for line in printed.splitlines() if line.startswith("error: ")]
    assert error.startswith("error: the files of models:/litemkd-toy-student/1 are not at the server ")
    for line in (of_run, error):
        assert f"but at {first}/root/" in line
        assert "because the server was started without --serve-artifacts" in line


SEND = """
import os, signal, sys
from litemkd.tracking import send_unsent
from litemkd.tracking import require_store, store, use_store
from litemkd.tracking.delivery.journal import Journal

drop, mark, at, what = Journal.drop_file, Journal.mark, sys.argv[1], sys.argv[2]

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def dropping(journal, kept):
    if at == "before the files are removed":
        die()
    if at == "while they are removed":
        path = journal.folder / kept
        (path if path.is_file() else path / "model.json").unlink()
        die()
    drop(journal, kept)
    if at == "after":
        die()

def marking(journal, entry):
    if at == "before the mark":
        die()
    if at == "removed, and the mark is lost":
        drop(journal, entry.item["file"])
        die()
    mark(journal, entry)

Journal.drop_file, Journal.mark = dropping, marking
send_unsent()
"""
MOMENTS = (
    "before the mark",
    "before the files are removed",
    "while they are removed",
    "after",
    "removed, and the mark is lost",
)


@pytest.mark.parametrize("what", usual_first(["file", "folder"], ["model"]))
@pytest.mark.parametrize("at", MOMENTS)
def test_killed_between_sending_and_removing(at: str, what: str, tmp_path: Path) -> None:
    """`litemkd sync` then ends well, and the store has it once."""
    create_sqlite_store(tmp_path / "mlflow.db")
    address = f"sqlite:///{tmp_path}/mlflow.db"
    client = MlflowClient(address)
    experiment = client.create_experiment("litemkd/toy", artifact_location=(tmp_path / "files").as_uri())
    number = client.create_run(experiment).info.run_id
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights.safetensors").write_bytes(bytes(256))
    (tmp_path / "model" / "model.json").write_text("{}")
    (tmp_path / "a.txt").write_text("hello")
    journal = Journal.make(tmp_path / FOLDER, {})
    kept = journal.keep_file(tmp_path / ("a.txt" if what == "file" else "model"))
    item = {"do": "artifact", "run": number, "file": kept, "to": "notes"}
    if what == "model":
        item = {"do": "model", "run": number, "file": kept, "result": promise(), "experiment": "toy"}
        item |= {"registered": "litemkd-toy-student", "name": "student", "step": 1, "description": ""}
        item |= {"metrics": {}, "times": {}, "params": {}, "tags": {}, "again": False}
    journal.append(item)
    journal.close()
    code, printed = run(tmp_path, address, "-c", SEND, at, what)
    assert code == -signal.SIGKILL, printed
    for _ in range(2):
        code, printed = run(tmp_path, address, "-m", "litemkd", "sync")
        assert code == 0, printed
        assert not (tmp_path / FOLDER).exists()
    if what == "model":
        (version,) = client.search_model_versions("name = 'litemkd-toy-student'")
        (model,) = client.search_logged_models([experiment])
        assert (version.source, str(model.status)) == (f"models:/{model.model_id}", "READY")
    else:
        there = [one.path for one in client.list_artifacts(number, "notes")]
        assert there == (
            ["notes/a.txt"] if what == "file" else ["notes/model.json", "notes/weights.safetensors"]
        )
