"""teacher: one expert a modality, then fusion and head on their features; or the one already registered."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from typing import cast

import torch
from torch import Tensor

from litemkd.checkpoints import save_model, weights_digest
from litemkd.config import Config, digest_of
from litemkd.embedding import teacher_classifier, view_embeddings
from litemkd.errors import CheckpointError, DataError
from litemkd.evaluation import Evaluation
from litemkd.models.student import Student
from litemkd.models.teacher import Teacher
from litemkd.objectives import LABELS, StudentObjective, TeacherObjective
from litemkd.stages.build import (
    TeacherBundle,
    build_augmentation,
    build_expert,
    build_teacher,
    describe_teacher,
    load_model,
)
from litemkd.stages.common import (
    Recorder,
    checkpoint_folder,
    clip_source,
    evaluate_split,
    log_and_register,
    log_test,
    model_folder,
    protocol,
    run_of,
    training_settings,
)
from litemkd.stages.cost import teacher_cost
from litemkd.stages.features import (
    SplitFeatures,
    expert_features,
    features_on_disk,
    features_on_disk_digest,
    fused_features,
    refuse_foreign,
)
from litemkd.stages.prepare import Prepared
from litemkd.tracking import Run, download, find_version, model_name
from litemkd.training import Progress, fit

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ReadyTeacher:
    """A teacher to learn from.

    Attributes:
        teacher: fusion and head, in eval mode.
        fused: its features of every split.
        name, version: in the registry.
        fingerprint: of everything that it depends on.
        reused: whether it was in the registry already.
        tests: its results on the test episodes, by number of shots.
        cost: metrics of its cost, experts included.
    """

    teacher: Teacher
    fused: SplitFeatures
    name: str
    version: int
    fingerprint: str
    reused: bool
    tests: dict[int, Evaluation] = field(default_factory=dict)
    cost: dict[str, float] = field(default_factory=dict)


def teacher_fingerprint(config: Config, data: Prepared) -> str:
    """A digest of everything the teacher's weights depend on, the content of features on disk included."""
    seen: list[str] = [data.digest]
    if config.teacher.experts == "features":
        seen += [features_on_disk_digest(config, data, modality) for modality in config.teacher.modalities]
    return digest_of("teacher", config.teacher, training_settings(config), *seen, config.seed)


def teacher_stage(
    config: Config, data: Prepared, device: torch.device, *, new: bool = False, resume: bool = False
) -> ReadyTeacher:
    """Find or train the teacher and have its features ready.

    Args:
        config: the teacher and its training.
        data: the data set, prepared.
        device: where to compute.
        new: train even if a teacher of this configuration and data is registered.
        resume: go on from the checkpoints of an interrupted run.

    Raises:
        DataError: features on disk that are missing or broken, or the user's own where others would be written.
    """
    refuse_foreign(config)
    fingerprint = teacher_fingerprint(config, data)
    name = model_name(config.data.dataset, "teacher")
    found = None if new else find_version(name, {"litemkd.fingerprint": fingerprint})
    if found is not None:
        bundle = load_model(download(name, found.version))
        if not isinstance(bundle, TeacherBundle):
            raise CheckpointError(f"{name} version {found.version} holds a student, not a teacher")
        log.info("teacher: using %s version %s, trained before", name, found.version)
        ready = _ready(config, data, bundle, fingerprint, found.version, device, reused=True)
        cost = teacher_cost(config, width=ready.fused["train"].shape[-1])
        return replace(ready, tests=_test(config, data, ready), cost=cost)
    modalities = "+".join(config.teacher.modalities)
    with run_of(config, data, "teacher", f"teacher {modalities}", device) as run:
        bundle, progress = _train(config, data, fingerprint, device, run, resume)
        ready = _ready(config, data, bundle, fingerprint, 0, device, reused=False)
        width = ready.fused["train"].shape[-1]
        cost = teacher_cost(config, width=width)
        run.log_metrics(cost, 0)
        folder = model_folder(checkpoint_folder(config, "teacher", fingerprint))
        save_model(folder, bundle, describe_teacher(config, width))
        tests = _test(config, data, ready)
        log_test(run, tests, f"teacher {modalities}")
        test = next(iter(tests.values())).accuracy
        tags = {
            "litemkd.fingerprint": fingerprint,
            "litemkd.modalities": modalities,
            "litemkd.backbone": config.teacher.expert.backbone.name,
            "litemkd.head": config.teacher.head.name,
            "litemkd.protocol": protocol(config, data, "teacher"),
            "litemkd.val_accuracy": f"{progress.best_accuracy:.4f}",
            "litemkd.test_accuracy": f"{test.mean:.4f}",
            "litemkd.gmacs_per_episode": f"{cost['cost/gmacs_per_episode']:.6f}",
            "litemkd.run": run.run_id,
        }
        version = log_and_register(
            run, config, data, "teacher", folder, progress, test, tags, f"Teacher on {modalities}"
        )
    return replace(ready, version=version, tests=tests, cost=cost)


def _test(config: Config, data: Prepared, ready: ReadyTeacher) -> dict[int, Evaluation]:
    classify = teacher_classifier(ready.teacher, ready.fused["test"])
    e = config.evaluation
    return evaluate_split(config, data, classify, "test", e.shots, e.test_episodes, "teacher")


def _train(
    config: Config, data: Prepared, fingerprint: str, device: torch.device, run: Run, resume: bool
) -> tuple[TeacherBundle, Progress]:
    experts: dict[str, Student] = {}
    features: dict[str, SplitFeatures] = {}
    readings: dict[str, Tensor] = {}  # of the train videos
    for modality in config.teacher.modalities:
        if config.teacher.experts == "features":
            features[modality] = features_on_disk(config, data, modality, device)
            readings[modality] = features[modality]["train"][None]
            continue
        experts[modality] = expert = train_expert(config, data, modality, device, resume=resume)
        features[modality] = expert_features(config, data, modality, expert, device)
        readings[modality] = features[modality]["train"][None]
        if config.teacher.views:
            clips = clip_source(config, data, modality, "train", device)
            views = view_embeddings(
                expert, clips, build_augmentation(config), config.seed, config.teacher.views
            )
            readings[modality] = torch.cat([readings[modality], views])
    widths = {modality: by_split["train"].shape[-1] for modality, by_split in features.items()}
    if len(set(widths.values())) > 1:
        raise DataError(
            f"features of different widths: {widths}; the fusion needs one width for all modalities"
        )
    teacher = build_teacher(config.teacher, next(iter(widths.values())), config.data.frames, config.seed).to(
        device
    )
    e = config.evaluation
    objective = TeacherObjective(
        teacher,
        features=readings,
        sampler=data.sampler(config, "train", config.episode.shot, config.episode.queries, config.seed),
        val_features={name: by_split["val"] for name, by_split in features.items()},
        val_sampler=data.sampler(config, "val", e.shots[0], e.queries, e.seed),
        val_episodes=e.val_episodes,
        seed=config.seed,
    )
    recorder = Recorder(run)
    progress = fit(
        objective,
        config.teacher.train,
        seed=config.seed,
        device=device,
        tracker=recorder,
        checkpoints=checkpoint_folder(config, "teacher", fingerprint),
        resume=resume,
        label="teacher",
    )
    recorder.finish(progress, "teacher: fusion and head")
    return TeacherBundle(teacher, experts), progress


def expert_fingerprint(config: Config, data: Prepared, modality: str) -> str:
    """A digest of everything an expert's weights depend on."""
    return digest_of(
        "expert",
        modality,
        config.teacher.expert,
        training_settings(config),
        data.packs[modality].digest,
        {name: list(split.videos) for name, split in data.splits.items()},
        config.seed,
    )


def train_expert(
    config: Config, data: Prepared, modality: str, device: torch.device, *, resume: bool = False
) -> Student:
    """Train the model of one modality on the train classes."""
    fingerprint = expert_fingerprint(config, data, modality)
    expert = build_expert(config.teacher.expert, modality, config.data.frames, config.seed).to(device)
    e = config.evaluation
    with run_of(config, data, "expert", f"expert {modality}", device) as run:
        objective = StudentObjective(
            expert,
            clips=clip_source(config, data, modality, "train", device),
            sampler=data.sampler(config, "train", config.episode.shot, config.episode.queries, config.seed),
            loss=LABELS,
            augmentation=build_augmentation(config),
            seed=config.seed,
            val_clips=clip_source(config, data, modality, "val", device),
            val_sampler=data.sampler(config, "val", e.shots[0], e.queries, e.seed),
            val_episodes=e.val_episodes,
        )
        recorder = Recorder(run)
        progress = fit(
            objective,
            config.teacher.expert.train,
            seed=config.seed,
            device=device,
            tracker=recorder,
            checkpoints=checkpoint_folder(config, f"expert-{modality}", fingerprint),
            resume=resume,
            label=f"expert {modality}",
        )
        recorder.finish(progress, f"expert {modality}")
    return expert


def _ready(
    config: Config,
    data: Prepared,
    bundle: TeacherBundle,
    fingerprint: str,
    version: int,
    device: torch.device,
    *,
    reused: bool,
) -> ReadyTeacher:
    features: dict[str, SplitFeatures] = {
        modality: expert_features(
            config,
            data,
            modality,
            cast(Student, bundle.experts[modality]),
            device,
        )
        if config.teacher.experts == "train"
        else features_on_disk(config, data, modality, device)
        for modality in config.teacher.modalities
    }
    teacher = bundle.teacher.to(device).eval()
    fused = fused_features(config, data, teacher, features, weights_digest(bundle), device)
    return ReadyTeacher(
        teacher, fused, model_name(config.data.dataset, "teacher"), version, fingerprint, reused
    )
