"""Models from the configuration and back from their folders, those of former versions among them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from litemkd.config import Config, load_config
from litemkd.errors import CheckpointError, ConfigError
from litemkd.models.heads import BiMHM
from litemkd.models.student import Student
from litemkd.stages.build import (
    TeacherBundle,
    build_expert,
    build_student,
    build_teacher,
    describe_student,
    describe_teacher,
    load_model,
    refuse_untrainable,
)
from litemkd.storage.checkpoints import read_description, save_model

SMALL = [
    "data.frames=4",
    "data.crop=64",
    "data.short_side=64",
    "student.backbone.name=conv4",
    "student.width=12",
]
SMALL += ["student.backbone.weights=none", "teacher.expert.backbone={name: conv4, weights: none}"]
SMALL += ["teacher.expert.width=12", "teacher.fusion.feed_forward=8", "teacher.modalities=[rgb, flow]"]


def config_of(*words: str) -> Config:
    return load_config(None, [*SMALL, *words])


def former(folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """The folder with another description."""
    told = json.loads((folder / "model.json").read_text())
    change(told)
    (folder / "model.json").write_text(json.dumps(told))
    return folder


def short_features() -> tuple[Tensor, Tensor, Tensor]:
    """Supports, labels, queries of one episode; so short that 0.01 counts."""
    generator = torch.Generator().manual_seed(0)
    support, query = (0.05 * torch.randn(1, n, 4, 12, generator=generator) for n in (4, 3))
    return support, torch.tensor([[0, 1, 1, 0]]), query


@pytest.mark.parametrize("support", ["mean", "each"])
def test_a_student_of_a_former_version_computes_what_it_did(tmp_path: Path, support: str) -> None:
    config = config_of("student.head.name=bimhm", f"student.head.support={support}")
    folder = save_model(tmp_path, build_student(config.student, 4, 0), describe_student(config))
    logits = load_model(folder).head(*short_features(), 2)
    torch.testing.assert_close(logits, BiMHM(12, frames=4, support=support, eps=0)(*short_features(), 2))
    loaded = load_model(former(folder, lambda told: told["student"]["head"].pop("eps")))
    assert isinstance(loaded, Student)
    before = BiMHM(12, frames=4, support=support, eps=0.01)(*short_features(), 2)
    assert torch.equal(loaded.head(*short_features(), 2), before)
    assert (before - logits).abs().max() > 0.1
    assert read_description(folder)["student"]["head"]["eps"] == 0.01  # which everyone is told who reads it


def test_so_does_a_teacher_with_its_experts(tmp_path: Path) -> None:
    config = config_of(
        "teacher.head.name=bimhm", "teacher.expert.head.name=bimhm", "teacher.expert.head.eps=0.5"
    )
    experts = {name: build_expert(config.teacher, name, 4, 0) for name in config.teacher.modalities}
    bundle = TeacherBundle(build_teacher(config.teacher, 12, 4, 0), experts)
    folder = save_model(tmp_path, bundle, describe_teacher(config, bundle.teacher.fusion))
    loaded = load_model(former(folder, lambda told: told["teacher"]["head"].pop("eps")))
    assert isinstance(loaded, TeacherBundle)
    assert loaded.teacher.head.eps == 0.01
    assert {expert.head.eps for expert in loaded.experts.values()} == {0.5}
    told = former(folder, lambda told: told["teacher"]["expert"]["head"].pop("eps"))
    assert {expert.head.eps for expert in load_model(told).experts.values()} == {0.01}


def test_other_heads_are_described_as_they_are(tmp_path: Path) -> None:
    config = config_of("student.head.name=otam")
    folder = save_model(tmp_path, build_student(config.student, 4, 0), describe_student(config))
    assert "eps" not in read_description(folder)["student"]["head"]
    assert load_model(folder).head.smoothing == 0.1


@pytest.mark.parametrize(
    "name", ["torchvision:shufflenet_v2_x0_5", "timm:resnet10t", "timm:vit_tiny_patch16_224"]
)
def test_a_student_of_any_library_comes_back_as_it_was_saved(tmp_path: Path, name: str) -> None:
    config = config_of(f"student.backbone={{name: '{name}', weights: none}}", "student.head.width=8")
    student = build_student(config.student, 4, 0, side=64).eval()
    folder = save_model(tmp_path, student, describe_student(config))
    loaded = load_model(folder)
    assert isinstance(loaded, Student)
    frames = torch.rand(2, 4, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(loaded.frame_features(frames), student.frame_features(frames))
    wrong = former(folder, lambda told: told["student"]["backbone"].update(name="timm:none_such"))
    with pytest.raises(CheckpointError, match=r"description does not make a model: .*no such backbone"):
        load_model(wrong)
    lists = former(folder, lambda told: told["student"]["backbone"].update(name="timm:crossvit_9_240"))
    with pytest.raises(
        CheckpointError, match=r"description does not make a model: student\.backbone\.name: timm:c"
    ):
        load_model(lists)


def test_one_network_has_one_name_in_the_configuration() -> None:
    named = config_of("student.backbone={name: 'torchvision:resnet18', weights: none}")
    assert named == config_of("student.backbone={name: resnet18, weights: none}")


@pytest.mark.parametrize(
    ("words", "build", "told"),
    [
        (
            ["student.backbone.name=timm:crossvit_9_240"],
            lambda c: build_student(c.student, 4, 0),
            "student.backbone.name: timm:crossvit_9_240 given; it makes list of a frame of 64 x 64 pixels, "
            "which is no map of 384 channels; another backbone would do",
        ),
        (
            ["teacher.expert.backbone.name=timm:crossvit_9_240"],
            lambda c: build_expert(c.teacher, "flow", 4, 0),
            "teacher.expert.backbone.name: timm:crossvit_9_240 given; it makes list of a frame",
        ),
        (
            ["student.backbone.name=timm:cait_xxs24_224"],
            lambda c: build_student(c.student, 4, 0, side=c.data.crop),
            "data.crop: 64 given; timm:cait_xxs24_224 takes no frames of 64 x 64 pixels (Input height (64) "
            "doesn't match model (224).); another crop, or backbone, would do",
        ),
        (
            ["student.backbone.name=torchvision:inception_v3"],
            lambda c: build_student(c.student, 4, 0, side=c.data.crop),
            "data.crop: 64 given; torchvision:inception_v3 takes no frames of 64 x 64 pixels (",
        ),
    ],
)
def test_a_network_that_is_no_backbone_here_is_told_by_its_key(
    words: list[str], build: Callable[[Config], Student], told: str
) -> None:
    config = config_of(*words)
    with pytest.raises(ConfigError) as caught:
        build(config)
    (problem,) = caught.value.problems
    assert told in problem


def test_a_teacher_without_weights_is_refused_before_anything_is_trained() -> None:
    alone = ("teacher.modalities=[rgb]", "teacher.fusion.layers=0")
    for head in ("otam", "bimhm", "prototype", "sequence"):
        config = config_of(*alone, f"teacher.head.name={head}")
        with pytest.raises(ConfigError, match=f"layers: 0 given, and the head {head} has no weights"):
            refuse_untrainable(config.teacher, 4)
    refuse_untrainable(config_of(*alone).teacher, 4)
    refuse_untrainable(config_of("teacher.head.name=bimhm").teacher, 4)
