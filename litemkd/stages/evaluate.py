"""evaluate: a registered or saved student on the test episodes of a data set."""

from __future__ import annotations

from pathlib import Path

import torch

from litemkd.checkpoints import read_description
from litemkd.config import Config
from litemkd.embedding import student_classifier
from litemkd.errors import CheckpointError
from litemkd.evaluation import Evaluation
from litemkd.models.student import Student
from litemkd.stages.build import load_model
from litemkd.stages.common import clip_source, evaluate_split, features_shelf, log_test, run_of
from litemkd.stages.prepare import Prepared
from litemkd.tracking import download, find_address, model_name


def evaluate_stage(
    config: Config, data: Prepared, device: torch.device, *, model: str | None = None
) -> tuple[str, dict[int, Evaluation]]:
    """Read the test classes once.

    Args:
        config: the data set and the episodes.
        data: the data set, prepared.
        device: where to compute.
        model: `models:/name@alias`, `models:/name/version`, the folder of a saved model or of a training's
            checkpoints; the data set's champion when None.

    Returns:
        What was evaluated, and its results by number of shots.

    Raises:
        CheckpointError: no such folder, or a model that is not a student for this number of frames and crop.
        TrackingError: no such registered model.
    """
    source = model or f"models:/{model_name(config.data.dataset, 'student')}@champion"
    folder = download(source) if source.startswith("models:") else Path(source)
    loaded = load_model(folder)
    if not isinstance(loaded, Student):
        raise CheckpointError(f"{source}: holds a teacher; a student would do")
    described = read_description(folder)
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
    }
    with run_of(config, data, "evaluate", f"evaluate {source}", device, tags) as run:
        if source.startswith("models:"):
            found = find_address(source)
            run.use_model(found.name, found.version)
        clips = clip_source(config, data, "rgb", "test", device)
        classify = student_classifier(student, clips, shelf=features_shelf(config))
        e = config.evaluation
        tests = evaluate_split(config, data, classify, "test", e.shots, e.test_episodes, "evaluate")
        log_test(run, tests, source)
    return source, tests
