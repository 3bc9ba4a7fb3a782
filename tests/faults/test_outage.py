"""The tracking server dies in the middle of a run and at its end: the store afterwards is as if it had not."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from litemkd.tracking.store import create_sqlite_store
from tests.faults.made_up import STEPS, reached, values
from tests.faults.serving import CANARY, Server, files_with, run, start
from tests.faults.silence import Proxy
from tests.job import SMOKE, Job

PAUSE = float(os.environ.get("LITEMKD_PAUSE", "0.1"))
MADE_UP = ("-m", "tests.faults.made_up")
TOY = ("--config", str(SMOKE), "--set", "threads=1", "--set", "data.workers=1", "--device", "cpu")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    create_sqlite_store(folder / "mlflow.db")
    server = Server(folder, f"sqlite:///{folder / 'mlflow.db'}", userinfo=f"me:{CANARY}@")
    server.start()
    yield server
    server.kill()


def wait_for(condition: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not so after {seconds} s"
        time.sleep(0.02)


@dataclass(frozen=True)
class Told:
    """All that a store has of a run, but for names and times."""

    status: str
    history: dict[str, list[tuple[int, str]]]
    params: dict[str, str]
    tags: dict[str, str]
    artifacts: dict[str, int]
    inputs: list[tuple[str, str]]


def runs_of(client: MlflowClient, name: str) -> dict[str, Run]:
    experiment = client.get_experiment_by_name("litemkd/toy")
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id], max_results=1000)
    return {one.info.run_name: one for one in found if one.info.run_name.split("-")[0] == name}


def told(client: MlflowClient, one: Run) -> Told:
    def files(folder: str | None = None) -> dict[str, int]:
        there: dict[str, int] = {}
        for entry in client.list_artifacts(one.info.run_id, folder):
            there |= files(entry.path) if entry.is_dir else {entry.path: entry.file_size}
        return there

    history = {
        key: [(point.step, repr(point.value)) for point in client.get_metric_history(one.info.run_id, key)]
        for key in one.data.metrics
    }
    moving = (
        "litemkd.where",
        "litemkd.heartbeat",
        "litemkd.owner",
        "litemkd.origin",
        "litemkd.student",
        "mlflow.",
    )
    return Told(
        one.info.status,
        history,
        dict(one.data.params),
        {key: value for key, value in one.data.tags.items() if not key.startswith(moving)},
        files(),
        [(entry.dataset.name, entry.dataset.digest) for entry in one.inputs.dataset_inputs],
    )


def everything(client: MlflowClient, name: str) -> dict[str, Told]:
    found = runs_of(client, name)
    parent = found[name].info.run_id
    for one in found.values():
        above = one.data.tags.get("mlflow.parentRunId")
        assert above == (None if one is found[name] else parent)
    return {key.removeprefix(name): told(client, one) for key, one in found.items()}


def versions(client: MlflowClient, name: str) -> list[Any]:
    found = client.search_model_versions("name = 'litemkd-toy-student'")
    return [one for one in found if one.tags.get("litemkd.protocol") == name]


@pytest.fixture(scope="module")
def whole(server: Server, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Told]:
    """What the store has of a training that nothing happened to."""
    folder = tmp_path_factory.mktemp("whole")
    code, printed = run(folder, server.uri, *MADE_UP, "whole", str(STEPS), "0")
    assert code == 0, printed
    assert not (folder / "runs" / "unsent").exists()
    return everything(MlflowClient(server.uri), "whole")


def check_same(client: MlflowClient, name: str, whole: dict[str, Told]) -> Any:
    """Point by point a training's runs are those of the undisturbed one; its registered version."""
    replayed = everything(client, name)
    assert set(whole) == {"", "-first", "-second"} == set(replayed)
    for part, expected in whole.items():
        kept = replayed[part]
        assert kept.tags.pop("litemkd.protocol", None) in (None, name)
        assert kept == expected, part
    (version,) = versions(client, name)
    assert client.get_model_version_by_alias("litemkd-toy-student", "champion").version == version.version
    assert runs_of(client, name)[name].data.tags["litemkd.student"] == f"version {version.version}"
    assert version.run_id == runs_of(client, name)[f"{name}-second"].info.run_id
    return version


@pytest.mark.slow
def test_down_in_the_middle_and_at_the_end(server: Server, whole: dict[str, Told], tmp_path: Path) -> None:
    """And of a second training, killed in the outage, everything is there that it handed over."""
    client = MlflowClient(server.uri)
    hit = start(tmp_path, server.uri, *MADE_UP, "hit", str(STEPS), str(PAUSE), out="hit.out")
    wait_for(lambda: reached(tmp_path, "hit") >= STEPS // 3)
    server.kill()
    wait_for(lambda: reached(tmp_path, "hit") >= 2 * STEPS // 3)  # a new run was opened meanwhile
    (tmp_path / "hit.hold").touch()
    server.start()
    dead = start(tmp_path, server.uri, *MADE_UP, "dead", "100000", "0.01", out="dead.out")
    wait_for(lambda: reached(tmp_path, "dead") > 5 and "has been sent" in (tmp_path / "hit.out").read_text())
    (tmp_path / "hit.hold").unlink()
    wait_for(lambda: reached(tmp_path, "hit") >= STEPS - 15)
    server.kill()
    begun = reached(tmp_path, "dead")
    wait_for(lambda: reached(tmp_path, "dead") > begun + 100)
    dead.kill()
    dead.wait()
    assert hit.wait(120) == 0, (tmp_path / "hit.out").read_text()
    assert files_with("unsent-", tmp_path / "runs" / "unsent")
    assert files_with(CANARY, tmp_path) == []
    said = (tmp_path / "hit.out").read_text()
    assert said.count(" is away ") == 2, said
    assert said.count("answers again: ") == 1, said
    assert "litemkd sync" in said
    assert "Traceback" not in said
    code, said = run(tmp_path, server.uri, "-m", "litemkd", "sync")
    assert code == 1, said
    assert "does not answer: " in said

    server.start()
    code, said = run(tmp_path, server.uri, "-m", "litemkd", "sync")
    assert code == 0, said
    assert not (tmp_path / "runs" / "unsent").exists()
    assert whole["-second"].history["train/loss"] == [(s, repr(1 / (s + 1))) for s in range(STEPS // 2, STEPS)]
    check_same(client, "hit", whole)

    assert files_with(CANARY, tmp_path, server.folder) == []
    assert files_with("me:***@127.0.0.1", server.folder / "artifacts")

    lost = runs_of(client, "dead")
    assert {one.info.status for one in lost.values()} == {"FAILED"}
    assert all("is gone" in one.data.tags["litemkd.error"] for one in lost.values())
    history = told(client, lost["dead-first"]).history
    last = reached(tmp_path, "dead")
    for key in values(0):
        assert history[key][: last + 1] == [(step, repr(values(step)[key])) for step in range(last + 1)]
        assert len(history[key]) <= last + 2


@pytest.mark.slow
def test_silent_in_the_middle_and_at_the_end(server: Server, whole: dict[str, Told], tmp_path: Path) -> None:
    """The server accepts connections and does not answer, which costs a training no time either."""
    proxy = Proxy(server.port)
    uri = server.uri.replace(str(server.port), str(proxy.port))
    words = (*MADE_UP, "mute", str(STEPS), str(PAUSE))
    process = start(tmp_path, uri, *words, out="mute.out", MLFLOW_HTTP_REQUEST_TIMEOUT="2")
    wait_for(lambda: reached(tmp_path, "mute") >= STEPS // 3)
    proxy.silent, begun = True, time.monotonic()
    wait_for(lambda: reached(tmp_path, "mute") >= 2 * STEPS // 3)  # and a run was opened meanwhile
    assert time.monotonic() - begun < PAUSE * STEPS / 3 + 10  # a request a step would take 40 s
    (tmp_path / "mute.hold").touch()
    said = tmp_path / "mute.out"
    wait_for(lambda: " is away (" in said.read_text())
    proxy.silent = False
    wait_for(lambda: "has been sent" in said.read_text())
    (tmp_path / "mute.hold").unlink()
    wait_for(lambda: reached(tmp_path, "mute") >= STEPS - 5)
    proxy.silent = True
    assert process.wait(60) == 0, said.read_text()
    assert said.read_text().count(" is away (") >= 2, said.read_text()
    assert "litemkd sync" in said.read_text()
    assert "Traceback" not in said.read_text()
    proxy.silent = False
    code, printed = run(tmp_path, uri, "-m", "litemkd", "sync")
    assert code == 0, printed
    check_same(MlflowClient(server.uri), "mute", whole)
    assert not (tmp_path / "runs" / "unsent").exists()
    proxy.close()


@pytest.mark.slow
def test_a_student_is_trained_through_an_outage(server: Server, job: Job, tmp_path: Path) -> None:
    (tmp_path / "data").symlink_to(job.home.folder / "data")
    words = ("-m", "litemkd", "student", *TOY, "--seed", "3")
    process = start(tmp_path, server.uri, *words, out="student.out")
    client = MlflowClient(server.uri)

    def training() -> bool:
        assert process.poll() is None, (tmp_path / "student.out").read_text()
        experiment = client.get_experiment_by_name("litemkd/toy")
        found = client.search_runs([experiment.experiment_id], "params.seed = '3'") if experiment else []
        return any(one.data.params for one in found)

    wait_for(training)
    server.kill()
    assert process.wait(240) == 0, (tmp_path / "student.out").read_text()
    said = (tmp_path / "student.out").read_text()
    assert "registered when the tracking store answers" in said
    server.start()
    code, sent = run(tmp_path, server.uri, "-m", "litemkd", "sync")
    assert code == 0, sent
    experiment = client.get_experiment_by_name("litemkd/toy")
    (student,) = client.search_runs(
        [experiment.experiment_id], "params.seed = '3' and tags.`litemkd.stage` = 'student'"
    )
    assert student.info.status == "FINISHED"
    found = client.search_model_versions(f"run_id = '{student.info.run_id}'")
    assert [one.tags["litemkd.run"] for one in found] == [student.info.run_id]
    assert student.data.metrics["test/accuracy"] == pytest.approx(
        float(found[0].tags["litemkd.test_accuracy"]), abs=1e-3
    )
    assert "validations.json" in {one.path for one in client.list_artifacts(student.info.run_id)}
