"""`litemkd doctor`: what it finds, what it calls wrong, and what it keeps to itself."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from litemkd.cli import main
from litemkd.doctor import machine, self_test, software
from litemkd.doctor.finding import Finding, plain
from litemkd.recordings.videos import ClipFrames
from tests.helpers import free_port
from tests.job import Home

SUBJECTS = ["versions", "extras", "devices", "codecs", "store", "disk"]


def examined(folder: Path, *words: str, code: int = 0) -> dict[tuple[str, str], dict[str, str]]:
    """The findings by subject and name."""
    with Home(folder).entered():
        done = CliRunner().invoke(main, ["doctor", "--json", "--device", "cpu", *words])
    assert done.exit_code == code, done.output
    told = json.loads(done.stdout)
    assert told["healthy"] is (code == 0)
    return {(one["subject"], one["name"]): one for one in told["findings"]}


def test_all_is_well_here_and_nothing_is_changed(tmp_path: Path) -> None:
    found = examined(tmp_path)
    assert list(dict.fromkeys(subject for subject, _ in found)) == [*SUBJECTS, "self-test"]
    assert found["versions", "numpy"]["value"] == np.__version__
    assert found["versions", "torch"]["value"] == importlib.metadata.version("torch")
    assert "h264" in found["codecs", "decodes"]["value"]
    free = shutil.disk_usage(tmp_path).free / 1e9
    assert float(found["disk", "data"]["value"].split()[0]) == pytest.approx(free, rel=0.2)
    assert float(found["self-test", "time"]["value"].split()[0]) < 60  # ten seconds on a machine of one's own
    assert list(tmp_path.iterdir()) == []


def test_the_report_for_people_is_the_same_in_words(tmp_path: Path) -> None:
    with Home(tmp_path).entered():
        done = CliRunner().invoke(main, ["doctor", "--quick"])
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert [line for line in lines if line in SUBJECTS] == SUBJECTS
    assert f"  numpy                    {np.__version__}" in lines
    assert lines[-1] == "nothing is wrong"


def test_a_store_that_is_away_is_wrong_and_its_passwords_are_not_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"127.0.0.1:{free_port()}/runs"
    monkeypatch.setattr(
        Home, "store", f"postgresql+psycopg://bob:hunter22hunter@{address}?password=other99other"
    )
    with Home(tmp_path).entered():
        done = CliRunner().invoke(main, ["doctor", "--quick"])
    assert done.exit_code == 1
    assert f"address                  postgresql+psycopg://{address}" in done.stdout
    assert "! answers" in done.stdout
    assert "Connection refused" in done.stdout
    assert done.stdout.splitlines()[-1] == "1 thing is wrong (!): store: answers"
    assert not {"bob", "hunter22hunter", "other99other"} & set(done.output.replace(":", " ").split())
    assert "hunter22" not in done.output
    assert "other99" not in done.output


def test_the_name_of_the_user_is_not_told() -> None:
    assert plain(f"{Path.home()}/data of https://me:s3cret@host/") == "~/data of https://me:***@host/"


def test_missing_and_old_packages_are_told_with_what_would_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    about = tmp_path / "pyproject.toml"
    about.write_text(
        '[project]\ndependencies = ["numpy>=9999", "no-such-package>=1", "click>=8"]\n'
        "[project.optional-dependencies]\n"
        'one = ["no-such-package[extra]>=2"]\ntwo = ["litemkd[one]", "click"]\nthree = ["click"]\n'
        'test = ["x"]\n'
    )
    monkeypatch.setattr(software, "_ABOUT", about)
    states = {one.name: (one.state, one.would) for one in software.versions()}
    assert states["numpy"] == ("wrong", 'pip install "numpy>=9999" would do')
    assert states["no-such-package"] == ("wrong", 'pip install "no-such-package>=1" would do')
    assert states["click"] == ("ok", "")
    extras = {one.name: one.value for one in software.extras()}
    missing = "missing: no-such-package[extra]>=2"
    assert extras == {"one": missing, "two": missing, "three": "installed"}


def test_an_installed_package_says_the_same_of_itself_as_a_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read from metadata as pip writes them, since there is no pyproject.toml in an installed package."""
    wanted = ["click>=8.1", "av>=14.1", 'transformers>=5.0; extra == "depth"', 'no-such>=1; extra == "other"']

    class Metadata(NamedTuple):
        def get_all(self, key: str) -> list[str]:
            return {"Provides-Extra": ["depth", "other"]}[key]

    monkeypatch.setattr(software, "_ABOUT", Path("/nowhere/pyproject.toml"))
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: wanted)
    monkeypatch.setattr(importlib.metadata, "metadata", lambda name: Metadata())
    assert [one.name for one in software.versions()][3:] == ["click", "av"]
    assert [(one.name, one.value) for one in software.extras()][1] == ("other", "missing: no-such>=1")


class Usage(NamedTuple):
    free: float


def test_a_full_disk_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(2e8))
    (first, _) = machine.disk([("data", tmp_path / "not" / "there")])
    assert first == Finding(
        "disk", "data", f"0.2 GB free in {tmp_path}/not/there", "wrong", "1 GB or more would do"
    )


def test_a_build_that_reads_no_h264_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_CODECS", ("mjpeg", "no_such_codec"))
    assert [one.state for one in machine.codecs()] == ["ok", "ok", "note"]
    monkeypatch.setattr(machine, "_NEEDED", "no_such_codec")
    *_, last = machine.codecs()
    assert (last.value, last.state) == ("no_such_codec", "wrong")


def test_the_self_test_fails_where_films_come_back_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    def black(path: Path, T: int, side: int) -> ClipFrames:
        frames = np.zeros((T, side, side, 3), np.uint8)
        return ClipFrames(frames, frames, T, np.arange(T))

    monkeypatch.setattr(self_test, "read_video", black)
    assert next(self_test.self_test(torch.device("cpu"))).state == "wrong"


def test_what_breaks_a_look_is_a_finding_and_the_others_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise OSError("libcudart.so: cannot open shared object file")

    monkeypatch.setattr("litemkd.doctor.examination.devices", broken)
    found = examined(tmp_path, "--quick", code=1)
    assert found["devices", "cannot be seen"]["value"].startswith("OSError: libcudart.so")
    assert found["store", "answers"]["value"] == "it is made on first use"
