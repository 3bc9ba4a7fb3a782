"""Joules of a clip: of counters that are made up, and absent, not zero, where there are none."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from litemkd.cli import main
from litemkd.comparison.records import as_json
from litemkd.comparison.sheets import sheets_of
from litemkd.config import Config
from litemkd.cost import energy
from litemkd.cost.energy import Absent, Energy, Estimate, energy_of, meter_of
from litemkd.doctor import machine
from litemkd.stages.cost import student_cost
from tests.comparison.runs import record
from tests.comparison.test_formats import compared

LIMIT = 1_000_000_000  # microjoules after which a made-up counter begins anew
JOULES = "cost/joules_per_clip"


class Tree:
    """A powercap tree with parts that are no packages; its counters grow when they are told to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def domain(self, place: str, name: str, value: int) -> None:
        folder = self.folder / f"intel-rapl:{place}"
        folder.mkdir()
        for file, content in (("name", name), ("energy_uj", value), ("max_energy_range_uj", LIMIT)):
            (folder / file).write_text(f"{content}\n")

    def draw(self, place: str, joules: float) -> None:
        file = self.folder / f"intel-rapl:{place}" / "energy_uj"
        file.write_text(str((int(file.read_text()) + round(joules * 1e6)) % LIMIT))


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of an instant, and no codecarbon, which a developer's machine may have."""
    monkeypatch.setattr(energy, "SECONDS", 0.01)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    """Two packages, the first with cores and memory of its own, and a counter of the whole platform."""
    monkeypatch.setattr(energy, "POWERCAP", tmp_path)
    made = Tree(tmp_path)
    for place, name in {"0": "package-0", "0:0": "core", "0:1": "dram", "1": "package-1", "2": "psys"}.items():
        made.domain(place, name, LIMIT - 1_000_000)
    return made


def test_joules_are_those_of_all_packages_by_clip_and_counters_begin_anew(tree: Tree) -> None:
    def clip() -> None:
        tree.draw("0", 1.5)  # beyond the limit at the first clip
        tree.draw("1", 0.25)
        for part in ("0:0", "0:1", "2"):
            tree.draw(part, 100)

    found = energy_of(clip)
    assert found is not None
    assert found.clips >= 1
    assert found.seconds >= 0.01
    assert found.joules_per_clip == pytest.approx(1.75)
    assert found.metrics == {JOULES: pytest.approx(1.75)}


@pytest.mark.parametrize(("apart", "joules"), [(0.4, 1.0), (400.0, 2.0)])
def test_dies_that_show_one_counter_count_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, apart: float, joules: float
) -> None:
    monkeypatch.setattr(energy, "POWERCAP", tmp_path)
    tree = Tree(tmp_path)
    tree.domain("0", "package-0-die-0", 100_000_000)
    tree.domain("1", "package-0-die-1", 100_000_000 + round(apart * 1e6))
    found = energy_of(lambda: (tree.draw("0", 1), tree.draw("1", 1)))
    assert found is not None
    assert found.joules_per_clip == pytest.approx(joules)


def test_a_counter_that_stands_still_or_goes_away_tells_nothing(
    tree: Tree, caplog: pytest.LogCaptureFixture
) -> None:
    assert energy_of(lambda: None) is None
    assert energy_of(lambda: (tree.folder / "intel-rapl:1" / "energy_uj").unlink(missing_ok=True)) is None
    assert [line.message.partition(" ")[2][:20] for line in caplog.records][:2] == [
        "told no energy: joul",
        "cannot be read any m",
    ]


@pytest.fixture
def no_rights(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> Tree:
    """Counters that only root may read, also for the root that runs tests."""
    read = Path.read_text

    def guarded(path: Path, *given: Any, **named: Any) -> str:
        if path.name == "energy_uj":
            raise PermissionError(13, "Permission denied", str(path))
        return read(path, *given, **named)

    monkeypatch.setattr(Path, "read_text", guarded)
    return tree


def test_without_the_right_to_read_it_is_absent_and_doctor_says_what_would_do(no_rights: Tree) -> None:
    assert energy_of(lambda: None) is None
    (found,) = machine.energy(["cpu"])
    assert (found.name, found.state) == ("energy of cpu", "note")
    assert found.value == f"not told: {no_rights.folder}/intel-rapl:0/energy_uj is not for this user to read"
    assert (
        found.would
        == f"sudo chmod a+r {no_rights.folder}/intel-rapl:*/energy_uj would do, until the next start"
    )


def test_doctor_says_what_counts_and_that_nothing_does(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    (counted,) = machine.energy(["cpu"])
    assert (counted.value, counted.state) == ("counted by RAPL", "ok")
    monkeypatch.setattr(energy, "POWERCAP", tree.folder / "nowhere")
    (absent,) = machine.energy(["cpu"])
    assert absent.value == f"not told: no RAPL in {tree.folder}/nowhere, as in most virtual machines"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    (estimated,) = machine.energy(["cpu"])
    assert estimated.value.startswith("estimated by codecarbon: no RAPL in")
    assert isinstance(meter_of("mps"), Absent)


class NVMLError(Exception):
    pass


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, int]]:
    """NVML with one card, whose millijoules and number of users are values."""
    card = {"millijoules": 5_000_000, "users": 0}

    def handle(uuid: str) -> dict[str, int]:
        if uuid != "GPU-1-2":
            raise NVMLError("Not Found")
        return card

    made = SimpleNamespace(
        NVMLError=NVMLError,
        nvmlInit=lambda: card.update(users=card["users"] + 1),
        nvmlShutdown=lambda: card.update(users=card["users"] - 1),
        nvmlDeviceGetHandleByUUID=handle,
        nvmlDeviceGetTotalEnergyConsumption=lambda found: found["millijoules"],
    )
    monkeypatch.setitem(sys.modules, "pynvml", made)
    uuids = {"cuda:0": "1-2", "cuda:1": "3-4"}
    properties: Callable[[Any], SimpleNamespace] = lambda device: SimpleNamespace(uuid=uuids[str(device)])  # noqa: E731
    monkeypatch.setattr(torch.cuda, "get_device_properties", properties)
    yield card
    assert card["users"] == 0


def test_a_gpu_tells_its_own_joules_by_uuid(nvml: dict[str, int]) -> None:
    found = energy_of(lambda: nvml.update(millijoules=nvml["millijoules"] + 700), torch.device("cuda:0"))
    assert found is not None
    assert found.joules_per_clip == pytest.approx(0.7)
    assert not found.estimated
    with pytest.raises(RuntimeError, match="out of memory"):
        energy_of(_fail, "cuda:0")


def _fail() -> None:
    raise RuntimeError("out of memory")


def test_a_gpu_without_a_counter_is_absent_with_the_reason(
    nvml: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert energy_of(lambda: None, "cuda:1") is None
    assert meter_of("cuda:1") == Absent("NVML does not tell it (Not Found)")
    monkeypatch.setitem(sys.modules, "pynvml", None)
    absent = Absent("nvidia-ml-py is not installed", "pip install 'litemkd[gpu]' would do")
    assert meter_of("cuda:0") == absent


def test_an_estimate_has_its_own_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(energy, "POWERCAP", tmp_path)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name == "codecarbon" or None)
    assert isinstance(meter_of("cpu"), Estimate)
    assert Energy(2.0, 1, 2.0, estimated=True).metrics == {f"{JOULES}_estimated": 2.0}


def test_codecarbon_estimates_without_a_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("codecarbon", reason="pip install 'litemkd[energy]' for an estimate")
    monkeypatch.chdir(tmp_path)
    joules = Estimate(Absent("")).during(lambda: [sum(range(1000)) for _ in range(20_000)])
    assert 0 < joules < 1000
    assert list(tmp_path.iterdir()) == []


TINY = Config.model_validate(
    {
        "device": "cpu",
        "threads": 1,
        "data": {"frames": 4, "crop": 32, "short_side": 32},
        "student": {
            "backbone": {"name": "conv4", "weights": "none"},
            "width": 16,
            "head": {"width": 8, "tuples": [2]},
        },
    }
)
WORDS = ("--device=cpu", "--set=data.frames=4", "--set=data.crop=32", "--set=student.backbone.name=conv4")


def test_absent_stays_absent_from_the_cost_over_the_run_to_the_comparison(
    tree: Tree, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LITEMKD_CACHE", str(tmp_path / "cache"))
    told = _told_by(tree, monkeypatch)
    counted = student_cost(TINY)
    assert counted[JOULES] == pytest.approx(2.0)
    assert student_cost(TINY) == counted
    assert told == [1]  # kept: measured once

    monkeypatch.setattr(energy, "POWERCAP", tree.folder / "nowhere")
    silent = student_cost(TINY)  # what was kept while something counted is not this machine's word any more
    assert set(silent) == set(counted) - {JOULES}
    done = CliRunner().invoke(main, ["cost", "--json", *WORDS])
    assert not any("joules" in name for name in json.loads(done.stdout)), done.output

    runs = [record(metrics=counted), record(1, metrics=silent)]
    (sheet, *_) = sheets_of(compared(runs, []))
    assert dict(zip(sheet.header, sheet.rows[0], strict=True))["energy, J/clip"] == "2.000"
    assert any(note.startswith("Energy: all that") for note in sheet.notes)
    (row,) = json.loads(as_json(compared(runs, [])))["rows"]
    assert row["cost"]["joules_per_clip"]["runs"] == 1
    alone = compared(runs[1:], [])
    assert not any("energy" in title for title in sheets_of(alone)[0].header)
    assert "joules" not in as_json(alone)


def _told_by(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let each clip take two joules; how often a block was measured."""
    told, measure = list[int](), energy.energy_of

    def counted(clip: Callable[[], object], device: torch.device) -> Energy | None:
        told.append(1)
        return measure(lambda: (clip(), tree.draw("0", 2.0)), device)

    monkeypatch.setattr("litemkd.cost.episode.energy_of", counted)
    return told


def test_an_export_tells_joules_where_the_machine_does(
    tree: Tree, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime")
    from litemkd.export import measuring
    from tests.export.making import exported, student_form

    folder = exported(tmp_path / "exported", student_form({"name": "prototype"}))
    encode = measuring.Recogniser.encode

    def drawing(one: Any, clips: np.ndarray) -> Any:
        tree.draw("1", 0.5)
        return encode(one, clips)

    monkeypatch.setattr(measuring.Recogniser, "encode", drawing)
    assert measuring.measured(folder)[JOULES] == pytest.approx(0.5)
    monkeypatch.setattr(energy, "POWERCAP", tree.folder / "nowhere")
    assert not any("joules" in name for name in measuring.measured(folder))


@pytest.mark.parametrize(("joules", "shown"), [(0.00042, "0.00042"), (0.0042, "0.004"), (12.0, "12.00")])
def test_a_small_figure_is_never_shown_as_nothing(joules: float, shown: str) -> None:
    (sheet, *_) = sheets_of(compared([record(metrics={JOULES: joules})], []))
    assert dict(zip(sheet.header, sheet.rows[0], strict=True))["energy, J/clip"] == shown
