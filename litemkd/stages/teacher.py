"""teacher: one expert a modality, then fusion and head on their features; or the one already registered."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import cast

from torch import Tensor

from litemkd.config import Config, TeacherConfig, digest_of
from litemkd.errors import CheckpointError
from litemkd.evaluation.accuracy import Evaluation
from litemkd.evaluation.embedding import teacher_classifier
from litemkd.models.adapters import merge
from litemkd.models.names import NAMES
from litemkd.models.student import Student
from litemkd.models.teacher import Teacher
from litemkd.models.tuned import counted
from litemkd.stages.build import (
    TeacherBundle,
    build_expert,
    build_teacher,
    describe_expert,
    describe_teacher,
    load_model,
    refuse_other_width,
    refuse_untrainable,
    tune_expert,
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
from litemkd.stages.frozen import behind_frozen
from litemkd.stages.register import cost_tags, data_tags, register_trained
from litemkd.stages.results import Recorder, log_test
from litemkd.stages.setup import Setup, resumed_checkpoints
from litemkd.stages.words import heard, name_digest, name_features, refuse_other_names
from litemkd.storage.checkpoints import read_description, save_model, weights_digest
from litemkd.storage.states import CheckpointFolder
from litemkd.tracking import Run, Version, download, find_address, find_version
from litemkd.training.loop import Progress, fit
from litemkd.training.objectives import TeacherObjective

log = logging.getLogger(__name__)

CHOICES = ("auto", "new")  # of a teacher; any other word is the address of a registered one


@dataclass(frozen=True)
class ReadyTeacher:
    """A teacher to learn from.

    Attributes:
        teacher: fusion and head, in eval mode.
        fused: its features of every split.
        names: features (V, D) of the names of their classes by split, where it hears names.
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
    names: Mapping[str, Tensor] = field(default_factory=dict)
    tests: dict[int, Evaluation] = field(default_factory=dict)
    cost: dict[str, float] = field(default_factory=dict)


def teacher_fingerprint(setup: Setup) -> str:
    """A digest of everything the teacher's weights depend on, the content of features on disk included."""
    config, seen = setup.config, [setup.data.digest]
    if config.teacher.experts == "features":
        seen += [features_on_disk_digest(setup, modality) for modality in config.teacher.modalities]
    if config.teacher.words is not None:
        seen += [name_digest(setup)]
    return digest_of("teacher", config.teacher, setup.training_settings, *seen, config.seed)


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
    teacher, words = TeacherConfig.model_validate(described["teacher"]), config.teacher.words
    if (
        teacher.words is not None and words is not None
    ):  # where the tower lies here, and what is said of these classes
        here = teacher.words.model_copy(update={"weights": words.weights, "names": words.names})
        teacher = teacher.model_copy(update={"words": here})
    return config.model_copy(update={"teacher": teacher})


def teacher_steps(config: Config) -> list[str]:
    """Labels of the trainings that a new teacher takes, in their order."""
    experts = config.teacher.modalities if config.teacher.experts == "train" else ()
    return [*(f"expert {modality}" for modality in experts), "teacher"]


def teacher_stage(setup: Setup, *, choice: str = "auto") -> ReadyTeacher:
    """Find or train the teacher and have its features ready.

    Args:
        setup: the teacher and its training; its configuration is from `with_teacher` where `choice` is an
            address.
        choice: `auto`: the registered teacher of this configuration and data, or a new one; `new`: a new one
            whatever is registered; or the address of a registered teacher.

    Raises:
        ConfigError: a teacher of which nothing can be trained.
        DataError: features on disk that are missing or broken, or the user's own where others would be written.
    """
    refuse_foreign(setup)
    asked = setup.config.teacher.words
    if choice in CHOICES:
        setup = heard(setup)
        refuse_untrainable(setup.config.teacher, setup.config.data.frames)
        refuse_other_names(setup)
    config, name = setup.config, setup.registered_name("teacher")
    fingerprint = teacher_fingerprint(setup)
    modalities = "+".join(config.teacher.modalities)
    title = f"teacher {modalities}"
    setup = replace(setup, options={"--teacher": choice})
    former = setup.interrupted_run("teacher", title)
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
        ready = registered_teacher(setup, found, fingerprint, reused=not own)
        cost = teacher_cost(config, width=ready.teacher.fusion.widths)
        return replace(ready, tests=_test(setup, ready), cost=cost)
    words = {}
    if asked is not None:
        words["litemkd.words"] = "off, class names say nothing" if config.teacher.words is None else asked.use
    with setup.run("teacher", title, words, resumable=True) as run:
        checkpoints = setup.checkpoints("teacher", fingerprint)
        bundle, progress = _train(setup, run, checkpoints)
        ready = _ready(setup, bundle, fingerprint, name, 0, reused=False)
        cost = teacher_cost(config, width=ready.teacher.fusion.widths)
        run.log_metrics(cost, 0)
        save_model(checkpoints.model, bundle, describe_teacher(config, ready.teacher.fusion, bundle.experts))
        tests = _test(setup, ready)
        log_test(run, tests, title)
        run.set_tags({"data_digest": setup.data.student_digest})  # teachers of any modalities are tested alike
        tags = {
            **words,
            **data_tags(config, setup.data, "teacher"),
            **cost_tags(cost),
            "litemkd.fingerprint": fingerprint,
            "litemkd.modalities": modalities,
            "litemkd.backbone": config.teacher.networks,
            "litemkd.head": config.teacher.head.name,
            "litemkd.protocol": setup.protocol("teacher"),
        }
        version = register_trained(run, setup, "teacher", checkpoints.model, progress, tests, tags)
    return replace(ready, version=version, tests=tests, cost=cost)


def registered_teacher(
    setup: Setup, version: Version, fingerprint: str, *, reused: bool = True
) -> ReadyTeacher:
    """The teacher of a registered version and its features, which are read where they lie on disk; not tested.

    Raises:
        CheckpointError: the version holds a student.
    """
    bundle = load_model(download(version.name, version.version))
    if not isinstance(bundle, TeacherBundle):
        raise CheckpointError(f"{version.name} version {version.version} holds a student, not a teacher")
    return _ready(setup, bundle, fingerprint, version.name, version.version, reused=reused)


def _test(setup: Setup, ready: ReadyTeacher) -> dict[int, Evaluation]:
    classify = teacher_classifier(ready.teacher, ready.fused["test"], ready.names.get("test"))
    return setup.evaluate(classify, "test", "teacher")


def _train(setup: Setup, run: Run, checkpoints: CheckpointFolder) -> tuple[TeacherBundle, Progress]:
    config = setup.config
    experts: dict[str, Student] = {}
    features: dict[str, SplitFeatures] = {}
    for modality in config.teacher.modalities:
        if config.teacher.experts == "features":
            features[modality] = features_on_disk(setup, modality)
        else:
            experts[modality] = train_expert(setup, modality)
            features[modality] = expert_features(setup, modality, experts[modality])
    widths = {modality: by_split["train"].shape[-1] for modality, by_split in features.items()}
    if config.teacher.words is not None:
        features[NAMES] = name_features(setup)
        text, seen = features[NAMES]["train"].shape[-1], widths[config.teacher.modalities[0]]
        refuse_other_width(config.teacher, config.data.frames, text, seen)
    teacher = build_teacher(config.teacher, widths, config.data.frames, config.seed).to(setup.device)
    objective = TeacherObjective(
        teacher,
        features={name: by_split["train"] for name, by_split in features.items()},
        sampler=setup.train_episodes(),
        val=setup.val_episodes({name: by_split["val"] for name, by_split in features.items()}),
    )
    recorder = Recorder(run, "teacher: fusion and head")
    progress = fit(
        objective,
        config.teacher.train,
        seed=config.seed,
        tracker=recorder,
        checkpoints=resumed_checkpoints(run, checkpoints),
        resume=setup.resume,
        label="teacher",
    )
    recorder.finish(progress)
    return TeacherBundle(teacher, experts), progress


def expert_fingerprint(setup: Setup, modality: str) -> str:
    """A digest of everything an expert's weights depend on."""
    config, data = setup.config, setup.data
    return digest_of(
        "expert",
        modality,
        config.teacher.expert_of(modality),
        setup.training_settings,
        data.packs[modality].digest,
        {name: list(split.videos) for name, split in data.splits.items()},
        config.seed,
    )


def train_expert(setup: Setup, modality: str) -> Student:
    """Train the model of one modality on the train classes.

    Raises:
        ConfigError: weights to train that its backbone does not have.
    """
    teacher, data, seed = setup.config.teacher, setup.config.data, setup.config.seed
    section, title = teacher.expert_for(modality), f"expert {modality}"
    train = section.train
    expert = build_expert(teacher, modality, data.frames, seed, side=data.crop)
    tune_expert(expert, teacher, modality, seed)
    expert.to(setup.device)
    with setup.run("expert", title) as run:
        counts = counted(expert)
        run.log_metrics(counts, 0)
        log.info("%s: %.3f of %.3f million weights are trained", title, *counts.values())
        recorder = Recorder(run, title)
        checkpoints = setup.checkpoints(f"expert-{modality}", expert_fingerprint(setup, modality))
        model, sources = expert, None
        if section.frozen:
            behind = behind_frozen(setup, modality, expert)
            model, sources = behind.student, behind.sources
        progress = fit(
            setup.student_objective(model, modality, train, sources=sources),
            train,
            seed=seed,
            tracker=recorder,
            checkpoints=resumed_checkpoints(run, checkpoints),
            resume=setup.resume,
            label=title,
        )
        recorder.finish(progress)
        merge(expert.backbone)
        described = describe_expert(setup.config, modality, expert)
        run.keep_model(
            save_model(checkpoints.model, expert, described),
            name=f"expert-{modality}",
            step=progress.best_episode,
            metrics={"val/accuracy": progress.best_accuracy},
            tags={
                "litemkd.dataset": setup.config.data.dataset,
                "litemkd.modality": modality,
                "litemkd.val_accuracy": f"{progress.best_accuracy:.4f}",
                "litemkd.run": run.run_id,
            },
        )
    return expert.eval()


def _ready(
    setup: Setup, bundle: TeacherBundle, fingerprint: str, name: str, version: int | str, *, reused: bool
) -> ReadyTeacher:
    trained = setup.config.teacher.experts == "train"
    features: dict[str, SplitFeatures] = {
        modality: expert_features(setup, modality, cast(Student, bundle.experts[modality]))
        if trained
        else features_on_disk(setup, modality)
        for modality in setup.config.teacher.modalities
    }
    teacher = bundle.teacher.to(setup.device).eval()
    fused = fused_features(setup, teacher, features, weights_digest(bundle))
    names = name_features(setup) if teacher.names is not None else {}
    return ReadyTeacher(teacher, fused, name, version, fingerprint, reused, names)
