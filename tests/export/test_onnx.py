"""Students as ONNX files, run by the runner: logits, codes of single frames, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from litemkd_runtime import Recogniser, RecogniserError

from litemkd.data.episodes import Episodes
from litemkd.export.checking import compare_logits, exported_logits, torch_logits
from litemkd.export.writing import Form
from litemkd.models.folding import EvaluationForm
from tests.export.making import check_logits, clips, episodes, exported, student_form
from tests.helpers import usual_first

pytest.importorskip("onnxscript")

# TRX is made by torch.export; OTAM's alignment by TorchScript's tracer.
HEADS = {
    "trx": {"name": "trx", "width": 8},
    "otam": {"name": "otam"},
}


@pytest.fixture(scope="module", params=HEADS)
def made(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[EvaluationForm, Path]:
    form = student_form(HEADS[request.param])
    return form, exported(tmp_path_factory.mktemp(request.param) / "out", form)


@pytest.mark.parametrize(
    "asked",
    [
        episodes(3, [0, 1, 2, 0, 1, 2], 2),
        episodes(2, [1, 0], 1, batch=3),
        episodes(5, [0, 1, 2, 3, 4, 2, 2], 3),  # unequal shots
    ],
    ids=["2 shots", "1 shot", "unequal"],
)
def test_logits_are_those_of_the_student(made: tuple[EvaluationForm, Path], asked: Episodes) -> None:
    form, folder = made
    check_logits(form, Recogniser(folder), asked)


def test_frames_that_are_encoded_one_by_one_make_the_same_code(made: tuple[EvaluationForm, Path]) -> None:
    recogniser = Recogniser(made[1], threads=1)
    (clip,) = clips(1)
    one_by_one = np.concatenate([recogniser.features(frame[None]) for frame in clip])
    for window, whole in zip(recogniser.codes(one_by_one[None]), recogniser.encode(clip[None]), strict=True):
        np.testing.assert_allclose(window, whole, atol=1e-5)


def test_classes_are_learned_named_and_forgotten(made: tuple[EvaluationForm, Path]) -> None:
    recogniser = Recogniser(made[1])
    seen = [np.repeat(one, 2, axis=0) for one in clips(4)]  # twice as many frames as are taken
    recogniser.learn({"a": seen[:2], "b": seen[2:3]})
    assert recogniser.name(seen[2]) == "b"
    found = recogniser.probabilities(seen[0])
    assert list(found) == ["a", "b"]
    assert sum(found.values()) == pytest.approx(1)
    recogniser.learn({"c": seen[3:]}).forget("a")
    assert recogniser.classes == ("b", "c")
    recogniser.forget("c")
    with pytest.raises(RecogniserError, match="1 classes learned; two or more would do"):
        recogniser.name(seen[0])
    with pytest.raises(RecogniserError, match="class 'd': no clips given"):
        recogniser.learn({"d": []})
    with pytest.raises(RecogniserError, match="3 frames given; 4 or more"):
        recogniser.name(seen[0][:3])


def test_a_temperature_is_what_logits_are_divided_by(made: tuple[EvaluationForm, Path]) -> None:
    recogniser = Recogniser(made[1])
    code = recogniser.encode(clips(3))
    recogniser.learn_codes({str(i): tuple(x[i : i + 1] for x in code) for i in (0, 1)})
    query = tuple(x[2:] for x in code)
    logits = recogniser.match(query)[0].astype(np.float64)
    kinds = [(2, 1, 4.0), (5, 5, 9.0)]
    told = [{"way": way, "shot": shot, "temperature": warmth} for way, shot, warmth in kinds]
    recogniser.about = {**recogniser.about, "calibration": {"temperatures": told}}
    shares = np.exp(logits / 4)
    np.testing.assert_allclose(recogniser.probabilities_of(query)[0], shares / shares.sum(), rtol=1e-5)


def test_a_folder_that_was_changed_is_refused(made: tuple[EvaluationForm, Path], tmp_path: Path) -> None:
    _, folder = made
    copy = tmp_path / "copy"
    for name in ("model.json", "match.onnx"):
        copy.mkdir(exist_ok=True)
        for file in folder.iterdir():
            (copy / file.name).write_bytes(file.read_bytes())
        Recogniser(copy)
        if name == "model.json":
            about = json.loads((copy / name).read_text())
            (copy / name).write_text(json.dumps(about | {"short_side": 300}))
        else:
            (copy / name).write_bytes((copy / name).read_bytes()[:-1] + b"?")
        with pytest.raises(RecogniserError, match=rf"{name}: was changed since it was exported"):
            Recogniser(copy)
    (copy / "match.onnx").unlink()
    with pytest.raises(RecogniserError, match=r"match.onnx: is missing"):
        Recogniser(copy)
    with pytest.raises(RecogniserError, match=r"holds no model.json"):
        Recogniser(tmp_path)


def test_a_student_that_looks_at_whole_clips_for_three_classes_alone(tmp_path: Path) -> None:
    form = student_form({"name": "prototype"}, temporal="difference")
    recogniser = Recogniser(exported(tmp_path / "out", form, Form(way=3, shot=1)))
    asked, seen = episodes(3, [2, 0, 1], 2), clips(5)
    codes = recogniser.encode(seen)
    agreement = compare_logits([torch_logits(form, seen, asked)], [exported_logits(recogniser, codes, asked)])
    agreement.refuse("the test")
    assert not recogniser.frame_by_frame
    with pytest.raises(RecogniserError, match="looks at whole clips"):
        recogniser.features(seen[0])
    recogniser.learn_codes({str(i): tuple(x[i : i + 1] for x in codes) for i in (0, 1)})
    with pytest.raises(RecogniserError, match="classes: 2 given; 3, which the model was exported for"):
        recogniser.match(codes)


@pytest.mark.parametrize(
    ("form", "apart"),
    usual_first(
        [(Form("openvino"), 1e-4), (Form("onnx", "float16"), 0.05)], [(Form("openvino", "float16"), 0.05)]
    ),
    ids=lambda one: f"{one.runtime} {one.precision}" if isinstance(one, Form) else "",
)
def test_other_runtimes_and_precisions(form: Form, apart: float, tmp_path: Path) -> None:
    if form.runtime == "openvino":
        pytest.importorskip("openvino")
    student = student_form({"name": "prototype"})
    folder = exported(tmp_path / "out", student, form)
    recogniser = Recogniser(folder, threads=1)
    asked, seen = episodes(3, [2, 0, 1, 1], 2), clips(6)
    found = exported_logits(recogniser, recogniser.encode(seen), asked)
    agreement = compare_logits([torch_logits(student, seen, asked)], [found])
    assert agreement.apart < apart
    assert (agreement.apart > 1e-6) == (form.precision == "float16")
