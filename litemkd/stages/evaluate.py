"""evaluate: a registered or saved student on the test episodes of a data set."""

from __future__ import annotations

from dataclasses import replace

import torch

from litemkd.checkpoints import weights_digest
from litemkd.config import Config
from litemkd.embedding import student_classifier
from litemkd.errors import CheckpointError
from litemkd.evaluation import Evaluation
from litemkd.stages.common import ANEW, Going, clip_source, evaluate_split, features_shelf, log_test, run_of
from litemkd.stages.loading import champion_of, load_student
from litemkd.stages.prepare import Prepared
from litemkd.tracking import find_address


def evaluate_stage(
    config: Config, data: Prepared, device: torch.device, *, model: str | None = None, going: Going = ANEW
) -> tuple[str, dict[int, Evaluation]]:
    """Read the test classes once.

    Args:
        config: the data set and the episodes.
        data: the data set, prepared.
        device: where to compute.
        model: `models:/name@alias`, `models:/name/version`, the folder of a saved model or of a training's
            checkpoints; the data set's champion when None.
        going: whether to go on with an interrupted run of the same weights.

    Returns:
        What was evaluated, and its results by number of shots.

    Raises:
        CheckpointError: no such folder, or a model that is not a student for this number of frames and crop.
        TrackingError: no such registered model.
    """
    source = model or champion_of(config)
    loaded, described = load_student(source)
    for key, wanted in (("frames", config.data.frames), ("crop", config.data.crop)):
        if described.get(key) != wanted:
            raise CheckpointError(
                f"{source}: made for data.{key} = {described.get(key)}, the configuration says {wanted}; "
                "evaluate it with the experiment file it was trained with"
            )
    student = loaded.to(device).eval()
    tags = {
        "litemkd.model": source,
        "litemkd.backbone": described["student"]["backbone"]["name"],
        "litemkd.head": described["student"]["head"]["name"],
        "litemkd.data_digest": data.student_digest,
    }
    going = replace(going, asked={"--model": source, "the weights": weights_digest(student)})
    with run_of(config, data, "evaluate", f"evaluate {source}", device, tags, going=going) as run:
        if source.startswith("models:"):
            found = find_address(source)
            run.use_model(found.name, found.version)
        clips = clip_source(config, data, "rgb", "test", device)
        classify = student_classifier(student, clips, shelf=features_shelf(config))
        e = config.evaluation
        tests = evaluate_split(config, data, classify, "test", e.shots, e.test_episodes, "evaluate")
        log_test(run, tests, source)
    return source, tests
