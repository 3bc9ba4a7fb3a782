"""Every work at tiny sizes: both sides give the same answer, and what is timed runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from benchmarks.__main__ import all_works, main
from benchmarks.harness import compare, measure
from benchmarks.published.student import TwoPassStudent
from benchmarks.sizes import FULL, TINY
from benchmarks.work import Setting
from litemkd.models.backbones import Backbone
from litemkd.models.heads.trx import TRX
from litemkd.models.student import Student

WORKS = all_works(TINY)
TRACKED = [name for name in WORKS if name.startswith("tracking")]
# Those of the search take a minute even when tiny, of code that tests/search runs as well.
SEARCHED = [name for name in WORKS if name.startswith("search")]


@pytest.fixture(scope="module")
def setting(tmp_path_factory: pytest.TempPathFactory) -> Setting:
    return Setting(tmp_path_factory.mktemp("benchmarks"), 1, "cpu", TINY)


@pytest.mark.parametrize("name", [name for name in WORKS if name not in {*TRACKED, *SEARCHED}])
def test_both_sides_answer_alike_and_run(setting: Setting, name: str) -> None:
    work = WORKS[name]
    ours, published = work.ours(setting), work.published(setting)
    compare(published.answer(), ours.answer(), work.tolerance, name)
    for side in (ours, published):
        for part in side.parts:
            part.run(1)


@pytest.mark.slow
@pytest.mark.parametrize("name", TRACKED)
def test_tracking_takes_less_than_a_request_a_metric(setting: Setting, name: str) -> None:
    result = measure(WORKS[name], setting)  # in processes: it sets their store and working directory
    assert result.ratio > 1


def test_a_wrong_head_would_be_found(setting: Setting) -> None:
    from benchmarks.training import our_head, their_head
    from benchmarks.work import BenchmarkError

    ours, published = dict(our_head(setting).answer()), dict(their_head(setting).answer())
    ours["logits"] = ours["logits"].flip(-1)
    with pytest.raises(BenchmarkError, match="logits differs"):
        compare(published, ours, WORKS["head"].tolerance, "head")


def test_the_published_student_is_channels_first_and_in_two_passes() -> None:
    torch.manual_seed(0)
    student = Student(Backbone("conv4"), TRX(16, width=8, frames=2), width=16)
    model = TwoPassStudent(student)
    passes: list[tuple[int, bool]] = []
    student.backbone.features.register_forward_pre_hook(
        lambda _, inputs: passes.append((len(inputs[0]), inputs[0].is_contiguous()))
    )
    model(torch.rand(4, 2, 3, 64, 64), torch.tensor([0, 1, 0, 1]), torch.rand(3, 2, 3, 64, 64))
    assert passes == [(8, True), (6, True)]
    assert all(x.is_contiguous() for x in student.backbone.parameters())


def test_full_sizes_are_those_of_the_publication() -> None:
    assert (FULL.crop, FULL.episodes, FULL.test_clips, FULL.dim, FULL.head_width) == (
        224,
        10_000,
        1292,
        2048,
        1152,
    )
    assert FULL.episodes % 4 == FULL.episodes // 10 % FULL.looped == 0
    assert list(all_works(FULL)) == list(WORKS)


def test_the_command_lists_works() -> None:
    done = CliRunner().invoke(main, ["--list"])
    assert done.exit_code == 0, done.output
    assert [line.split()[0] for line in done.stdout.splitlines()] == list(WORKS)


def test_the_command_runs_a_work(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    done = CliRunner().invoke(main, ["input", "--tiny", "--threads", "1", "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "| `input`: pixels of a training episode" in done.stdout
    told = json.loads(out.read_text())
    assert [work["name"] for work in told["works"]] == ["input"]
    assert told["tiny"] is True
    assert any(line.startswith("processor:") for line in told["machine"])


def test_an_unknown_work_is_told() -> None:
    done = CliRunner().invoke(main, ["inputs"])
    assert done.exit_code == 2
    assert "no such work: inputs; known: test, episodes, " in done.output
