"""What dead processes left on disk: sent once, in order; what is damaged or refused is named and kept."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from litemkd.errors import TrackingError
from litemkd.tracking import send_unsent, stage_run, store
from litemkd.tracking.delivery.journal import Journal, promise
from litemkd.tracking.delivery.outbox import FOLDER, INTERVAL, LONGEST, pause
from litemkd.tracking.delivery.sending import Sender


def left(*items: dict[str, object], store_of: str = "") -> Path:
    """A journal that a process left behind."""
    journal = Journal.make(FOLDER.absolute(), {"store": store_of} if store_of else {})
    for item in items:
        journal.append(item)
    journal.close()
    return journal.folder


def points(run: str, *steps: int) -> list[dict[str, object]]:
    return [
        {
            "do": "metrics",
            "run": run,
            "at": 1000 + step,
            "step": step,
            "values": {"a": step / 3, "b": float("nan")},
        }
        for step in steps
    ]


def new_run(client: MlflowClient) -> str:
    with stage_run("student", dataset="toy", name="x") as run:
        return run.run_id


def test_sent_twice_is_there_once(client: MlflowClient) -> None:
    run = new_run(client)
    once = left(*points(run, 1, 2, 3))
    (once / "sent").unlink()
    again = left(*points(run, 1, 2, 3), *points(run, 4))
    lines = send_unsent()
    assert lines == [f"run {run}: 6 metrics", f"run {run}: 8 metrics"]
    for key in "ab":
        history = client.get_metric_history(run, key)
        assert [(one.step, one.timestamp) for one in history] == [(step, 1000 + step) for step in (1, 2, 3, 4)]
    assert not once.exists()
    assert not again.exists()
    assert send_unsent() == []


def test_what_comes_while_a_batch_is_sent_waits_for_the_next(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = new_run(client)
    journal = Journal.make(FOLDER.absolute(), {})
    for item in points(run, 1, 2):
        journal.append(item)
    sender, log = Sender(client, journal), client.log_batch
    requests = []

    def log_meanwhile(*args: Any, **kwargs: Any) -> None:
        requests.append(len(kwargs["metrics"]))
        if len(requests) == 1:
            for item in points(run, 3, 4, 5):
                journal.append(item)
        log(*args, **kwargs)

    monkeypatch.setattr(client, "log_batch", log_meanwhile)
    sender.send()
    assert requests == [4]
    assert not journal.empty
    sender.send()
    assert requests == [4, 6]
    assert journal.empty
    journal.close()
    assert [one.step for one in client.get_metric_history(run, "a")] == [1, 2, 3, 4, 5]


def test_a_promised_run_is_made_once_however_often_it_is_tried(client: MlflowClient) -> None:
    word = promise()
    create = {
        "do": "create",
        "result": word,
        "dataset": "toy",
        "name": "late",
        "tags": {"a.b": "c"},
        "at": 5000,
    }
    for _ in range(2):
        left(create, *points(word, 1), {"do": "tags", "run": word, "tags": {"who": f"run {word}!"}})
        send_unsent()
    experiment = store.experiment_id(client, "toy")
    (run,) = client.search_runs([experiment])
    assert (run.info.run_name, run.info.start_time, run.data.tags["a.b"]) == ("late", 5000, "c")
    assert run.data.tags["who"] == f"run {run.info.run_id}!"
    assert len(client.get_metric_history(run.info.run_id, "a")) == 1


def test_what_cannot_be_sent_is_named_and_kept_and_the_rest_is_sent(client: MlflowClient) -> None:
    run, deleted = new_run(client), new_run(client)
    client.delete_run(deleted)
    folder = left(*points(deleted, 1), *points(run, 1), {"do": "tags", "run": "none", "tags": {"a": "b"}})
    with (folder / "journal.jsonl").open("ab") as file:
        file.write(b'{"do": "metrics", "run": "\xff\n')
        file.write(b'{"do": "metrics", "ru')  # the disk was full
    whole = left(*points(run, 2))
    with pytest.raises(TrackingError) as told:
        send_unsent()
    words = str(told.value)
    assert f"{folder}: kept, the tracking store refused part of run {deleted}" in words
    assert "refused part of run none" in words
    assert "damaged" in words
    assert f"sent: run {run}: 2 metrics" in words
    assert [one.step for one in client.get_metric_history(run, "a")] == [1, 2]
    assert not whole.exists()
    assert len((folder / "refused.jsonl").read_text().splitlines()) == 4
    client.restore_run(deleted)  # what could be sent after all is sent
    with pytest.raises(TrackingError, match=f"sent: run {deleted}: 2 metrics"):
        send_unsent()
    assert len((folder / "refused.jsonl").read_text().splitlines()) == 3


def test_of_another_store(client: MlflowClient) -> None:
    run = new_run(client)
    left(*points(run, 1), store_of="http://elsewhere:5000")
    with pytest.raises(TrackingError, match=r"is for the store http://elsewhere:5000.*--moved"):
        send_unsent()
    assert send_unsent(moved=True) == [f"run {run}: 2 metrics"]


def test_the_journal_of_a_living_process_is_left_alone(client: MlflowClient, tmp_path: Path) -> None:
    import subprocess
    import sys

    run = new_run(client)
    folder = left(*points(run, 1))
    code = (
        "import sys; from pathlib import Path; from litemkd.tracking.delivery.journal import Journal;"
        "journal = Journal.take_over(Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"
    )
    words = [sys.executable, "-c", code, str(folder)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        assert send_unsent() == []
        assert folder.exists()
        holder.communicate()
    assert send_unsent() == [f"run {run}: 2 metrics"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_costs_nothing_while_the_process_lives(
    number: int, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write

    def full(file: int, data: bytes) -> int:
        if b'"values"' not in data:
            return real(file, data)
        real(file, data[:5])
        raise OSError(number, os.strerror(number))

    with stage_run("student", dataset="toy", name="x") as run:
        run.log_metrics({"a": 1.0}, 1)
        monkeypatch.setattr(os, "write", full)
        run.log_metrics({"a": 2.0}, 2)
        run.log_metrics({"a": 3.0}, 3)
        monkeypatch.setattr(os, "write", real)
        run.log_metrics({"a": 4.0}, 4)
    assert [one.value for one in client.get_metric_history(run.run_id, "a")] == [1, 2, 3, 4]


def test_an_answer_that_is_needed_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    answers = iter([MlflowException("connection refused")] * 3)

    def call() -> str:
        for error in answers:
            raise error
        return "done"

    assert store.wait_for(call) == "done"
    monkeypatch.setenv("LITEMKD_STORE_PATIENCE", "0")
    with pytest.raises(MlflowException, match="refused"):
        store.wait_for(lambda: (_ for _ in ()).throw(MlflowException("connection refused")))


def test_an_outage_of_days_is_waited_out() -> None:
    assert pause(0) == INTERVAL
    assert [pause(failures) for failures in (1, 2, 3, 4)] == [2, 4, 8, LONGEST]
    assert [pause(failures) for failures in (10, 5000)] == [LONGEST, LONGEST]
