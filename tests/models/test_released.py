"""Released weights: recognised, computing what their own layout computes, written back as they came."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from litemkd.errors import CheckpointError
from litemkd.models.backbones import Backbone
from litemkd.models.heads import TRX
from litemkd.models.layers import sinusoid
from litemkd.models.released import ROUNDING, Released, read_released, write_student
from litemkd.models.released_names import standard_names
from litemkd.models.student import DISTILL, LABEL, Student
from litemkd.models.teacher import Fusion, NoFusion, Teacher
from tests.released import FRAMES, HEAD, WIDTH, StudentFile, TeacherFile, TrxFile, episode, seeded

CLOSE = 1e-5  # relative


def built(found: Released) -> Student:
    """The student that a file describes, by the public parts of the models."""
    section = found.section
    backbone, head = section["backbone"], section["head"]
    student = Student(
        Backbone(backbone["name"], normalise=backbone["normalise"], pooling=backbone["pooling"]),
        TRX(found.width, width=head["width"], frames=found.frames, tuples=head["tuples"]),
        width=section["width"],
        branches=(DISTILL, LABEL) if section.get("branches", 2) == 2 else (LABEL,),
    )
    student.load_state_dict(found.weights)
    return student.eval()


def logits_of(student: Student, frames: Tensor, support: Tensor, labels: Tensor, query: Tensor) -> Tensor:
    way = int(labels.max()) + 1
    features = student.branch_features(student.frame_features(frames))
    return student.predict(student(features, support[None], labels[None], query[None], way))[0]


def close(here: Tensor, there: Tensor) -> None:
    torch.testing.assert_close(here, there, rtol=CLOSE, atol=0.0)
    assert float((there.max() - there.min()) / there.abs().max()) > 100 * CLOSE  # logits that say something


def check_logits(file: nn.Module, found: Released, size: int = 72) -> None:
    student = built(found)
    for shot in (1, 5):
        clips = episode(shot, size=size)
        with torch.inference_mode():
            close(logits_of(student, *clips), file(*clips))


def check_return(file: nn.Module, found: Released) -> None:
    """Every tensor comes back, with the same bits."""
    assert found.names is not None
    state, back = file.state_dict(), write_student(found.weights, found.names, found.kept, found.frames, "it")
    assert set(back) == set(state)
    for name, tensor in state.items():
        assert back[name].dtype == tensor.dtype, name
        assert torch.equal(back[name], tensor), name


@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small"])
def test_a_student_of_two_branches(name: str, parallel: bool) -> None:
    file = seeded(StudentFile(name, parallel=parallel))
    below = {"resnet18": "backbone.resnet.", "mobilenet_v3_small": "backbone.mobile."}[name]
    assert (
        all(not key.startswith(below) or key.startswith(f"{below}module.") for key in file.state_dict())
        is parallel
    )
    found = read_released(file.state_dict(), "student", "it")
    assert (found.kind, found.frames, found.width) == ("student", FRAMES, WIDTH)
    assert found.section == {
        "backbone": {"name": name, "weights": "none", "pooling": "mean", "normalise": "none"},
        "temporal": "none",
        "width": WIDTH,
        "head": {"name": "trx", "width": HEAD, "tuples": [2]},
    }
    assert not found.notes
    check_logits(file, found)
    check_return(file, found)


def test_fc1_is_the_distill_branch_and_fc2_the_label_branch() -> None:
    file = seeded(StudentFile("mobilenet_v3_small"))
    weights = read_released(file.state_dict(), "student", "it").weights
    assert torch.equal(weights["branches.distill.weight"], file.backbone["fc1"].weight)
    assert torch.equal(weights["branches.label.bias"], file.backbone["fc2"].bias)


@pytest.mark.parametrize("branch", ["fc", "res18_2048"])
def test_a_student_of_one_branch(branch: str) -> None:
    file = seeded(StudentFile("resnet18", (branch,)))
    found = read_released(file.state_dict(), "student", "it")
    assert found.section["branches"] == 1
    assert "one branch" in found.words
    check_logits(file, found)
    check_return(file, found)


def test_a_student_without_branches_gets_one_that_changes_nothing() -> None:
    file = seeded(StudentFile("resnet50", ()))
    found = read_released(file.state_dict(), "student", "it")
    assert (found.section["branches"], found.width) == (1, 2048)
    assert found.section["backbone"]["pooling"] == "mean"
    assert [note.partition(":")[0] for note in found.notes] == ["it has no branch"]
    check_logits(file, found, size=40)
    check_return(file, found)


@pytest.mark.parametrize("parallel", [False, True])
def test_a_file_of_trx_itself(parallel: bool) -> None:
    file = seeded(TrxFile("resnet18", 512, (2, 3), parallel))
    found = read_released(file.state_dict(), "student", "it")
    assert found.section["head"]["tuples"] == [2, 3]
    assert found.section["backbone"]["pooling"] == "average"
    assert "TRX on tuples of 2 and 3" in found.words
    told = " ".join(found.notes)
    assert "means of the backbone's whole map" in told
    assert "averaged; the first version of TRX's code took their norm" in told
    check_logits(file, found)
    check_return(file, found)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("resnet18", "ResNet18"),
        ("resnet34", "ResNet34"),
        ("resnet50", "ResNet50"),
        ("mobilenet_v3_small", "MobileNetV3-small"),
        ("mobilenet_v3_large", "MobileNetV3-large"),
    ],
)
def test_which_backbone_follows_from_names_and_shapes(name: str, shown: str) -> None:
    file = StudentFile(name)
    found = read_released(file.state_dict(), "student", "it")
    assert found.section["backbone"]["name"] == name
    assert found.words == (
        f"{shown} student with two branches, features of 24, TRX on tuples of 2 (width 20), 8 frames"
    )
    check_return(file, found)


def fused_here(found: Released, shift: str, streams: list[Tensor]) -> tuple[Teacher, Tensor]:
    head = found.section["head"]
    teacher = Teacher(
        Fusion(
            ("rgb", "skeleton", "flow"),
            found.width,
            frames=found.frames,
            shift=shift,
            **found.section["fusion"],
        ),
        TRX(found.width, width=head["width"], frames=found.frames, tuples=head["tuples"]),
    )
    teacher.load_state_dict(found.weights)
    with torch.inference_mode():
        return teacher, teacher.eval().fuse(dict(zip(("rgb", "skeleton", "flow"), streams, strict=True)))


@pytest.mark.parametrize(("sizes", "layers", "inner"), [((2,), 2, 16), ((2, 3), 1, 40)])
def test_a_teacher(sizes: tuple[int, ...], layers: int, inner: int) -> None:
    file = seeded(TeacherFile(sizes, layers, inner))
    found = read_released(file.state_dict(), "teacher", "it")
    assert found.section == {
        "experts": "features",
        "fusion": {"layers": layers, "feed_forward": inner},
        "head": {"name": "trx", "width": HEAD, "tuples": list(sizes)},
    }
    assert found.words.startswith(
        f"teacher of three modalities, features of 24, fusion of {layers} layers, TRX on"
    )
    streams = [torch.randn(8, FRAMES, WIDTH, generator=torch.Generator().manual_seed(m)) for m in range(3)]
    for shift, later in (("published-train", (True, False)), ("published-extract", (True, True))):
        teacher, fused = fused_here(found, shift, streams)
        with torch.inference_mode():
            there = file.fuse(*streams, later)
            torch.testing.assert_close(fused, there, rtol=CLOSE, atol=CLOSE)
            for shot in (1, 2):
                _, support, labels, query = episode(shot, size=1)
                logits = teacher(fused, support[None], labels[None], query[None], 3)["frame"][0]
                close(logits, file(there, support, labels, query))


def test_a_position_table_that_is_not_the_sinusoids_is_told() -> None:
    state = StudentFile("mobilenet_v3_small").state_dict()
    state["classifier.transformers.pe.pe"] += 0.25
    found = read_released(state, "student", "it")
    (note,) = found.notes
    assert note.startswith("its position table is up to 0.25 off the sinusoids that are computed here")
    assert torch.equal(found.kept["classifier.transformers.pe.pe"], state["classifier.transformers.pe.pe"])


def test_a_position_table_in_single_precision_is_the_same_one() -> None:
    """Files hold sines of single-precision angles: not the bits of the table here, but nothing to tell of."""
    width = 2048
    angles = np.outer(
        np.arange(12), np.exp(np.arange(0, width, 2, dtype="f4") * np.float32(-np.log(1e4) / width))
    )
    table = torch.from_numpy(
        0.1 * np.stack([np.sin(angles), np.cos(angles)], -1).reshape(12, width).astype("f4")
    )
    off = (table - sinusoid(12, width)).abs().max()
    assert 0 < off < ROUNDING / 10


def test_reading_leaves_the_state_alone() -> None:
    state = seeded(StudentFile("mobilenet_v3_small")).state_dict()
    before = {name: tensor.clone() for name, tensor in state.items()}
    read_released(state, "student", "it")
    assert list(state) == list(before)
    assert all(torch.equal(state[name], tensor) for name, tensor in before.items())


def drop(*names: str) -> Callable[[dict], None]:
    return lambda state: [state.pop(name) for name in names] and None


def put(name: str, value: object) -> Callable[[dict], None]:
    return lambda state: state.update({name: value})


STUDENT_MISTAKES = {
    "missing": (
        drop("backbone.fc2.bias", "backbone.mobile.0.3.block.0.0.weight"),
        "2 missing (first: backbone.",
    ),
    "no label branch": (
        drop("backbone.fc2.weight", "backbone.fc2.bias"),
        "2 missing (first: backbone.fc2.weight)",
    ),
    "no head": (
        lambda state: [state.pop(key) for key in [*state] if key.startswith("classifier.")],
        "9 missing (first: classifier.transformers.k_linear.weight)",
    ),
    "unknown": (put("backbone.other.gamma", torch.zeros(1)), "1 unknown (first: backbone.other.gamma)"),
    "shape": (
        put("backbone.fc1.bias", torch.zeros(3)),
        "1 of another form (first: backbone.fc1.bias is float32 (3,), not float32 (24,))",
    ),
    "half": (
        put("backbone.fc1.bias", torch.zeros(24).half()),
        "backbone.fc1.bias is float16 (24,), not float32 (24,)",
    ),
    "table": (
        put("classifier.transformers.pe.pe", torch.zeros(1, 11, 24)),
        "classifier.transformers.pe.pe is float32 (1, 11, 24), not float32 (1, 12, 24)",
    ),
    "scalar": (
        put("classifier.transformers.k_linear.weight", torch.tensor(1.0)),
        "k_linear.weight is float32 ()",
    ),
    "nan": (
        put("backbone.fc1.bias", torch.full((24,), math.nan)),
        "1 with NaN or infinity (first: backbone.fc1.bias)",
    ),
    "infinite": (put("backbone.fc1.bias", torch.full((24,), math.inf)), "1 with NaN or infinity"),
}


@pytest.mark.parametrize("mistake", STUDENT_MISTAKES)
def test_a_wrong_student_is_refused_in_words(mistake: str) -> None:
    spoil, told = STUDENT_MISTAKES[mistake]
    state = dict(StudentFile("mobilenet_v3_small").state_dict())
    spoil(state)
    with pytest.raises(CheckpointError) as error:
        read_released(state, "student", "best.pt")
    said = str(error.value)
    assert said.startswith("best.pt: a MobileNetV3-small student with two branches, ")
    assert told in said
    assert "\n" not in said


TEACHER_MISTAKES = {
    "a position": (
        drop("three_fusion.positionEncoding2.position_embeddings.weight"),
        "1 missing (first: three_fusion.positionEncoding2.position_embeddings.weight)",
    ),
    "frames": (
        put("fusion.positionEncoding1.position_embeddings.weight", torch.zeros(7, 24)),
        "fusion.positionEncoding1.position_embeddings.weight is float32 (7, 24), not float32 (8, 24)",
    ),
    "nan": (
        put("three_fusion.positionEncoding3.position_embeddings.weight", torch.full((8, 24), math.nan)),
        "1 with NaN or infinity (first: three_fusion.positionEncoding3.position_embeddings.weight)",
    ),
    "no pair": (
        lambda state: [state.pop(key) for key in [*state] if key.startswith("fusion.")],
        "missing (first: fusion.positionEncoding1.position_embeddings.weight)",
    ),
    "no head": (
        lambda state: [state.pop(key) for key in [*state] if key.startswith("bracnch.")],
        "9 missing (first: bracnch.transformers.",
    ),
}


@pytest.mark.parametrize("mistake", TEACHER_MISTAKES)
def test_a_wrong_teacher_is_refused_in_words(mistake: str) -> None:
    spoil, told = TEACHER_MISTAKES[mistake]
    state = dict(TeacherFile().state_dict())
    spoil(state)
    with pytest.raises(CheckpointError) as error:
        read_released(state, "teacher", "teacher.pt")
    assert str(error.value).startswith("teacher.pt: a teacher of three modalities, ")
    assert told in str(error.value)


def test_two_heads_of_one_size_are_refused() -> None:
    with pytest.raises(
        CheckpointError, match=r"^it: has 2 heads, on tuples of 2 and 2 frames; one a size would do$"
    ):
        read_released(TrxFile("resnet18", 512, (2, 2)).state_dict(), "student", "it")


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ({}, "holds no weights"),
        (
            {"backbone.resnet.0.weight": [1.0]},
            "1 entries that are no plain tensors (first: backbone.resnet.0.weight)",
        ),
        ({3: torch.zeros(1)}, "1 entries that are no plain tensors (first: 3)"),
        ({"backbone.resnet.0.weight": torch.zeros(2, 2).to_sparse()}, "no plain tensors"),
        (
            {"conv1.weight": torch.zeros(2)},
            "1 weights of no known layout (first: conv1.weight); known are students",
        ),
    ],
)
def test_what_is_no_released_state_is_refused_in_words(state: dict, told: str) -> None:
    with pytest.raises(CheckpointError) as error:
        read_released(state, "student", "some.pt")
    assert str(error.value).startswith("some.pt: ")
    assert told in str(error.value)


def test_strm_is_told_by_its_name() -> None:
    """Whether it stands alone, in a student, in a teacher, or comes from several GPUs."""
    students = dict(StudentFile("resnet18").state_dict()), dict(TrxFile("resnet18", 512, (2,)).state_dict())
    for key, state in (
        ("backbone.attn_pat.gamma", students[0]),
        ("attn_pat.module.gamma", students[1]),
        ("fr_enrich.mix.0.weight", students[1]),
        ("bracnch.fr_enrich.mix.0.weight", dict(TeacherFile().state_dict())),
    ):
        kind: Literal["student", "teacher"] = "teacher" if key.startswith("bracnch") else "student"
        with pytest.raises(CheckpointError) as error:
            read_released({**state, key: torch.zeros(1)}, kind, "x.pt")
        assert str(error.value) == (
            f"x.pt: this is STRM ({key}), whose published code does not save all that it needs: the layers of "
            "its distance are not in the file. A file of Lite-MKD or TRX would do, or an STRM trained here "
            "(student.head.name=strm)"
        )


@pytest.mark.parametrize("sizes", [(2,), (2, 3)])
def test_the_head_of_a_teacher_alone_is_a_teacher_without_a_fusion(sizes: tuple[int, ...]) -> None:
    file = seeded(TeacherFile(sizes))
    assert isinstance(file, TeacherFile)
    found = read_released(file.head(), "teacher", "it")
    assert (found.kind, found.fuses, found.frames, found.width) == ("teacher", False, FRAMES, WIDTH)
    assert found.words.startswith("teacher's head only, without a fusion, features of 24, TRX on tuples of 2")
    assert found.section["fusion"] == {"layers": 0}
    assert found.notes[0].startswith(
        "it has no fusion: its head takes the features of one modality as they are"
    )
    head = TRX(WIDTH, width=HEAD, frames=FRAMES, tuples=sizes)
    teacher = Teacher(NoFusion("flow", WIDTH), head)
    teacher.load_state_dict(found.weights)
    features = torch.randn(8, FRAMES, WIDTH, generator=torch.Generator().manual_seed(5))
    assert torch.equal(teacher.fuse({"flow": features}), features)
    support, labels, query = (
        torch.tensor([0, 1, 2, 3, 4, 5]),
        torch.tensor([0, 1, 2, 2, 1, 0]),
        torch.tensor([6, 7]),
    )
    with torch.inference_mode():
        here = teacher.eval()(features, support[None], labels[None], query[None], 3)["frame"][0]
        close(here, file(features, support, labels, query))


def test_a_head_alone_is_told() -> None:
    with pytest.raises(CheckpointError) as error:
        read_released(TeacherFile().head(), "student", "x.pt")
    assert str(error.value) == (
        "x.pt: holds the head of a teacher (bracnch.transformers.0.pe.pe), not a student; imported as "
        "teacher it would do"
    )
    for state in (StudentFile("resnet18").state_dict(), TrxFile("resnet18", 512, (2,)).state_dict()):
        head = {key: value for key, value in state.items() if "transformers." in key}
        with pytest.raises(CheckpointError) as error:
            read_released(head, "student", "x.pt")
        assert str(error.value) == (
            f"x.pt: holds the head of a student only (first: {next(iter(head))}), without a backbone; the file "
            "of the whole student would do"
        )
    broken = TeacherFile().head()
    broken.pop("bracnch.transformers.0.k_linear.bias")
    with pytest.raises(CheckpointError, match=r"^x.pt: a teacher's head only, .* 1 missing \(first: bracnch\."):
        read_released(broken, "teacher", "x.pt")


def test_either_kind_is_read_when_none_is_asked_for() -> None:
    assert read_released(StudentFile("mobilenet_v3_small").state_dict(), None, "it").kind == "student"
    assert read_released(TeacherFile().state_dict(), None, "it").fuses


def test_student_and_teacher_are_not_taken_for_one_another() -> None:
    with pytest.raises(CheckpointError) as error:
        read_released(TeacherFile().state_dict(), "student", "x.pt")
    assert str(error.value).startswith("x.pt: holds a teacher (three_fusion.positionEncoding1")
    assert str(error.value).endswith("not a student; imported as teacher it would do")
    with pytest.raises(
        CheckpointError, match=r"holds a student \(backbone.mobile.0.0.0.weight\), not a teacher; "
    ):
        read_released(StudentFile("mobilenet_v3_small").state_dict(), "teacher", "x.pt")


def own_student(
    branches: tuple[str, ...], tuples: tuple[int, ...], name: str = "mobilenet_v3_small"
) -> Student:
    torch.manual_seed(3)
    head = TRX(WIDTH, width=HEAD, frames=FRAMES, tuples=tuples)
    student = Student(Backbone(name, normalise="none"), head, width=WIDTH, branches=branches)
    return seeded(student)


@pytest.mark.parametrize("branches", [(DISTILL, LABEL), (LABEL,)])
@pytest.mark.parametrize("tuples", [(2,), (2, 3)])
def test_a_student_made_here_is_written_as_a_file_that_reads_back(
    branches: tuple[str, ...], tuples: tuple[int, ...]
) -> None:
    student = own_student(branches, tuples)
    names = standard_names("mobilenet_v3_small", branches, len(tuples), "mine")
    state = write_student(student.state_dict(), names, {}, FRAMES, "mine")
    found = read_released(state, "student", "it")
    assert not found.notes
    assert {name: tensor.shape for name, tensor in found.weights.items()} == {
        name: tensor.shape for name, tensor in student.state_dict().items()
    }
    assert all(torch.equal(found.weights[name], tensor) for name, tensor in student.state_dict().items())
    if tuples == (2,):  # and the published layout computes the same with it
        file = StudentFile("mobilenet_v3_small", ("fc1", "fc2") if len(branches) == 2 else ("fc",))
        file.load_state_dict(state)
        clips = episode(1)
        with torch.inference_mode():
            close(logits_of(student, *clips), file.eval()(*clips))


def test_what_files_have_no_place_for_is_refused() -> None:
    with pytest.raises(
        CheckpointError, match=r"^mine: conv4 has no released form; a student of resnet18, resnet34, "
    ):
        standard_names("conv4", (LABEL,), 1, "mine")
    student = own_student((DISTILL, LABEL), (2,))
    names = standard_names("mobilenet_v3_small", (LABEL,), 1, "mine")
    with pytest.raises(
        CheckpointError, match=r"^mine: files of its layout have no place for its weights branches.dist"
    ):
        write_student(student.state_dict(), names, {}, FRAMES, "mine")
    # A branch that has learned something is not left out.
    file = StudentFile("resnet18", ())
    found = read_released(file.state_dict(), "student", "it")
    found.weights["branches.label.weight"][0, 1] = 1.0
    assert found.names is not None
    with pytest.raises(CheckpointError, match=r"no place for its weights branches.label.weight"):
        write_student(found.weights, found.names, found.kept, FRAMES, "mine")
