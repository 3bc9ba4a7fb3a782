"""`mlflow run` of this project: the entry points, the experiment, and runs that cannot start."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow.entities import Run
from mlflow.exceptions import ExecutionException
from mlflow.projects._project_spec import load_project
from mlflow.tracking import MlflowClient

from litemkd import mlflow_plugin, tracking
from litemkd.mlflow_plugin import Launch, ProjectExperiment, parse, project_folder, run_arguments
from litemkd.tracking.runs import launcher

ROOT = Path(__file__).parents[2]
COMMON = {"config", "overrides", "data_root", "seed", "device"}
RESUMED = {"prepare", "teacher", "features", "student", "distill", "main", "evaluate", "report"}

STAGE = """
import sys
from litemkd.tracking import stage_run

seed = sys.argv[1]
with stage_run("distill", dataset=sys.argv[2], name="mine", params={"seed": int(seed), "train.lr": 0.1}) as run:
    with stage_run("teacher", dataset=sys.argv[2], name="inner"):
        pass
    run.log_metrics({"val/accuracy": 50.0}, step=1)
"""
PROJECT = """
name: litemkd
conda_env: conda.yaml
entry_points:
  distill:
    parameters:
      config: {type: string, default: toy.yaml}
      overrides: {type: string, default: ""}
      seed: {type: string, default: "0"}
    command: "python stage.py {seed} other && : {config} {overrides}"
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "a project"
    folder.mkdir()
    (folder / "MLproject").write_text(PROJECT)
    (folder / "stage.py").write_text(STAGE)
    (folder / "toy.yaml").write_text("data: {dataset: toy}\n")
    (folder / "conda.yaml").write_text("dependencies: [python=3.11, pip, {pip: [iniconfig]}]\n")
    return folder


def mlflow(*words: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {
        key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW", "CONDA", "PYTEST"))
    }
    kept["PATH"] = f"{Path(sys.executable).parent}:{kept['PATH']}"
    kept |= {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING": "false", **environment}
    command = [sys.executable, "-m", "mlflow", *words]
    return subprocess.run(command, cwd=cwd, env=kept, capture_output=True, text=True, timeout=120, check=False)


def every_run(path: Path) -> list[Run]:
    tracking.use_store(f"sqlite:///{path}")
    store = tracking.store.connect()
    return list(store.search_runs([found.experiment_id for found in store.search_experiments()]))


def test_joins_its_run_in_the_right_experiment_of_the_right_store(
    workdir: Path,
    empty_store: Path,
    project: Path,
) -> None:
    shutil.copy2(empty_store, workdir / "own.db")
    words = [
        "-e",
        "distill",
        "--env-manager",
        "local",
        "-P",
        "overrides=data.dataset=other seed=7",
        "-P",
        "seed=7",
    ]
    # From another folder than the project's, and with a store that is named relative to it.
    done = mlflow("run", str(project), *words, cwd=workdir, MLFLOW_TRACKING_URI="sqlite:///own.db")
    assert done.returncode == 0, done.stderr
    assert not (project / "own.db").exists()
    runs = {run.info.run_name: run for run in every_run(workdir / "own.db")}
    assert set(runs) == {"mine", "inner"}
    mine = runs["mine"]
    assert mine.info.status == "FINISHED"
    assert mine.data.tags["mlflow.project.entryPoint"] == "distill"
    assert mine.data.tags["litemkd.stage"] == "distill"
    assert mine.data.params == {
        "config": "toy.yaml",
        "overrides": "'data.dataset=other seed=7'",
        "seed": "7",
        "train.lr": "0.1",
    }
    assert runs["inner"].data.tags["mlflow.parentRunId"] == mine.info.run_id
    assert {record.name for record in tracking.read_runs("other")} == {"mine", "inner"}


def test_without_conda_no_run_is_made(workdir: Path, project: Path) -> None:
    words = ["run", ".", "-e", "distill", "--experiment-name", "mine"]
    done = mlflow(*words, cwd=project, MLFLOW_CONDA_HOME=str(workdir / "nowhere"))
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("litemkd:")]
    assert "--env-manager local" in line
    assert "Traceback" not in done.stderr
    assert not (project / "mlflow.db").exists()


def test_a_run_whose_environment_cannot_be_made_is_closed(
    workdir: Path,
    empty_store: Path,
    project: Path,
) -> None:
    shutil.copy2(empty_store, project / "mlflow.db")
    bin_folder = workdir / "bin"
    bin_folder.mkdir()
    (bin_folder / "uv").write_text("#!/bin/sh\nexit 3\n")
    (bin_folder / "uv").chmod(0o755)
    environment = {"PATH": f"{bin_folder}:{os.environ['PATH']}", "MLFLOW_ENV_ROOT": str(workdir / "envs")}
    done = mlflow("run", ".", "-e", "distill", "--env-manager", "uv", cwd=project, **environment)
    assert done.returncode != 0
    (run,) = every_run(project / "mlflow.db")
    assert run.info.status == "FAILED"
    assert "never started" in run.data.tags["litemkd.error"]
    assert {record.name for record in tracking.read_runs("toy")} == {run.info.run_name}


NEEDED = {  # what has no default: a file that is read has to be there, and is made absolute
    "import-weights": {"file": str(ROOT / "README.md"), "as": "student"},
    "export-weights": {"file": "student.pt", "model": "models:/litemkd-toy-student@champion"},
    "predict": {"support": str(ROOT / "tests"), "query": str(ROOT / "docs")},
    "init": {"dir": str(ROOT / "tests")},
    "export": {"out": "exported"},
}


@pytest.mark.parametrize("name", sorted(launcher.ENTRY_POINTS))
def test_the_entry_points(name: str) -> None:
    entry = load_project(str(ROOT)).get_entry_point(name)
    plain = {"sync": {"moved"}, "init": {"name", "output"}}
    wanted = plain[name] if name in plain else COMMON | ({"resume"} if name in RESUMED else set())
    wanted |= {"dataset", "videos", "lists", "derive"} if name == "prepare" else set()
    wanted |= {"teacher"} if name in {"teacher", "features", "distill", "main", "search"} else set()
    trained = {"teacher", "features", "student", "distill", "main", "evaluate"}
    wanted |= {"fold", "parallel"} if name in trained else set()
    wanted |= {"processes"} if name in {*trained, "report"} else set()
    wanted |= {"model", "output"} if name in {"show", "report"} else set()
    wanted |= {"format", "precision"} if name == "export" else set()
    wanted |= {"source", "support", "out", "json"} if name == "watch" else set()
    wanted |= {"space", "trials"} if name == "search" else set()
    wanted |= {"dataset"} if name == "register" else set()
    wanted |= {"dataset", "filter", "by", "format", "published"} if name == "compare" else set()
    needed = NEEDED.get(name, {})
    assert set(entry.parameters) == wanted | set(needed)
    assert all(isinstance(entry.parameters[one].default, str) for one in wanted)
    with pytest.raises(ExecutionException, match="No value given") if needed else contextlib.nullcontext():
        entry.compute_command({}, None)
    given = {} if name in plain else {"overrides": "a=1 b='x y'"}
    command = entry.compute_command({**given, **needed}, None)
    for value in needed.values():
        assert shlex.quote(value) in shlex.split(command, posix=False)
    assert command.startswith(f"python -m litemkd {'distill' if name == 'main' else name} --")
    for parameter in wanted:
        assert f" --{parameter.replace('_', '-')} " in command
    assert "{" not in command


def test_the_project_is_ours_and_complete() -> None:
    content = mlflow_plugin.read_project(ROOT)
    assert mlflow_plugin.is_ours(ROOT)
    assert set(content["entry_points"]) == launcher.ENTRY_POINTS
    assert content["conda_env"] == "conda.yaml"


def test_conda_installs_what_the_package_needs() -> None:
    dependencies = yaml.safe_load((ROOT / "conda.yaml").read_text())["dependencies"]
    (pip,) = [item["pip"] for item in dependencies if isinstance(item, dict)]
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert pip == [*declared["dependencies"], "."]
    (python,) = [item for item in dependencies if str(item).startswith("python=")]
    assert python.removeprefix("python=") >= declared["requires-python"].removeprefix(">=")


@pytest.mark.filterwarnings("ignore")  # of MLflow, on the import of its command line
def test_the_parser_knows_the_options_of_mlflow_run() -> None:
    from mlflow.cli import run as run_command

    for option in run_command.params:
        for flag in option.opts:
            words = [flag, "value", "project"] if not getattr(option, "is_flag", False) else [flag, "project"]
            if flag.startswith("-"):
                assert parse(words)[0] == "project", flag
        shorts = [flag for flag in option.opts if flag.startswith("-") and not flag.startswith("--")]
        for short in shorts:
            (name,) = parse([short, "value"])[1]
            assert name in option.opts


def test_the_command_line_is_taken_apart() -> None:
    uri, options = parse(["-Pa=1", ".", "-P", "b=2 3", "-e", "distill", "--env-manager=uv", "--build-image"])
    assert uri == "."
    assert options == {"--param-list": ["a=1", "b=2 3"], "--entry-point": ["distill"], "--env-manager": ["uv"]}
    for words in (["/venv/bin/mlflow"], ["/site/mlflow/__main__.py"], ["mlflow.exe"]):
        assert run_arguments([], [*words, "run", "x"]) == ["x"]
        assert run_arguments([], [*words, "--env-file", "e", "run", "x"]) == ["x"]
        assert run_arguments([], [*words, "ui", "run"]) is None
    assert run_arguments(["python", "-m", "mlflow", "run", "x"], ["-m", "run", "x"]) == ["x"]
    for words in (["python", "-m", "litemkd", "run"], ["python", "-m", "pytest", "-m", "mlflow"], ["python"]):
        assert run_arguments(words, ["-m", *words[3:]]) is None
    assert run_arguments([], ["train.py", "run", "."]) is None
    assert run_arguments([], []) is None


def test_the_folder_of_an_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a b").mkdir()
    monkeypatch.chdir(tmp_path)
    assert project_folder(".") == tmp_path
    assert project_folder("'a b'") == tmp_path / "a b"
    assert project_folder(".#a b") == tmp_path / "a b"
    assert project_folder((tmp_path / "a b").as_uri()) == tmp_path / "a b"
    assert project_folder("https://example.org/x.git") is None
    assert project_folder("") is None


@pytest.mark.parametrize(
    ("options", "dataset"),
    [
        ({}, "toy"),
        ({"--entry-point": ["distill"]}, "first"),
        ({"--entry-point": ["distill"], "--param-list": ["config=other.yaml"]}, "second"),
        ({"--entry-point": ["distill"], "--param-list": ["overrides=data.dataset=third"]}, "third"),
        ({"--entry-point": ["distill"], "--param-list": ["config=missing.yaml"]}, "toy"),
        ({"--entry-point": ["distill"], "--param-list": ["dataset=fourth"]}, "fourth"),
        ({"--entry-point": ["distill"], "--param-list": ["dataset=", "config=other.yaml"]}, "second"),
        ({"--entry-point": ["distill"], "--param-list": ["dataset=no name"]}, "toy"),
    ],
)
def test_the_data_set_of_the_configuration(project: Path, options: dict[str, list[str]], dataset: str) -> None:
    (project / "toy.yaml").write_text("data: {dataset: first}\n")
    (project / "other.yaml").write_text("base: base.yaml\n")
    (project / "base.yaml").write_text("data: {dataset: second}\n")
    assert Launch(project, options).dataset() == dataset


def test_the_environment_managers(project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refused(**options: Any) -> bool:
        try:
            Launch(project, {f"--{key.replace('_', '-')}": [value] for key, value in options.items()}).check()
        except SystemExit as stop:
            return stop.code == 1
        return False

    monkeypatch.setattr(Launch, "check", Launch.check_environment_manager, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("CONDA_EXE", "MLFLOW_CONDA_HOME", "MLFLOW_CONDA_CREATE_ENV_CMD"):
        monkeypatch.delenv(name, raising=False)
    assert refused()
    assert refused(env_manager="conda")
    assert refused(env_manager="uv")
    assert refused(env_manager="virtualenv")
    assert not refused(env_manager="local")
    assert not refused(backend="kubernetes")
    for program in ("conda", "uv", "pyenv"):
        (tmp_path / program).write_text("")
        (tmp_path / program).chmod(0o755)
    assert not refused()
    assert not refused(env_manager="uv")
    assert not refused(env_manager="virtualenv")
    monkeypatch.setenv("MLFLOW_CONDA_CREATE_ENV_CMD", "mamba")
    assert refused()
    monkeypatch.setenv("MLFLOW_CONDA_HOME", str(tmp_path / "home"))
    assert refused()
    monkeypatch.delenv("MLFLOW_CONDA_HOME")
    monkeypatch.delenv("MLFLOW_CONDA_CREATE_ENV_CMD")
    monkeypatch.setenv("CONDA_EXE", str(tmp_path / "conda"))
    assert not refused()


def test_other_processes_are_left_alone() -> None:
    provider = ProjectExperiment()  # this process is pytest
    assert not provider.in_context()
    with pytest.raises(RuntimeError):
        provider.get_experiment_id()


def test_a_stopped_run_stays_killed(client: MlflowClient) -> None:
    stopped, failed = orphan(client, "litemkd/toy", litemkd__stopped="Ctrl-C"), orphan(client, "litemkd/toy")
    launcher_of = orphan(client, "Default", litemkd__run_id=stopped)
    for number, code in ((stopped, 130), (failed, 0), (launcher_of, 130)):
        client.set_terminated(number, "FAILED")
        assert mlflow_plugin.settle_status([number]) == code
    assert client.get_run(stopped).info.status == client.get_run(launcher_of).info.status == "KILLED"
    assert client.get_run(failed).info.status == "FAILED"
    assert mlflow_plugin.settle_status([]) == 0


WAITS = """
import time
from litemkd.commands.options import set_up_process
from litemkd.tracking import stage_run
import click

@click.command()
@click.argument("words", nargs=-1)
def wait(words):
    set_up_process()
    with stage_run("distill", dataset="toy", name="mine"):
        open("ready", "w").close()
        time.sleep(60)

wait()
"""


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_mlflow_run_that_is_told_to_stop_ends_as_the_command_would(
    empty_store: Path, project: Path, signum: int, code: int
) -> None:
    """SIGTERM comes to the launcher alone, Ctrl-C to all that the terminal runs."""
    shutil.copy2(empty_store, project / "mlflow.db")
    (project / "stage.py").write_text(WAITS)
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW", "PYTEST"))}
    environment |= {"PATH": f"{Path(sys.executable).parent}:{environment['PATH']}"}
    environment |= {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING": "false"}
    command = [sys.executable, "-m", "mlflow", "run", ".", "-e", "distill", "--env-manager", "local"]
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as of what runs in the background
        signal.signal(signal.SIGINT, signal.default_int_handler)
    with (project / "out").open("w") as out:
        launched = subprocess.Popen(
            command, cwd=project, env=environment, stdout=out, stderr=out, start_new_session=True
        )
    try:
        end = time.monotonic() + 120
        while not (project / "ready").exists() and time.monotonic() < end:
            time.sleep(0.1)
        os.killpg(launched.pid, signum) if signum == signal.SIGINT else launched.send_signal(signum)
        assert launched.wait(60) == code, (project / "out").read_text()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(launched.pid, signal.SIGKILL)
    (run,) = every_run(project / "mlflow.db")
    assert run.info.status == "KILLED"
    assert run.data.tags["litemkd.stopped"] == ("Ctrl-C" if code == 130 else "SIGTERM")


def orphan(store: MlflowClient, name: str, *, age: float = 3600.0, **tags: str) -> str:
    experiment = store.get_experiment_by_name(name)
    number = experiment.experiment_id if experiment else store.create_experiment(name)
    named = {"mlflow.project.entryPoint": "distill", "mlflow.project.env": "conda"}
    named |= {key.replace("__", "."): value for key, value in tags.items()}
    return store.create_run(number, start_time=int((time.time() - age) * 1000), tags=named).info.run_id


def test_orphans_are_closed_only_when_they_cannot_have_started(
    client: MlflowClient,
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    certain = [
        orphan(client, "litemkd/toy"),
        orphan(client, "Default", mlflow__source__name=project.as_uri()),
    ]
    others = [
        orphan(client, "litemkd/toy", age=5),
        orphan(client, "litemkd/toy", mlflow__project__env="uv"),
        orphan(client, "litemkd/toy", litemkd__stage="distill"),
        orphan(client, "litemkd/toy", mlflow__project__entryPoint="theirs"),
        orphan(client, "Default", mlflow__source__name="/somewhere/else"),
    ]
    monkeypatch.setattr(launcher, "missing_conda", lambda: None)
    assert tracking.close_orphans() == []
    monkeypatch.setattr(launcher, "missing_conda", lambda: "conda")
    assert len(tracking.close_orphans()) == 2
    assert {client.get_run(number).info.status for number in certain} == {"FAILED"}
    assert "--env-manager local" in client.get_run(certain[0]).data.tags["litemkd.error"]
    assert {client.get_run(number).info.status for number in others} == {"RUNNING"}
    assert tracking.close_orphans() == []
