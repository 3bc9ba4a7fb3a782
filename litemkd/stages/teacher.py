"""teacher: one expert a modality, then fusion and head on their features; or the one already registered."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from typing import cast

import torch

from litemkd.checkpoints import read_description, save_model, weights_digest
from litemkd.config import Config, TeacherConfig, digest_of
from litemkd.embedding import teacher_classifier
from litemkd.errors import CheckpointError
from litemkd.evaluation import Evaluation
from litemkd.losses import LABELS
from litemkd.models.student import Student
from litemkd.models.teacher import Teacher
from litemkd.objectives import TeacherObjective
from litemkd.stages.build import (
    TeacherBundle,
    build_expert,
    build_teacher,
    describe_teacher,
    load_model,
)
from litemkd.stages.common import (
    ANEW,
    Going,
    Recorder,
    checkpoint_folder,
    cost_tags,
    data_tags,
    evaluate_split,
    former_of,
    log_and_register,
    log_test,
    model_folder,
    protocol,
    run_of,
    taken_over,
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
from litemkd.stages.fitting import fit_on_clips
from litemkd.stages.prepare import Prepared
from litemkd.tracking import Run, Version, download, find_address, find_version, model_name
from litemkd.training import Progress, fit

log = logging.getLogger(__name__)

CHOICES = ("auto", "new")  # of a teacher; any other word is the address of a registered one


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
    version: int | str
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


def with_teacher(config: Config, choice: str) -> Config:
    """The configuration with the teacher that `choice` names: it brings its own section, whatever a file says.

    Args:
        config: the configuration.
        choice: `auto` or `new`, which change nothing, or the address of a registered teacher.

    Raises:
        CheckpointError: a student, or a teacher for another number of frames.
        TrackingError: no such registered model.
    """
    if choice in CHOICES:
        return config
    described = read_description(download(choice))
    if described.get("kind") != "teacher":
        raise CheckpointError(f"{choice}: holds a {described.get('kind')}; a registered teacher would do")
    if described["frames"] != config.data.frames:
        raise CheckpointError(
            f"{choice}: made for data.frames = {described['frames']}, "
            f"the configuration says {config.data.frames}"
        )
    return config.model_copy(update={"teacher": TeacherConfig.model_validate(described["teacher"])})


def teacher_stage(
    config: Config, data: Prepared, device: torch.device, *, choice: str = "auto", going: Going = ANEW
) -> ReadyTeacher:
    """Find or train the teacher and have its features ready.

    Args:
        config: the teacher and its training; from `with_teacher` where `choice` is an address.
        data: the data set, prepared.
        device: where to compute.
        choice: `auto`: the registered teacher of this configuration and data, or a new one; `new`: a new one
            whatever is registered; or the address of a registered teacher.
        going: whether to go on with an interrupted run.

    Raises:
        DataError: features on disk that are missing or broken, or the user's own where others would be written.
    """
    refuse_foreign(config)
    fingerprint = teacher_fingerprint(config, data)
    name = model_name(config.data.dataset, "teacher")
    modalities = "+".join(config.teacher.modalities)
    title = f"teacher {modalities}"
    going = replace(going, asked={"--teacher": choice})
    former = former_of(config, data, "teacher", title, going)
    if choice not in CHOICES:
        found = find_address(choice)
        fingerprint = digest_of("teacher", f"{found.name} {found.version}")
    elif former is not None and former[1] != "FINISHED":
        found = None  # the run is to be ended, even if it has registered its teacher
    elif former is not None:
        found = find_version(name, {"litemkd.run": former[0]})
    else:
        found = None if choice == "new" else find_version(name, {"litemkd.fingerprint": fingerprint})
    if found is not None:
        log.info("teacher: using %s version %s, made before", found.name, found.version)
        own = former is not None and found.run_id == former[0]
        ready = registered_teacher(config, data, device, found, fingerprint, reused=not own)
        cost = teacher_cost(config, width=ready.teacher.fusion.widths)
        return replace(ready, tests=_test(config, data, ready), cost=cost)
    with run_of(config, data, "teacher", title, device, going=going) as run:
        bundle, progress = _train(config, data, fingerprint, device, run, going.on)
        ready = _ready(config, data, bundle, fingerprint, name, 0, device, reused=False)
        cost = teacher_cost(config, width=ready.teacher.fusion.widths)
        run.log_metrics(cost, 0)
        folder = model_folder(checkpoint_folder(config, "teacher", fingerprint))
        save_model(folder, bundle, describe_teacher(config, ready.teacher.fusion))
        tests = _test(config, data, ready)
        log_test(run, tests, title)
        tags = {
            **data_tags(config, data, "teacher"),
            **cost_tags(cost),
            "litemkd.fingerprint": fingerprint,
            "litemkd.modalities": modalities,
            "litemkd.backbone": config.teacher.networks,
            "litemkd.head": config.teacher.head.name,
            "litemkd.protocol": protocol(config, data, "teacher"),
        }
        version = log_and_register(run, config, "teacher", folder, progress, tests, tags)
    return replace(ready, version=version, tests=tests, cost=cost)


def registered_teacher(
    config: Config,
    data: Prepared,
    device: torch.device,
    version: Version,
    fingerprint: str,
    *,
    reused: bool = True,
) -> ReadyTeacher:
    """The teacher of a registered version and its features, which are read where they lie on disk; not tested.

    Raises:
        CheckpointError: the version holds a student.
    """
    bundle = load_model(download(version.name, version.version))
    if not isinstance(bundle, TeacherBundle):
        raise CheckpointError(f"{version.name} version {version.version} holds a student, not a teacher")
    return _ready(config, data, bundle, fingerprint, version.name, version.version, device, reused=reused)


def _test(config: Config, data: Prepared, ready: ReadyTeacher) -> dict[int, Evaluation]:
    classify = teacher_classifier(ready.teacher, ready.fused["test"])
    e = config.evaluation
    return evaluate_split(config, data, classify, "test", e.shots, e.test_episodes, "teacher")


def _train(
    config: Config, data: Prepared, fingerprint: str, device: torch.device, run: Run, resume: bool
) -> tuple[TeacherBundle, Progress]:
    experts: dict[str, Student] = {}
    features: dict[str, SplitFeatures] = {}
    for modality in config.teacher.modalities:
        if config.teacher.experts == "features":
            features[modality] = features_on_disk(config, data, modality, device)
        else:
            experts[modality] = train_expert(config, data, modality, device, resume=resume)
            features[modality] = expert_features(config, data, modality, experts[modality], device)
    widths = {modality: by_split["train"].shape[-1] for modality, by_split in features.items()}
    teacher = build_teacher(config.teacher, widths, config.data.frames, config.seed).to(device)
    e = config.evaluation
    objective = TeacherObjective(
        teacher,
        features={name: by_split["train"] for name, by_split in features.items()},
        sampler=data.sampler(config, "train", config.episode.shot, config.episode.queries, config.seed),
        val_features={name: by_split["val"] for name, by_split in features.items()},
        val_sampler=data.sampler(config, "val", e.shots[0], e.queries, e.seed),
        val_episodes=e.val_episodes,
    )
    recorder = Recorder(run)
    progress = fit(
        objective,
        config.teacher.train,
        seed=config.seed,
        device=device,
        tracker=recorder,
        checkpoints=taken_over(run, checkpoint_folder(config, "teacher", fingerprint)),
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
        config.teacher.expert_of(modality),
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
    expert = build_expert(config.teacher, modality, config.data.frames, config.seed, side=config.data.crop).to(
        device
    )
    with run_of(config, data, "expert", f"expert {modality}", device) as run:
        fit_on_clips(
            expert,
            config.teacher.expert.train,
            config,
            data,
            modality,
            device,
            loss=LABELS,
            run=run,
            checkpoints=checkpoint_folder(config, f"expert-{modality}", fingerprint),
            resume=resume,
            label=f"expert {modality}",
            title=f"expert {modality}",
        )
    return expert


def _ready(
    config: Config,
    data: Prepared,
    bundle: TeacherBundle,
    fingerprint: str,
    name: str,
    version: int | str,
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
    return ReadyTeacher(teacher, fused, name, version, fingerprint, reused)
