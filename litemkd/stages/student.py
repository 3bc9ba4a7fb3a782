"""student: the light student, trained on labels alone or with the teacher, tested and registered; and distill,
the main job, which has a teacher and both students, and lays them side by side.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from litemkd.config import Config
from litemkd.errors import ConfigError
from litemkd.evaluation.accuracy import Evaluation, Interval, paired_difference
from litemkd.evaluation.calibration import save_calibration
from litemkd.losses import LABELS, Around
from litemkd.models.student import Student
from litemkd.report.plots import accuracies
from litemkd.report.tables import markdown_table, text_table
from litemkd.runtime.progress import steps
from litemkd.stages.build import build_student, describe_student
from litemkd.stages.calibrate import calibrate
from litemkd.stages.cost import student_cost
from litemkd.stages.looking import log_report
from litemkd.stages.register import cost_tags, data_tags, error_tags, register_trained
from litemkd.stages.results import (
    RESULT,
    Recorder,
    accuracy_metrics,
    calibration_metrics,
    gain_metrics,
    log_test,
)
from litemkd.stages.setup import Setup, resumed_checkpoints
from litemkd.stages.teacher import ReadyTeacher, teacher_stage, teacher_steps
from litemkd.storage.checkpoints import save_description, save_model
from litemkd.storage.states import CheckpointFolder
from litemkd.tracking import Promotion, Run, promote
from litemkd.training.loop import OnValidation, Progress, fit
from litemkd.training.objectives import Advisor

LABELS_ONLY, DISTILLED = "student, labels only", "student, distilled"  # the students' steps


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


@dataclass(frozen=True)
class Outcome:
    """What the main job made.

    Attributes:
        teacher, labels, distilled: the three models; `labels` is None when the baseline was left out.
        gains: distilled minus labels only, points, by number of shots, paired on the same episodes.
        promotions: what moved in the registry.
    """

    teacher: ReadyTeacher
    labels: TrainedStudent | None
    distilled: TrainedStudent
    gains: dict[int, Interval]
    promotions: list[Promotion]


def distill_stage(setup: Setup, *, choice: str = "auto", baseline: bool = True) -> Outcome:
    """Run the whole job; see `Outcome`. `choice` is of the teacher, see `teacher_stage`."""
    backbone, head = setup.config.student.backbone.name, setup.config.student.head.name
    tags = {"litemkd.backbone": backbone, "litemkd.head": head, "litemkd.distilled": "true"}
    setup = replace(setup, options={"--teacher": choice, "--no-baseline": str(not baseline).lower()})
    with setup.run("distill", f"distill into {backbone} + {head}", tags, resumable=True) as run:
        with steps([*teacher_steps(setup.config), *[LABELS_ONLY] * baseline, DISTILLED]):
            teacher = teacher_stage(setup, choice=choice)
            run.set_tags(_teacher_tags(teacher))
            labels = student_stage(setup) if baseline else None
            distilled = student_stage(setup, teacher=teacher)
        gains = {
            shot: paired_difference(test, labels.tests[shot])
            for shot, test in distilled.tests.items()
            if labels is not None
        }
        promotions = [promote(teacher.name), promote(distilled.name)]
        outcome = Outcome(teacher, labels, distilled, gains, promotions)
        _log(run, outcome)
    return outcome


def student_stage(setup: Setup, *, teacher: ReadyTeacher | None = None) -> TrainedStudent:
    """Train, test and register a student: distilled from `teacher`, or on labels alone without one."""
    title = student_title(setup.config, distilled=teacher is not None)
    tags = student_tags(setup, teacher)
    with setup.run("student", title, tags, resumable=True) as run:
        student, progress = train_student(setup, run, teacher=teacher)
        cost = student_cost(setup.config)
        run.log_metrics(cost, 0)
        # The test classes are read once, in a run of their own below this one; both get the figures.
        with setup.run("evaluate", f"evaluate {title}", tags) as child:
            calibration = calibrate(setup, student.eval())
            tests = setup.test_student(student, LABELS_ONLY if teacher is None else DISTILLED)
            reliabilities = log_test(child, tests, title, calibration, also=[run])
            log_report(child, setup, student, tests, title)
        folder = student_checkpoints(setup, teacher).model
        save_model(folder, student, describe_student(setup.config))
        about = tags | cost_tags(cost)
        if calibration is not None:
            save_calibration(folder, calibration)
            about |= error_tags(calibration_metrics(reliabilities))
        version = register_trained(run, setup, "student", folder, progress, tests, about)
        name = setup.registered_name("student")
        return TrainedStudent(student, progress, tests, cost, run.run_id, name, version)


def train_student(
    setup: Setup,
    run: Run,
    *,
    teacher: ReadyTeacher | None = None,
    on_validation: OnValidation | None = None,
) -> tuple[Student, Progress]:
    """Train a student and leave it with the weights that were best on val; test classes are not read.

    Args:
        setup: the student, its training and, with a teacher, the loss; whether it goes on from the checkpoints
            of an interrupted run.
        run: takes metrics and pictures.
        teacher: None: the student learns from labels alone.
        on_validation: called after every validation, see `litemkd.training.loop.fit`.

    Raises:
        ConfigError: the loss does not fit the teacher's features.
        LitemkdError: the loss is not finite.
    """
    config, train = setup.config, setup.config.student.train
    loss, guess, advisor = LABELS, None, None
    if teacher is not None:
        loss, fused = config.loss.d2m, teacher.fused["train"]
        around = Around(config.episode.way, config.student.width, fused.shape[-1], "the teacher's features")
        if problems := loss.clashes(around):
            raise ConfigError(problems)
        guess = fused.shape[-1] if "student_guess" in loss.needs else None
        advisor = Advisor(teacher.teacher, fused, loss.needs, teacher.names.get("train"))
        run.use_model(teacher.name, teacher.version)
    student = build_student(
        config.student, config.data.frames, config.seed, guess=guess, side=config.data.crop
    ).to(setup.device)
    checkpoints = student_checkpoints(setup, teacher)
    save_description(checkpoints.folder, describe_student(config))  # others may evaluate it meanwhile
    recorder = Recorder(run, student_title(config, distilled=teacher is not None))
    progress = fit(
        setup.student_objective(student, "rgb", train, loss=loss, advisor=advisor),
        train,
        seed=config.seed,
        tracker=recorder,
        checkpoints=resumed_checkpoints(run, checkpoints),
        resume=setup.resume,
        label=LABELS_ONLY if teacher is None else DISTILLED,
        on_validation=on_validation,
    )
    recorder.finish(progress)
    student.drop_training_parts()
    return student, progress


def student_checkpoints(setup: Setup, teacher: ReadyTeacher | None) -> CheckpointFolder:
    """Where the training state of this student goes."""
    return setup.checkpoints(
        "student",
        setup.config.student,
        "labels only" if teacher is None else (setup.config.loss, teacher.fingerprint),
        setup.training_settings,
        setup.data.student_digest,
        setup.config.seed,
    )


def student_title(config: Config, *, distilled: bool) -> str:
    """What a student is, in words: how it learns, its backbone and its head."""
    how = "distilled" if distilled else "labels only"
    return f"{how}: {config.student.backbone.name} + {config.student.head.name}"


def student_tags(setup: Setup, teacher: ReadyTeacher | None) -> dict[str, str]:
    """Tags of a student's run and of its model: what it is, who taught it, and what its val accuracy means."""
    config = setup.config
    tags = {
        "litemkd.backbone": config.student.backbone.name,
        "litemkd.head": config.student.head.name,
        "litemkd.distilled": str(teacher is not None).lower(),
        "litemkd.protocol": setup.protocol(),
        **data_tags(config, setup.data, "student"),
    }
    if teacher is not None:
        tags |= _teacher_tags(teacher)
    return tags


def _teacher_tags(teacher: ReadyTeacher) -> dict[str, str]:
    return {
        "litemkd.teacher": f"{teacher.name} version {teacher.version}",
        "litemkd.teacher_reused": str(teacher.reused).lower(),
    }


def outcome_table(outcome: Outcome) -> tuple[list[str], list[list[str]]]:
    """The closing table: header and rows."""
    shots = list(outcome.distilled.tests)
    header = ["model", *(f"{shot}-shot, %" for shot in shots), "GMACs/episode", "parameters, M"]
    rows = [
        [
            f"teacher ({'+'.join(outcome.teacher.teacher.fusion.modalities)})",
            *(str(outcome.teacher.tests[shot].accuracy) for shot in shots),
            f"{outcome.teacher.cost['cost/gmacs_per_episode']:.2f}",
            f"{outcome.teacher.cost['cost/params_m']:.2f}",
        ]
    ]
    for name, student in (("student, labels only", outcome.labels), ("student, distilled", outcome.distilled)):
        if student is not None:
            rows.append(
                [
                    name,
                    *(str(student.tests[shot].accuracy) for shot in shots),
                    f"{student.cost['cost/gmacs_per_episode']:.2f}",
                    f"{student.cost['cost/params_m']:.2f}",
                ]
            )
    if outcome.gains:
        rows.append(
            [
                "gain by distillation",
                *(f"{gain.mean:+.2f} ± {gain.half:.2f}" for gain in outcome.gains.values()),
                "",
                "",
            ]
        )
    return header, rows


def outcome_words(outcome: Outcome) -> str:
    """The closing table as text."""
    return text_table(*outcome_table(outcome))


def _log(run: Run, outcome: Outcome) -> None:
    header, rows = outcome_table(outcome)
    run.log_text(markdown_table(header, rows), "result.md")
    run.log_table([dict(zip(header, row, strict=True)) for row in rows], "result.json")
    metrics = {"val/accuracy": outcome.distilled.progress.best_accuracy}
    metrics["val/accuracy_ci95"] = outcome.distilled.progress.best_ci95
    metrics |= outcome.distilled.cost
    metrics |= accuracy_metrics({shot: test.accuracy for shot, test in outcome.distilled.tests.items()})
    metrics |= gain_metrics(outcome.gains)
    run.log_metrics(metrics, 0)
    models = {"teacher": outcome.teacher.tests, LABELS_ONLY: outcome.labels and outcome.labels.tests}
    models |= {DISTILLED: outcome.distilled.tests}
    found = {
        name: {shot: test.accuracy for shot, test in tests.items()} for name, tests in models.items() if tests
    }
    points = ", ".join(
        f"{gain.mean:+.2f} ± {gain.half:.2f} {shot}-shot" for shot, gain in outcome.gains.items()
    )
    title = f"gain by distillation, points: {points}" if points else "the distilled student beside its teacher"
    way = next(iter(outcome.distilled.tests.values())).logits.shape[-1]
    run.log_figure(lambda: accuracies(found, title, 100 / way if way else None), RESULT)
    gains = ", ".join(
        f"**{gain.mean:+.2f} ± {gain.half:.2f}** {shot}-shot" for shot, gain in outcome.gains.items()
    )
    words = f"Gain by distillation, points: {gains}. " if gains else ""
    run.describe(f"{words}On the test classes:\n\n{markdown_table(header, rows)}")
