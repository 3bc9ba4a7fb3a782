"""evaluate: a registered or saved student, or a check without training, on the test episodes of a data set."""

from __future__ import annotations

from dataclasses import replace

from litemkd.errors import CheckpointError
from litemkd.evaluation.accuracy import Evaluation
from litemkd.evaluation.checks import check_classifier, is_check
from litemkd.stages.loading import champion_of, load_student
from litemkd.stages.results import log_test
from litemkd.stages.setup import Setup
from litemkd.storage.checkpoints import weights_digest
from litemkd.tracking import find_address


def evaluate_stage(setup: Setup, *, model: str | None = None) -> tuple[str, dict[int, Evaluation]]:
    """Read the test classes once.

    Args:
        setup: the data set and the episodes; it goes on with an interrupted run of the same weights.
        model: `models:/name@alias`, `models:/name/version`, the folder of a saved model or of a training's
            checkpoints, or a check as `check:motion`; the data set's champion when None.

    Returns:
        What was evaluated, and its results by number of shots.

    Raises:
        CheckpointError: no such folder, or a model that is not a student for this number of frames and crop.
        TrackingError: no such registered model.
    """
    config = setup.config
    source = model or champion_of(config)
    if is_check(source):
        return source, _check(setup, source)
    loaded, described = load_student(source)
    for key, wanted in (("frames", config.data.frames), ("crop", config.data.crop)):
        if described.get(key) != wanted:
            raise CheckpointError(
                f"{source}: made for data.{key} = {described.get(key)}, the configuration says {wanted}; "
                "evaluate it with the experiment file it was trained with"
            )
    student = loaded.to(setup.device).eval()
    tags = {
        "litemkd.model": source,
        "litemkd.backbone": described["student"]["backbone"]["name"],
        "litemkd.head": described["student"]["head"]["name"],
        "litemkd.data_digest": setup.data.student_digest,
    }
    setup = replace(setup, options={"--model": source, "the weights": weights_digest(student)})
    with setup.run("evaluate", f"evaluate {source}", tags, resumable=True) as run:
        if source.startswith("models:"):
            found = find_address(source)
            run.use_model(found.name, found.version)
        tests = setup.test_student(student, "evaluate")
        log_test(run, tests, source)
    return source, tests


def _check(setup: Setup, source: str) -> dict[int, Evaluation]:
    """The test of a check without training, in a run of its own."""
    classify = check_classifier(source, setup.clips("rgb", "test"))
    tags = {"litemkd.model": source, "litemkd.backbone": source, "litemkd.head": "prototype"}
    tags["litemkd.data_digest"] = setup.data.student_digest
    setup = replace(setup, options={"--model": source})
    with setup.run("evaluate", f"evaluate {source}", tags, resumable=True) as run:
        tests = setup.evaluate(classify, "test", "evaluate")
        log_test(run, tests, source)
    return tests
