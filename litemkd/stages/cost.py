"""cost: of the configured student and teacher, and of the published models. An architecture is measured once.

What was measured before is found without torch, which takes seconds to load: `litemkd.stages.measuring` is
imported where something is measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

from litemkd.config import Config, ExpertConfig, StudentConfig
from litemkd.cost.kept import kept
from litemkd.cost.published import PUBLISHED, PublishedModel
from litemkd.models.catalogue import HEAD_SETTINGS, SOURCES, is_backbone, source_of
from litemkd.runtime.distributed import from_main

TRAINING = frozenset({"train", "tune", "dropout"})  # keys of a model's section that do not change its cost


@from_main  # others would make it wait, and the latency wrong
def student_cost(
    config: Config, shot: int | None = None, latency: bool = True, *, again: bool = False
) -> dict[str, float]:
    """Metrics `cost/…` of the configured student, to be logged as they are.

    Args:
        config: the student, and the episode: its ways, the queries and shots of evaluation, frames and crop.
        shot: K; the first one of `evaluation.shots` when not given.
        latency: measure `cost/latency_ms_per_video` and, where told, joules too; left out otherwise.
        again: measure also what was measured before.
    """

    def measure() -> dict[str, float]:
        from litemkd.stages.measuring import measure_student

        return measure_student(config, shot, latency)

    if not _is_ours(config.student):
        return measure()
    about = {"student": _architecture(config.student), **_circumstances(config, shot, latency)}
    return kept(about, measure, again=again)


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
    teacher = config.teacher

    def measure() -> dict[str, float]:
        from litemkd.stages.measuring import measure_configured_teacher

        return measure_configured_teacher(config, shot, latency, width)

    if any(teacher.own_expert(name) or not _is_ours(teacher.expert_for(name)) for name in teacher.modalities):
        return measure()
    about = {
        "teacher": [teacher.modalities, teacher.experts, repr(teacher.fusion), repr(teacher.head)],
        "experts": [_architecture(teacher.expert_for(name)) for name in teacher.modalities],
        "width": dict(width) if isinstance(width, Mapping) else width,
        **_circumstances(config, shot, latency),
    }
    return kept(about, measure)


def published_table(*, again: bool = False) -> list[dict[str, Any]]:
    """The published models, each with the published figures and those of this code.

    `gmacs_per_episode` and `gflops_per_episode` (exact) are in the published form, to be held against
    `printed_gmacs` (what papers print, as "GFLOPs") and `released_code_gmacs`; `…_this_code` is what this code
    does for the same result. `again`: count also what was counted before.
    """

    def count(model: PublishedModel) -> dict[str, Any]:
        from litemkd.stages.measuring import published_row

        return published_row(model)

    return [kept({"published": asdict(model)}, partial(count, model), again=again) for model in PUBLISHED]


def _is_ours(config: StudentConfig | ExpertConfig) -> bool:
    """Whether a model is made of this package and of libraries alone: code of others may change unseen."""
    name = config.backbone.name
    return (is_backbone(name) or source_of(name)[0] in SOURCES) and config.head.name in HEAD_SETTINGS


def _architecture(config: StudentConfig | ExpertConfig) -> dict[str, str]:
    """What of a model's section decides its cost."""
    told = {key: repr(getattr(config, key)) for key in type(config).model_fields if key not in TRAINING}
    return told | {"backbone": repr(config.backbone.model_copy(update={"weights": "none"}))}


def _circumstances(config: Config, shot: int | None, latency: bool) -> dict[str, Any]:
    """The episode that is counted, and of a latency where it is taken."""
    e, data = config.evaluation, config.data
    about: dict[str, Any] = {
        "episode": [config.episode.way, shot or e.shots[0], e.queries, data.frames, data.crop],
    }
    if latency:
        from litemkd.stages.measuring import where

        about["where"] = where(config)
    return about
