"""Students as ExecuTorch's files, run by its own runtime: logits of any size up to the bounds, and refusals."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from litemkd_runtime import Recogniser, RecogniserError, engines
from litemkd_runtime.engines import load_graph
from torch import nn

from litemkd.data.episodes import Episodes
from litemkd.errors import ExportError
from litemkd.export.checking import compare_logits, exported_logits, torch_logits
from litemkd.export.executorch_files import BOUNDS, write_executorch
from litemkd.export.executorch_int8 import ExecutorchTool
from litemkd.export.graphs import Graph, graphs_of
from litemkd.export.quantising import Examples, quantise
from litemkd.export.writing import Form
from litemkd.models.folding import EvaluationForm
from tests.export.making import CROP, FRAMES, check_logits, clips, episodes, exported, student_form
from tests.export.test_int8 import clips as coloured

EXECUTORCH = Form("executorch")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[EvaluationForm, Path]:
    pytest.importorskip("executorch")
    form = student_form({"name": "prototype"})
    return form, exported(tmp_path_factory.mktemp("executorch") / "out", form, EXECUTORCH)


@pytest.mark.parametrize(
    "asked",
    [
        episodes(3, [0, 1, 2, 0, 1, 2], 2),
        episodes(2, [1, 0], 1, batch=3),
        episodes(5, [0, 1, 2, 3, 4, 2, 2], BOUNDS["Q"] + 3),  # unequal shots; queries in two parts
    ],
    ids=["2 shots", "1 shot, 3 episodes", "unequal"],
)
def test_logits_are_those_of_the_student(made: tuple[EvaluationForm, Path], asked: Episodes) -> None:
    form, folder = made
    check_logits(form, Recogniser(folder, threads=1), asked)


@pytest.mark.slow
@pytest.mark.parametrize("head", ["otam", "trx"])
def test_heads_that_are_held(head: str, tmp_path: Path) -> None:
    pytest.importorskip("executorch")
    form = student_form({"name": head})
    recogniser = Recogniser(exported(tmp_path / "out", form, EXECUTORCH), threads=1)
    for asked in (episodes(2, [1, 0], 1), episodes(5, [0, 1, 2, 3, 4, 2, 2], 3)):
        check_logits(form, recogniser, asked)


@pytest.mark.slow
def test_a_student_in_eight_bits_says_what_it_says(made: tuple[EvaluationForm, Path], tmp_path: Path) -> None:
    student, plain = made
    examples = Examples(coloured(8, 0), coloured(8, 1))
    folder = exported(tmp_path / "out", student, replace(EXECUTORCH, precision="int8"), examples)
    sizes = [(one / "features.pte").stat().st_size for one in (plain, folder)]
    weights = sum(one.numel() for one in student.backbone.parameters() if one.ndim == 4)
    assert sizes[0] - sizes[1] > 2 * weights  # of the three bytes that each weight loses
    asked, seen = episodes(3, [2, 0, 1, 1], 4), coloured(8, 2)
    recogniser = Recogniser(folder, threads=1)
    found = exported_logits(recogniser, recogniser.encode(seen), asked)
    agreement = compare_logits([torch_logits(student, seen, asked)], [found])
    assert agreement.same == 1.0
    assert 1e-6 < agreement.apart < 0.2 * agreement.largest
    about = json.loads((folder / "model.json").read_text())
    assert about["quantised"].keys() == {"features", "codes"}
    assert "match" in about["in_float32"]


@pytest.mark.slow
def test_layers_that_hurt_stay_in_float32_and_are_named(tmp_path: Path) -> None:
    pytest.importorskip("executorch")
    # One row of the first weight is a thousand times the others: a scale for all of them leaves these nothing.
    module = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    turned = [torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(i)))[0] for i in (0, 1)]
    scales = torch.tensor([1e3, 1.0, 1.0, 1.0])
    with torch.no_grad():
        module[0].weight.copy_(scales[:, None] * turned[0])
        module[1].weight.copy_(turned[1] / scales)
    runs = [{"x": np.random.default_rng(i).normal(size=(1, 4)).astype(np.float32)} for i in range(32)]
    made = Graph(module, (torch.ones(2, 4),), ("x",), ("y",), {"x": {0: "N"}, "y": {0: "N"}})
    write_executorch(made, "codes", plain := tmp_path / "plain.pte")
    how = quantise(
        ExecutorchTool(made, "codes", runs[:24]),
        tmp_path / "made.pte",
        load_graph(plain, "executorch"),
        runs[24:],
    )
    assert set(how.kept) <= {"linear", "linear_1"}
    assert how.kept
    assert how.lost < min(how.measured["per channel"], how.measured["per tensor"])


def test_the_network_is_computed_by_xnnpack(made: tuple[EvaluationForm, Path]) -> None:
    for name in ("features", "codes"):
        assert b"XnnpackBackend" in (made[1] / f"{name}.pte").read_bytes()


def test_frames_one_by_one_and_another_number_of_threads_make_the_same_code(
    made: tuple[EvaluationForm, Path],
) -> None:
    one, two = Recogniser(made[1], threads=1), Recogniser(made[1], threads=2)
    (clip,) = clips(1)
    codes = []
    for recogniser in (one, two, one):  # each takes the threads from the other
        features = np.concatenate([recogniser.features(frame[None]) for frame in clip])
        codes += [recogniser.codes(features[None]), recogniser.encode(clip[None])]
    for other in codes[1:]:
        for found, wanted in zip(other, codes[0], strict=True):
            np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_more_classes_than_there_is_room_for(made: tuple[EvaluationForm, Path]) -> None:
    recogniser = Recogniser(made[1])
    code = recogniser.encode(clips(1))
    recogniser.learn_codes({str(i): code for i in range(BOUNDS["W"])})
    assert recogniser.match(code).shape == (1, BOUNDS["W"])
    recogniser.learn_codes({"more": code})
    with pytest.raises(RecogniserError, match=r"classes: 33 given; at most 32.* --way and --shot"):
        recogniser.match(code)
    about = json.loads((made[1] / "model.json").read_text())
    assert about["most"] == {"way": 32, "shot": 16, "queries": 8, "clips": 1}


def test_a_test_with_more_than_there_is_room_for_is_refused_unless_the_numbers_are_fixed() -> None:
    with pytest.raises(ExportError, match=r"way 40; at most 32 would do, or --way 40"):
        EXECUTORCH.refuse(40, (1, 5))
    with pytest.raises(ExportError, match=r"shot 20; at most 16 would do, or --shot 20"):
        EXECUTORCH.refuse(5, (1, 20))
    replace(EXECUTORCH, way=40, shot=20).refuse(40, (20,))
    Form("onnx").refuse(400, (200,))


@pytest.mark.parametrize("precision", ["float16"])
def test_a_precision_that_is_not_there(precision: str) -> None:
    with pytest.raises(ExportError, match=rf"--precision {precision}: ExecuTorch.* float32"):
        Form("executorch", precision)


def graph(module: nn.Module) -> Graph:
    return Graph(module, (torch.ones(2, 3),), ("x",), ("y",), {"x": {0: "N"}, "y": {0: "N"}})


@pytest.mark.slow
def test_a_graph_that_is_written_and_cannot_be_run_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("executorch")
    graphs = graphs_of(student_form({"name": "strm"}), FRAMES, CROP)
    with pytest.raises(
        ExportError, match=r"graph `codes`: ExecuTorch does not hold this student: RuntimeError"
    ):
        write_executorch(graphs["codes"], "codes", tmp_path / "codes.pte")


def test_what_is_not_held_is_named(tmp_path: Path) -> None:
    pytest.importorskip("executorch")

    class Counting(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.expand(int(x.sum()), 2, 3).sum(0)

    with pytest.raises(ExportError, match=r"graph `features`: ExecuTorch does not hold this student: .*onnx"):
        write_executorch(graph(Counting()), "features", tmp_path / "features.pte")
    assert not any(tmp_path.iterdir())


def test_without_executorch_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("executorch", "executorch.exir", "executorch.extension", "executorch.extension.pybindings"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ExportError, match=r"needs executorch\S*, which is missing.*litemkd\[executorch\]"):
        write_executorch(graph(nn.ReLU()), "features", tmp_path / "features.pte")
    monkeypatch.setattr(engines, "_executorch", engines._executorch.__wrapped__)
    with pytest.raises(RecogniserError, match=r"needs executorch, .*litemkd-runtime\[executorch\]"):
        load_graph(tmp_path / "features.pte", "executorch")
