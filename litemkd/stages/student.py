"""student: train the light student, on labels alone or with the teacher, test it and register it."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from litemkd.checkpoints import save_description, save_model
from litemkd.config import Config
from litemkd.embedding import student_classifier
from litemkd.errors import ConfigError
from litemkd.evaluation import Evaluation
from litemkd.losses import LABELS, Around
from litemkd.models.student import Student
from litemkd.objectives import Advisor
from litemkd.stages.build import build_student, describe_student
from litemkd.stages.common import (
    ANEW,
    Going,
    checkpoint_folder,
    clip_source,
    cost_tags,
    data_tags,
    evaluate_split,
    features_shelf,
    log_and_register,
    log_test,
    model_folder,
    protocol,
    run_of,
    training_settings,
)
from litemkd.stages.cost import student_cost
from litemkd.stages.fitting import fit_on_clips
from litemkd.stages.prepare import Prepared
from litemkd.stages.teacher import ReadyTeacher
from litemkd.states import CheckpointFolder
from litemkd.tracking import Run, model_name
from litemkd.training import Progress, Watch


@dataclass(frozen=True)
class TrainedStudent:
    """A trained student, tested and registered.

    Attributes:
        student: with the weights that were best on val.
        progress: of the training.
        tests: results on the test episodes, by number of shots.
        cost: metrics of its cost.
        run_id, name, version: where MLflow has it.
    """

    student: Student
    progress: Progress
    tests: dict[int, Evaluation]
    cost: dict[str, float]
    run_id: str
    name: str
    version: int | str


def student_stage(
    config: Config,
    data: Prepared,
    device: torch.device,
    *,
    teacher: ReadyTeacher | None = None,
    going: Going = ANEW,
) -> TrainedStudent:
    """Train, test and register a student: distilled from `teacher`, or on labels alone without one."""
    what = student_title(config, distilled=teacher is not None)
    tags = student_tags(config, data, teacher)
    with run_of(config, data, "student", what, device, tags, going=going) as run:
        student, progress, checkpoints = train_student(
            config, data, device, run, teacher=teacher, resume=going.on
        )
        folder = model_folder(checkpoints)
        cost = student_cost(config)
        run.log_metrics(cost, 0)
        tests = _test(config, data, student, device, run, tags, what)
        save_model(folder, student, describe_student(config))
        version = log_and_register(run, config, "student", folder, progress, tests, {**tags, **cost_tags(cost)})
        return TrainedStudent(
            student, progress, tests, cost, run.run_id, model_name(config.data.dataset, "student"), version
        )


def student_title(config: Config, *, distilled: bool) -> str:
    """What a student is, in words: how it learns, its backbone and its head."""
    how = "distilled" if distilled else "labels only"
    return f"{how}: {config.student.backbone.name} + {config.student.head.name}"


def student_tags(config: Config, data: Prepared, teacher: ReadyTeacher | None) -> dict[str, str]:
    """Tags of a student's run and of its model: what it is, who taught it, and what its val accuracy means."""
    tags = {
        "litemkd.backbone": config.student.backbone.name,
        "litemkd.head": config.student.head.name,
        "litemkd.distilled": str(teacher is not None).lower(),
        "litemkd.protocol": protocol(config, data),
        **data_tags(config, data, "student"),
    }
    if teacher is not None:
        tags["litemkd.teacher"] = f"{teacher.name} version {teacher.version}"
        tags["litemkd.teacher_reused"] = str(teacher.reused).lower()
    return tags


def train_student(
    config: Config,
    data: Prepared,
    device: torch.device,
    run: Run,
    *,
    teacher: ReadyTeacher | None = None,
    resume: bool = False,
    watch: Watch | None = None,
    picture: bool = True,
) -> tuple[Student, Progress, CheckpointFolder]:
    """Train a student and leave it with the weights that were best on val; test classes are not read.

    Args:
        config: the student, its training and, with a teacher, the loss.
        data: the data set, prepared.
        device: where to compute.
        run: takes metrics and pictures.
        teacher: None: the student learns from labels alone.
        resume: go on from the checkpoints of an interrupted run.
        watch: told of every validation, see `litemkd.training.fit`.
        picture: draw the learning curves, which takes half a second.

    Raises:
        ConfigError: the loss does not fit the teacher's features.
        LitemkdError: the loss is not finite.
    """
    loss, guess, advisor = LABELS, None, None
    if teacher is not None:
        loss, fused = config.loss.d2m, teacher.fused["train"]
        around = Around(config.episode.way, config.student.width, fused.shape[-1], "the teacher's features")
        if problems := loss.clashes(around):
            raise ConfigError(problems)
        guess = fused.shape[-1] if "student_guess" in loss.needs else None
        advisor = Advisor(teacher.teacher, fused, loss.needs)
        run.use_model(teacher.name, teacher.version)
    student = build_student(
        config.student, config.data.frames, config.seed, guess=guess, side=config.data.crop
    ).to(device)
    checkpoints = student_checkpoints(config, data, teacher)
    save_description(checkpoints.best.parent, describe_student(config))  # others may evaluate it meanwhile
    progress = fit_on_clips(
        student,
        config.student.train,
        config,
        data,
        "rgb",
        device,
        loss=loss,
        run=run,
        checkpoints=checkpoints,
        resume=resume,
        label=f"student, {'labels only' if teacher is None else 'distilled'}",
        title=student_title(config, distilled=teacher is not None) if picture else None,
        advisor=advisor,
        watch=watch,
    )
    student.drop_training_parts()
    return student, progress, checkpoints


def student_checkpoints(config: Config, data: Prepared, teacher: ReadyTeacher | None) -> CheckpointFolder:
    """Where the training state of this student goes."""
    return checkpoint_folder(
        config,
        "student",
        config.student,
        "labels only" if teacher is None else (config.loss, teacher.fingerprint),
        training_settings(config),
        data.student_digest,
        config.seed,
    )


def evaluate_on_test(
    config: Config, data: Prepared, student: Student, device: torch.device, label: str
) -> dict[int, Evaluation]:
    """Read the test classes: results by number of shots."""
    clips = clip_source(config, data, "rgb", "test", device)
    classify = student_classifier(student.eval(), clips, shelf=features_shelf(config))
    e = config.evaluation
    return evaluate_split(config, data, classify, "test", e.shots, e.test_episodes, label)


def _test(
    config: Config,
    data: Prepared,
    student: Student,
    device: torch.device,
    run: Run,
    tags: dict[str, str],
    what: str,
) -> dict[int, Evaluation]:
    """Read the test classes once, in an evaluate run below the student's; both get the figures."""
    with run_of(config, data, "evaluate", f"evaluate {what}", device, tags) as child:
        tests = evaluate_on_test(config, data, student, device, what.split(":")[0])
        log_test(child, tests, what)
    log_test(run, tests, what)
    return tests
