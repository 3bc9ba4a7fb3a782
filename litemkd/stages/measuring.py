"""Measuring of costs: of the configured student and teacher, and of published models."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from litemkd.config import BackboneConfig, Config, HeadConfig, StudentConfig
from litemkd.cost.energy import Absent, meter_of
from litemkd.cost.episode import Cost, EpisodeSize, measure, measure_teacher
from litemkd.cost.published import PublishedModel
from litemkd.models.student import DISTILL, LABEL, Student
from litemkd.stages.build import build_device, build_expert, build_head, build_student, build_teacher


def measure_student(config: Config, shot: int | None, latency: bool) -> dict[str, float]:
    """Metrics `cost/…` of the configured student; arguments as of `litemkd.stages.cost.student_cost`."""
    with _own_random_state():
        student = build_student(
            config.student, config.data.frames, config.seed, pretrained=False, side=config.data.crop
        )
    return metrics(measure(student, _episode(config, shot), device=build_device(config), latency=latency))


def measure_configured_teacher(
    config: Config, shot: int | None, latency: bool, width: int | Mapping[str, int] | None
) -> dict[str, float]:
    """Metrics `cost/…` of the configured teacher; arguments as of `litemkd.stages.cost.teacher_cost`."""
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


def where(config: Config) -> list[str]:
    """Where a latency is taken: the machine, the device, torch's threads, and what tells energy."""
    device = build_device(config)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    meter = meter_of(device)
    counted = [] if isinstance(meter, Absent) else [meter.name]
    return [platform.node(), name, str(torch.get_num_threads()), *counted]


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
        values |= cost.latency.energy.metrics if cost.latency.energy else {}
    return values


def published_row(model: PublishedModel) -> dict[str, Any]:
    """A published model, with the published figures and those of this code."""
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
