"""Passwords in tracking addresses are not printed and not on disk or in the store, through an outage too.

Here of a data base; that of a server goes through the outages in test_outage.py.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from litemkd.errors import TrackingError
from litemkd.secrets import hide
from tests.faults.serving import CANARY, Database, files_with, run, start

TRAINING = """
import logging, os, sys, time
from pathlib import Path
logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
from litemkd.errors import LitemkdError
from litemkd.tracking import close_orphans, stage_run, unsent

uri, token = os.environ["MLFLOW_TRACKING_URI"], os.environ["AWS_SECRET_ACCESS_KEY"]
try:
    with stage_run("student", dataset="toy", name="x", params={"where": uri}, tags={"from": uri}) as run:
        run.log_metrics({"a": 1.0}, 1)
        run.log_text(f"sent to {uri}", "where.txt")
        run.flush()
        Path("begun").touch()
        while not Path("dead").exists():
            time.sleep(0.05)
        run.log_metrics({"a": 2.0}, 2)
        run.set_tags({"late": f"{uri} {token}"})
        run.flush()
        raise LitemkdError(f"cannot go on with {uri} and {token}")
except LitemkdError:
    print(*unsent())
try:
    close_orphans()
except Exception as error:
    print(error)
"""


def through_an_outage(folder: Path, uri: str, kill: Callable[[], None], again: Callable[[], None]) -> str:
    """A run on a store that is killed in the middle and comes back for `litemkd sync`; all that was printed."""
    process = start(folder, uri, "-c", TRAINING, out="training.out", AWS_SECRET_ACCESS_KEY=f"{CANARY}-key")
    end = time.monotonic() + 120
    while not (folder / "begun").exists():
        assert process.poll() is None, (folder / "training.out").read_text()
        assert time.monotonic() < end
        time.sleep(0.05)
    kill()
    (folder / "dead").touch()
    assert process.wait(200) == 0
    assert list((folder / "runs" / "unsent").rglob("journal.jsonl"))
    assert files_with(CANARY, folder) == []
    again()
    code, up = run(folder, uri, "-m", "litemkd", "sync")
    assert code == 0, up
    assert CANARY not in up
    return (folder / "training.out").read_text()


def test_of_a_data_base(tmp_path: Path) -> None:
    database = Database()
    uri = database.uri.replace("://postgres:@", f"://postgres:{CANARY}@", 1)
    assert CANARY in uri
    try:
        said = through_an_outage(tmp_path, uri, database.stop, database.start)
        assert CANARY not in said
        assert "postgres:***@" in said
        assert files_with(CANARY, tmp_path, database.folder) == []
        assert files_with("postgres:***@", database.folder)
    finally:
        database.remove()


def test_what_is_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    assert hide("see http://me:pa:ss@w@host:5000/x, postgresql://a:b@c/d") == (
        "see http://me:***@host:5000/x, postgresql://a:***@c/d"
    )
    for text in ("http://host:5000/a@b", "at 10:30 me@host", "models:/name@champion", "sqlite:////a/b.db"):
        assert hide(text) == text
    assert str(TrackingError("http://me:secret@host is away")) == "http://me:***@host is away"
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "0123456789")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:long%20password@host")
    assert hide("token 0123456789, long password") == "token ***, ***"
