"""Full disks: the message says so, what was whole stays whole, and after space is made the work goes on."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from click.testing import Result

from litemkd.commands.options import plain_mistakes
from litemkd.data.frames import frame_files, write_frames
from litemkd.errors import DataError, StorageError
from litemkd.stages.prepare import prepare
from litemkd.storage.checkpoints import load_state, save_state, save_tensors
from litemkd.storage.files import write_text
from tests.data.recordings import clip_of
from tests.faults.disks import Disk, small_disk
from tests.faults.trees import NAMES, SETTINGS, check_labels, check_nothing_half, clip, config_of, videos_tree
from tests.job import SMOKE, Home, Job

LIBRARIES: dict[str, Callable[[Path], object]] = {
    "torch": lambda path: save_state(path, {"weights": torch.zeros(500_000)}),
    "safetensors": lambda path: save_tensors(path, {"weights": torch.zeros(500_000)}),
    "text": lambda path: write_text(path, "x" * 2_000_000),
}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with small_disk(tmp_path / "disk", "1m") as made:
        yield made


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_file_that_does_not_fit_leaves_the_old_one(library: str, disk: Disk) -> None:
    path = disk.path / "folder" / "file"
    path.parent.mkdir()
    path.write_bytes(b"the old one")
    with pytest.raises(StorageError, match=r"^no space left for .*/folder/file \(.*make space there") as caught:
        LIBRARIES[library](path)
    assert caught.value.errno == errno.ENOSPC
    assert [one.name for one in path.parent.iterdir()] == ["file"]
    assert path.read_bytes() == b"the old one"
    disk.resize("8m")
    LIBRARIES[library](path)
    assert path.stat().st_size >= 2_000_000


def test_frames_that_do_not_fit_leave_none(disk: Disk) -> None:
    disk.resize("16k")
    with pytest.raises(StorageError, match=r"no space left for .*class0/clip0"):
        write_frames(disk.path / "rgb_l8" / "class0" / "clip0", clip(NAMES[0]))
    assert list((disk.path / "rgb_l8").glob("*/*")) + list((disk.path / "rgb_l8").glob("*/.*")) == []


def refused(result: Result, command: str) -> str:
    assert isinstance(result.exception, SystemExit), result.output  # not a traceback
    assert result.exit_code == 1, result.output
    assert result.stderr.count(f"litemkd {command}: ") == 1
    return result.stderr.partition(f"litemkd {command}: ")[2].strip()


@pytest.mark.parametrize("workers", [1, 2])
def test_preparing_on_a_full_disk(workers: int, tmp_path: Path) -> None:
    videos_tree(tmp_path)
    with small_disk(tmp_path / "disk", "512k") as disk:
        home = Home(tmp_path)
        words = [word for setting in SETTINGS for word in ("--set", setting)]
        words += ["--set", f"data.source={tmp_path / 'mine'}", "--data-root", str(disk.path)]
        words += ["--set", f"data.workers={workers}", "--set", "data.pack=raw"]  # auto takes what fits
        said = refused(home.run("prepare", *words), "prepare")
        assert said.startswith(f"no space left for {disk.path}/mine/rgb_l8/class")
        frames = disk.path / "mine" / "rgb_l8"
        check_nothing_half(disk.path)
        made = [name for name in NAMES if (frames / name).is_dir()]
        assert 0 < len(made) < len(NAMES)
        for name in made:
            assert clip_of(frames / name, 8).shape == (8, 32, 40, 3)
        # Space for the frames, not for the pack.
        disk.resize("1m")
        said = refused(home.run("prepare", *words), "prepare")
        assert said.startswith(
            f"no space left for the pack of rgb in {disk.path}/mine/packs: it needs 0.7 MB, 0."
        )
        assert not list((disk.path / "mine" / "packs").glob("rgb*"))
        check_nothing_half(disk.path)
        times = {name: frame_files(frames / name, 8)[0].stat().st_mtime_ns for name in NAMES}
        disk.resize("16m")
        result = home.must("prepare", *words)
        assert "rgb: recordings: 0 made, 24 kept, 0 left out" in result.output
        assert times == {name: frame_files(frames / name, 8)[0].stat().st_mtime_ns for name in NAMES}
        check_labels(prepare(config_of(disk.path, f"data.source={tmp_path / 'mine'}")), set())


def test_a_training_whose_checkpoints_fill_the_disk(job: Job, tmp_path: Path) -> None:
    """It says so, keeps its last good checkpoint, and with space goes on to what it would have become."""
    uninterrupted = job.student(distilled=False)
    (tmp_path / "home").mkdir()
    home = job.home.copy(tmp_path / "home")
    with small_disk(tmp_path / "disk", "6m") as disk:  # for one checkpoint of 3.7 MB and the best weights
        words = ("--set", f"output={disk.path}")
        results: list[Result] = []
        (run,) = home.made_by(lambda: results.append(home.run("student", *words)))
        said = refused(results[0], "student")
        (last,) = disk.path.glob("toy-student-*/state-*.pt")
        assert said.startswith(f"no space left for {last.with_name('new.pt')} (")
        assert "; it needs about 3.7 MB; make space there and run it again; a training goes on with" in said
        assert run.info.status == "FAILED"
        assert run.data.tags["litemkd.error"] == said
        assert load_state(last)["progress"]["episodes"] == 2
        check_nothing_half(disk.path)
        disk.resize("64m")
        (test,) = home.made_by(lambda: home.must("student", "--resume", *words))
        assert test.data.tags["mlflow.parentRunId"] == run.info.run_id
        run = home.client.get_run(run.info.run_id)
        assert run.info.status == "FINISHED"
        assert "litemkd.error" not in run.data.tags
        for name in ("val/accuracy", "test/accuracy"):
            assert run.data.metrics[name] == uninterrupted.data.metrics[name]
        assert home.history(run)["train/loss"] == home.history(uninterrupted)["train/loss"]


@pytest.mark.slow
def test_a_store_on_a_full_disk(job: Job, tmp_path: Path) -> None:
    """One message, or an end in order with the rest kept for later; with space the same command works."""
    with small_disk(tmp_path / "disk", "64m") as disk:
        shutil.copy(job.home.folder / "mlflow.db", disk.path / "mlflow.db")
        (tmp_path / "data").symlink_to(job.home.folder / "data")
        words = ["student", "--config", str(SMOKE), "--set", "threads=1", "--set", "data.workers=1"]

        def litemkd() -> subprocess.CompletedProcess[str]:
            # In its mount space: SQLite looks up where a path really leads.
            environment = {
                **os.environ,
                "MLFLOW_TRACKING_URI": f"sqlite:///{disk.folder / 'mlflow.db'}",
                "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING": "false",
            }
            return disk.inside(
                [sys.executable, "-m", "litemkd", *words, "--device", "cpu"], tmp_path, environment
            )

        filler = disk.fill()
        assert disk.free == 0
        done = litemkd()
        assert "Traceback" not in done.stderr, done.stderr
        if done.returncode:
            assert done.returncode == 1
            assert "full" in done.stderr.partition("litemkd student: ")[2]
        else:  # what the store would not take is kept for later
            assert list((tmp_path / "runs" / "unsent").iterdir())
        check_nothing_half(tmp_path / "runs")
        filler.unlink()
        done = litemkd()
        assert done.returncode == 0, done.stderr
        shutil.copy(disk.path / "mlflow.db", tmp_path / "mlflow.db")
        made = Home(tmp_path).runs()[len(job.home.runs()) :]
        assert [run.data.tags["litemkd.stage"] for run in made][-2:] == ["student", "evaluate"]
        assert {run.info.status for run in made[-2:]} == {"FINISHED"}


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "runs/x"), "no space left for runs/x ("),
        (OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)), "no space left ("),
        (OSError(errno.EROFS, os.strerror(errno.EROFS), "a", None, "b"), "cannot read or write b: Read-only"),
        (PermissionError(errno.EACCES, os.strerror(errno.EACCES), "x.pt"), "cannot read or write x.pt: Perm"),
        (DataError("no clips"), "no clips"),
    ],
)
def test_a_disk_that_refuses_is_one_message(
    error: Exception, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught, plain_mistakes(lambda: "litemkd student"):
        raise error
    assert caught.value.code == 1
    assert capsys.readouterr().err.startswith(f"litemkd student: {said}")


def test_other_errors_of_the_system_stay_faults() -> None:
    with pytest.raises(ConnectionError), plain_mistakes(lambda: "litemkd student"):
        raise ConnectionError("a fault of the software, perhaps")
    with contextlib.suppress(FileNotFoundError), plain_mistakes(lambda: "litemkd student"):
        raise FileNotFoundError(errno.ENOENT, "No such file", "x")
