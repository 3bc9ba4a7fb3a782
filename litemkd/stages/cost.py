"""Cost of the configured student and teacher, and of the published models. Nothing is read or logged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from litemkd.config import BackboneConfig, Config, HeadConfig, StudentConfig
from litemkd.cost.episode import Cost, EpisodeSize, measure, measure_teacher
from litemkd.models.student import DISTILL, LABEL, Student
from litemkd.runtime.distributed import from_main
from litemkd.stages.build import build_device, build_expert, build_head, build_student, build_teacher


@from_main  # others would make it wait, and the latency wrong
def student_cost(config: Config, shot: int | None = None, latency: bool = True) -> dict[str, float]:
    """Metrics `cost/…` of the configured student, to be logged as they are.

    Args:
        config: the student, and the episode: its ways, the queries and shots of evaluation, frames and crop.
        shot: K; the first one of `evaluation.shots` when not given.
        latency: measure `cost/latency_ms_per_video` too; it is left out otherwise.
    """
    with _own_random_state():
        student = build_student(
            config.student, config.data.frames, config.seed, pretrained=False, side=config.data.crop
        )
    return metrics(measure(student, _episode(config, shot), device=build_device(config), latency=latency))


@from_main
def teacher_cost(
    config: Config, shot: int | None = None, latency: bool = False, width: int | Mapping[str, int] | None = None
) -> dict[str, float]:
    """Metrics `cost/…` of the configured teacher with its experts; arguments as in `student_cost`.

    `width` is D of features that lie on disk, where it is not that of the configured experts; of each modality
    where they differ.

    Making the modalities from RGB is not counted; nor are experts whose features lie on disk. Latency is not
    measured by default: it takes all weights once more, 2.5 GB for three ResNet50 experts.
    """
    teacher, frames = config.teacher, config.data.frames
    # Without latency nothing is computed, and several hundred million weights need not exist; the head's do.
    with _own_random_state(), torch.device("cpu" if latency else "meta"):
        experts: dict[str, Student] = {
            name: build_expert(teacher, name, frames, config.seed, pretrained=False, side=config.data.crop)
            for name in (teacher.modalities if teacher.experts == "train" else ())
        }
        own = {name: expert.width for name, expert in experts.items()}
        model = build_teacher(teacher, width or own or teacher.expert.width, frames, config.seed)
    if not latency:
        with _own_random_state():
            model.head = build_head(teacher.head, model.fusion.width, frames, places=1)
    episode, device = _episode(config, shot), build_device(config)
    return metrics(measure_teacher(experts, model, episode, device=device, latency=latency))


def metrics(cost: Cost) -> dict[str, float]:
    """A cost as MLflow metrics: of the evaluation form, and MACs of the published form beside it."""
    values = {
        "cost/gmacs_per_episode": cost.gmacs_per_episode,
        "cost/gmacs_per_episode_plain": cost.gmacs_per_episode_plain,
        "cost/gflops_per_episode": cost.gflops_per_episode,
        "cost/gmacs_per_frame": cost.gmacs_per_frame,
        "cost/params_m": cost.params_m,
    }
    if cost.latency is not None:
        values["cost/latency_ms_per_video"] = cost.latency.ms_per_video
    return values


@dataclass(frozen=True)
class PublishedModel:
    """A model of known cost, in GMACs of one 5-way 5-shot episode with one query of each class.

    Attributes:
        model: what it is, in words.
        backbone: its name.
        branches: linear layers behind the backbone; 0: the head sees the backbone's own features.
        tuples: tuple sizes of TRX.
        printed: what papers print.
        released: what thop counts on the released code.
    """

    model: str
    backbone: str
    branches: int
    tuples: tuple[int, ...]
    printed: float | None
    released: float


# The released TRX keeps ResNet50's average pooling, for which thop counts 0.025 GMACs that are not spent here.
PUBLISHED = (
    PublishedModel("TRX, ResNet50, tuples of 2 and 3", "resnet50", 0, (2, 3), 1023.3, 1023.328),
    PublishedModel("TRX, ResNet50, tuples of 2", "resnet50", 0, (2,), None, 999.54),
    PublishedModel("Lite-MKD student, ResNet18", "resnet18", 2, (2,), 454.0, 454.005),
    PublishedModel("Lite-MKD student, MobileNetV3-large", "mobilenet_v3_large", 2, (2,), 72.6, 72.554),
    PublishedModel("student of one branch, MobileNetV3-large", "mobilenet_v3_large", 1, (2,), None, 64.15),
    PublishedModel("Lite-MKD student, MobileNetV3-small", "mobilenet_v3_small", 2, (2,), None, 31.029),
)


def published_table() -> list[dict[str, Any]]:
    """The published models, each with the published figures and those of this code.

    `gmacs_per_episode` and `gflops_per_episode` (exact) are in the published form, to be held against
    `printed_gmacs` (what papers print, as "GFLOPs") and `released_code_gmacs`; `…_this_code` is what this code
    does for the same result.
    """
    return [_published_row(model) for model in PUBLISHED]


def _published_row(model: PublishedModel) -> dict[str, Any]:
    cost = measure(_published_student(model), EpisodeSize(), device=torch.device("cpu"), latency=False)
    return {
        "model": model.model,
        "backbone": model.backbone,
        "branches": model.branches,
        "tuples": list(model.tuples),
        "printed_gmacs": model.printed,
        "released_code_gmacs": model.released,
        "gmacs_per_episode": cost.gmacs_per_episode_plain,
        "deviation_percent": 100 * (cost.gmacs_per_episode_plain / model.released - 1),
        "gmacs_per_episode_this_code": cost.gmacs_per_episode,
        "gflops_per_episode": cost.gflops_per_episode_plain,
        "gflops_per_episode_this_code": cost.gflops_per_episode,
        "params_m": cost.params_m,
    }


def _published_student(model: PublishedModel) -> Student:
    """The model, of which only the head has numbers: a student that has lost some of its branches."""
    config = StudentConfig(backbone=BackboneConfig(name=model.backbone), head=HeadConfig(tuples=model.tuples))
    frames = EpisodeSize().frames
    with _own_random_state():
        with torch.device("meta"):
            student = build_student(config, frames, 0, pretrained=False)
        student.head = build_head(config.head, config.width, frames)
    if model.branches < 2:
        del student.branches[DISTILL]
    if model.branches < 1:
        student.branches[LABEL] = nn.Identity()
    return student


def _episode(config: Config, shot: int | None) -> EpisodeSize:
    return EpisodeSize(
        way=config.episode.way,
        shot=shot or config.evaluation.shots[0],
        queries=config.evaluation.queries,
        frames=config.data.frames,
        size=config.data.crop,
    )


@contextmanager
def _own_random_state() -> Iterator[None]:
    """Building a model draws weights; the caller's random state must not feel it."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        yield
