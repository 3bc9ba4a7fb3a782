"""Eight bits, by the real quantisers: near the student, smaller, harmful layers stay in float32."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from litemkd_runtime import Recogniser
from litemkd_runtime.engines import load_graph

from litemkd.errors import DataError, ExportError
from litemkd.export.checking import compare_logits, exported_logits, torch_logits
from litemkd.export.onnx_int8 import OnnxTool
from litemkd.export.openvino_int8 import OpenVinoTool
from litemkd.export.quantising import ALL, LEAST, NEAR, Examples, Quantised, Tool, Way, quantise, share_lost
from litemkd.export.writing import Form
from litemkd.models.folding import EvaluationForm
from tests.export.making import CROP, FRAMES, episodes, exported, student_form

onnx = pytest.importorskip("onnx")


def clips(number: int, seed: int) -> np.ndarray:
    """Clips of one colour each under noise, so that they are told apart as real ones are."""
    rng = np.random.default_rng(seed)
    colours, noise = (
        rng.uniform(30, 220, (number, 1, 1, 1, 3)),
        rng.normal(0, 12, (number, FRAMES, CROP, CROP, 3)),
    )
    return (colours + noise).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def student() -> EvaluationForm:
    return student_form({"name": "prototype"})


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
def test_a_student_in_eight_bits_says_what_it_says(
    runtime: str, student: EvaluationForm, tmp_path: Path
) -> None:
    if runtime == "openvino":
        pytest.importorskip("nncf")
    folder = exported(tmp_path / "out", student, Form(runtime, "int8"), Examples(clips(8, 0), clips(8, 1)))
    weights = sum(one.numel() for one in student.backbone.parameters() if one.ndim == 4)
    if runtime == "onnx":
        held = onnx.load(folder / "features.onnx").graph.initializer
        assert (
            sum(np.prod(x.dims) for x in held if x.data_type == onnx.TensorProto.INT8 and len(x.dims) == 4)
            == weights
        )
    else:
        assert weights < (folder / "features.bin").stat().st_size < 2 * weights  # four bytes each in float32

    asked, seen = episodes(3, [2, 0, 1, 1], 4), clips(8, 2)
    recogniser = Recogniser(folder, threads=1)
    agreement = compare_logits(
        [torch_logits(student, seen, asked)], [exported_logits(recogniser, recogniser.encode(seen), asked)]
    )
    assert agreement.same == 1.0
    assert 1e-6 < agreement.apart < 0.2 * agreement.largest

    about = json.loads((folder / "model.json").read_text())
    assert "match" in about["in_float32"]
    assert about["quantised"].keys() == {"features", "codes"}
    for name, how in about["quantised"].items():
        assert {"per channel", "per tensor"} <= how["measured"].keys()
        assert ("per channel, 99.99 %" in how["measured"]) == (runtime == "onnx")
        assert how["lost"] <= min(how["measured"].values()) + 1e-12
        assert [f"{name}: {one}" for one in how["kept"]] == [
            one for one in about["in_float32"] if one.startswith(f"{name}: ")
        ]


def test_what_is_lost_is_how_features_resemble_one_another() -> None:
    rng = np.random.default_rng(0)
    wanted, found = rng.normal(size=(6, 3)), rng.normal(size=(6, 3))

    def cosines(rows: np.ndarray) -> np.ndarray:
        return np.array(
            [
                float(one @ other) / (np.linalg.norm(one) * np.linalg.norm(other))
                for place, one in enumerate(rows)
                for other in rows[place + 1 :]
            ]
        )

    should, does = cosines(wanted), cosines(found)
    expected = ((should - does) ** 2).mean() / should.var()
    assert share_lost([wanted], [found]) == pytest.approx(expected)
    assert share_lost([wanted, wanted], [found, 3 * wanted]) == pytest.approx(expected / 2)
    assert np.isnan(share_lost([wanted], [np.full_like(wanted, np.nan)]))


def matrices(folder: Path, **weights: np.ndarray) -> Path:
    """An ONNX file that multiplies rows x by matrices, one after another."""
    names = ["x", *(f"after_{name}" for name in weights)]
    nodes = [
        onnx.helper.make_node("MatMul", [names[place], f"w_{name}"], [names[place + 1]], name)
        for place, name in enumerate(weights)
    ]
    kinds = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["N", 4])
        for name in (names[0], names[-1])
    ]
    held = [onnx.numpy_helper.from_array(one.astype(np.float32), f"w_{name}") for name, one in weights.items()]
    graph = onnx.helper.make_graph(nodes, "matrices", kinds[:1], kinds[1:], held)
    path = folder / "matrices.onnx"
    onnx.save(
        onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10), path
    )
    return path


def quantised(folder: Path, runtime: str, source: Path) -> Quantised:
    if runtime == "openvino":
        pytest.importorskip("nncf")
    runs = [{"x": np.random.default_rng(seed).normal(size=(16, 4)).astype(np.float32)} for seed in range(8)]
    tool: Tool = OnnxTool(source, folder, runs[:6]) if runtime == "onnx" else OpenVinoTool(source, runs[:6])
    target = folder / ("made.onnx" if runtime == "onnx" else "made.xml")
    how = quantise(tool, target, load_graph(source, "onnx"), runs[6:])
    made, wanted = (
        [np.concatenate([graph(one)[0] for one in runs[6:]]).astype(np.float64)]
        for graph in (load_graph(target, runtime), load_graph(source, "onnx"))
    )
    assert share_lost(wanted, made) == pytest.approx(how.lost, rel=1e-6)
    return how


def turned(seed: int) -> np.ndarray:
    """A matrix that keeps lengths."""
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(4, 4)))[0]


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
def test_layers_that_hurt_stay_in_float32_and_are_named(runtime: str, tmp_path: Path) -> None:
    wide = np.diag([1, 1, 1, 3000.0])  # what comes out has a channel beside which eight bits lose the others
    source = matrices(tmp_path, plain=turned(0), widens=wide, narrows=np.linalg.inv(wide))
    how = quantised(tmp_path, runtime, source)
    assert how.kept
    assert how.lost < NEAR < min(how.measured["per channel"], how.measured["per tensor"])
    assert all("widens" in name or "narrows" in name for name in how.kept)


def test_scales_for_each_channel_where_that_loses_less(tmp_path: Path) -> None:
    uneven = turned(1) * np.array([1e-3, 1e-3, 1e-3, 1.0])  # columns: channels that come out
    how = quantised(tmp_path, "onnx", matrices(tmp_path, uneven=uneven, plain=np.eye(4)))
    assert how.per_channel == (how.measured["per channel"] <= how.measured["per tensor"])


def test_what_loses_too_much_is_refused_with_the_numbers(tmp_path: Path) -> None:
    class Hopeless:
        runtime, layers, shares = "onnx", ("one",), (ALL,)

        def write(self, target: Path, way: Way) -> None:
            matrices(tmp_path, nothing=np.zeros((4, 4))).replace(target)

    wanted = load_graph(matrices(tmp_path, plain=turned(0)), "onnx")
    runs = [{"x": np.random.default_rng(0).normal(size=(16, 4)).astype(np.float32)}]
    with pytest.raises(ExportError, match=r"graph `made` in int8: loses 1\d\d% .* at most 25% would do"):
        quantise(Hopeless(), tmp_path / "made.onnx", wanted, runs)


def test_too_few_clips_to_find_ranges_on_are_refused() -> None:
    few = SimpleNamespace(split=SimpleNamespace(videos=["a"] * (LEAST - 1)))
    with pytest.raises(DataError, match=rf"--precision int8: train has {LEAST - 1} clips; {LEAST} or more"):
        Examples.of(few, few)  # type: ignore[arg-type]
