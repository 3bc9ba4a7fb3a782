"""evaluate: a registered or saved student, or a check without training, on the test episodes of a data set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from litemkd.data.packs.arrays import ArrayPack, ArraySource, Source
from litemkd.errors import CheckpointError, LitemkdError
from litemkd.evaluation.accuracy import Evaluation
from litemkd.evaluation.checks import AsTheyAre, check_classifier, find_check, is_check
from litemkd.stages.calibrate import calibrate
from litemkd.stages.loading import champion_of, load_fitting
from litemkd.stages.looking import log_report
from litemkd.stages.open_set import measure_open_set
from litemkd.stages.results import log_test
from litemkd.stages.setup import Setup
from litemkd.storage.checkpoints import weights_digest
from litemkd.storage.files import write_text
from litemkd.tracking import find_address, list_versions


def evaluate_stage(
    setup: Setup,
    *,
    model: str | None = None,
    report: Path | None = None,
    open_set: bool = False,
    unknown: Path | None = None,
    tell: Callable[[str], object] = lambda _: None,
) -> tuple[str, dict[int, Evaluation]]:
    """Read the test classes once. A student without temperatures learns them on val first, for this run alone.

    Args:
        setup: the data set and the episodes; it goes on with an interrupted run of the same weights.
        model: `models:/name@alias`, `models:/name/version`, the folder of a saved model or of a training's
            checkpoints, or a check as `check:motion`; the data set's champion when None, in a fold the student
            that was trained in it and is best on val.
        report: where its report goes, beside the run's artifacts; of a student.
        open_set: measure also how well queries of no class of their episode are told.
        unknown: a folder of clips of no class of the data set that take their place; with `open_set` alone they
            are of the split's other classes.
        tell: takes lines on what was measured beside accuracies.

    Returns:
        What was evaluated, and its results by number of shots.

    Raises:
        CheckpointError: no such folder, or a model that is not a student for this number of frames and crop;
            or one that was not trained in this fold, which may know its test classes.
        TrackingError: no such registered model.
    """
    config = setup.config
    source = model or _own_of(setup)
    if is_check(source):
        if report is not None:
            raise LitemkdError(f"{source}: a check has no report; a student would do")
        if open_set or unknown is not None:
            raise LitemkdError(f"--open-set: of {source}, which has no threshold; a student would do")
        return source, _check(setup, source)
    if source.startswith("models:"):
        _refuse_other_fold(setup, source)
    loaded, described, calibration = load_fitting(source, config)
    student = loaded.to(setup.device).eval()
    tags = {
        "litemkd.model": source,
        "litemkd.backbone": described["student"]["backbone"]["name"],
        "litemkd.head": described["student"]["head"]["name"],
        "litemkd.data_digest": setup.data.student_digest,
    }
    options = {"--model": source, "the weights": weights_digest(student)}
    options |= {"--open-set": "true"} if open_set else {}
    options |= {"--unknown": str(unknown)} if unknown is not None else {}
    setup = replace(setup, options=options)
    with setup.run("evaluate", f"evaluate {source}", tags, resumable=True) as run:
        if source.startswith("models:"):
            found = find_address(source)
            run.use_model(found.name, found.version)
        calibration = calibration or calibrate(setup, student)
        tests = setup.test_student(student, "evaluate")
        reliabilities = log_test(run, tests, source, calibration)
        page = log_report(run, setup, student, tests, source, always=report is not None)
        if report is not None:
            write_text(report, page)
        for shot, (before, after) in reliabilities.items():
            tell(f"{shot}-shot: calibration error {after.ece:.2f} % (uncalibrated {before.ece:.2f} %)")
        if open_set or unknown is not None:
            measure_open_set(setup, run, student, calibration, unknown, tell)
    return source, tests


def _own_of(setup: Setup) -> str:
    """The address of the student that is tested when none is named."""
    if not setup.fold_tags:
        return champion_of(setup.config)
    name = setup.registered_name("student")
    mine = [one for one in list_versions(name) if setup.fold_tags.items() <= one.tags.items()]
    if not mine:
        fold = setup.config.data.fold
        raise CheckpointError(
            f"no student of fold {fold} is registered; `litemkd distill --fold {fold}` would make one"
        )
    best = max(mine, key=lambda one: float(one.tags["litemkd.val_accuracy"]))
    return f"models:/{name}/{best.version}"


def _refuse_other_fold(setup: Setup, source: str) -> None:
    if setup.fold_tags and not setup.fold_tags.items() <= find_address(source).tags.items():
        raise CheckpointError(
            f"{source}: not trained in fold {setup.config.data.fold} of these data, so it may know the classes "
            "that are tested there; a student of this fold would do, the best of them without --model"
        )


def _seen_by(setup: Setup, source: str) -> Source:
    """The test clips of a check.

    Raises:
        LitemkdError: no such check, or the experiment has not the modality that it looks at.
    """
    modality, T = find_check(source).modality, setup.config.data.frames
    pack = setup.data.packs.get(modality)
    if pack is None:
        raise LitemkdError(
            f"{source}: looks at {modality}, which are not among teacher.modalities; an experiment with them, "
            "such as msr_action3d/joints, would do"
        )
    if not isinstance(pack, ArrayPack):
        return setup.clips(modality, "test")
    split, taker = setup.data.splits["test"], AsTheyAre((T, *pack.shape))
    return ArraySource(pack, split, taker=taker, T=T, device=setup.device)


def _check(setup: Setup, source: str) -> dict[int, Evaluation]:
    """The test of a check without training, in a run of its own."""
    classify = check_classifier(source, _seen_by(setup, source))
    tags = {"litemkd.model": source, "litemkd.backbone": source, "litemkd.head": "sequence"}
    tags["litemkd.data_digest"] = setup.data.student_digest
    setup = replace(setup, options={"--model": source})
    with setup.run("evaluate", f"evaluate {source}", tags, resumable=True) as run:
        tests = setup.evaluate(classify, "test", "evaluate")
        log_test(run, tests, source)
    return tests
