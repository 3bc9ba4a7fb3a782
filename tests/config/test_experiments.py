"""Every experiment file: it loads, and its models and its loss can be built. Nothing is downloaded."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from litemkd.config import Config, flatten, load_config
from litemkd.models.student import DISTILL, LABEL
from litemkd.stages.build import build_augmentation, build_expert, build_student, build_teacher
from tests.data.trees import DATA_SETS
from tests.helpers import usual_first

ROOT = Path(__file__).parents[2]
EXPERIMENTS = ROOT / "experiments"
FILES = sorted(EXPERIMENTS.rglob("*.yaml"))
PUBLISHED = [path for path in FILES if path.parent.name in DATA_SETS and not path.stem.startswith("clip_")]
# Those with a CLIP teacher are built for one data set: for the others they are the same, as another test sees.
BUILT = [path for path in FILES if not path.stem.startswith("clip_") or path.parent.name == "ucf101"]
USUAL = [path for path in BUILT if not path.stem.startswith("clip_") or path.stem == "clip_lite0"]


def name_of(path: Path) -> str:
    return path.relative_to(EXPERIMENTS).as_posix()


@pytest.mark.parametrize("path", usual_first(USUAL, BUILT), ids=name_of)
def test_loads_and_builds(path: Path) -> None:
    config = load_config(path)
    teacher = config.teacher
    with torch.device("meta"):  # shapes without numbers: no memory, no time
        student = build_student(config.student, config.data.frames, config.seed, pretrained=False)
        experts = [
            build_expert(teacher, modality, config.data.frames, config.seed, pretrained=False)
            for modality in teacher.modalities
        ]
        fusion = build_teacher(teacher, teacher.expert.width, config.data.frames, config.seed).fusion
    assert set(student.branches) == {DISTILL, LABEL}
    assert all(expert.width == teacher.expert.width for expert in experts)
    assert fusion.modalities == teacher.modalities
    assert config.loss.d2m.terms["kd"].weight > 0
    assert build_augmentation(config).flip is config.data.flip


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_says_what_it_is(path: Path) -> None:
    assert path.read_text(encoding="utf-8").startswith("# "), "a file begins with what it is, in a comment"


def test_there_is_one_for_every_published_student_and_data_set() -> None:
    found = {(load_config(path).data.dataset, load_config(path).student.backbone.name) for path in PUBLISHED}
    backbones = ("resnet18", "mobilenet_v3_small", "mobilenet_v3_large")
    assert found == {(data, name) for data in DATA_SETS for name in backbones}


@pytest.mark.parametrize("path", PUBLISHED, ids=name_of)
def test_published_settings(path: Path) -> None:
    """They are the defaults, except for what names the experiment and for what is said here."""
    config = load_config(path)
    assert (path.parent.name, path.stem) == (config.data.dataset, config.student.backbone.name)
    usual, here = flatten(Config()), flatten(config)
    other = {key: value for key, value in here.items() if usual.get(key) != value}
    assert other.pop("data.dataset") == config.data.dataset
    other.pop("student.backbone.name", None)
    if config.data.dataset == "kinetics100":
        assert other.pop("data.on_unlisted_class") == "skip"  # 400 classes on disk, 100 of them used
    if config.data.dataset.startswith("ssv2"):
        assert other.pop("data.flip") is False  # left and right are classes
    assert other == {"data.derive.flow": "dis", "evaluation.shots": [5, 1]}


def test_rates_are_the_published_ones_times_the_episodes_of_a_step() -> None:
    config = load_config(EXPERIMENTS / "published.yaml")
    assert config.student.train.lr == pytest.approx(1e-4 * config.student.train.accumulate)
    assert config.teacher.train.lr == pytest.approx(5e-5 * config.teacher.train.accumulate)
    assert config.loss.ce == pytest.approx(1 / 16)
