"""A student by its name: in the registry, or a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from litemkd.config import Config
from litemkd.errors import CheckpointError
from litemkd.evaluation.calibration import Calibration, read_calibration
from litemkd.evaluation.recognition import Recogniser
from litemkd.models.student import Student
from litemkd.stages.build import load_model
from litemkd.storage.checkpoints import read_description
from litemkd.tracking import download, model_name

TORCH = "torch"  # the runtime of students as they are trained; others run what `litemkd export` wrote


def champion_of(config: Config) -> str:
    """The address of the champion among a data set's students."""
    return f"models:/{model_name(config.data.dataset, 'student')}@champion"


def model_folder_of(source: str) -> Path:
    """The folder that `models:/name@alias`, `models:/name/version` or a folder's name means."""
    return download(source) if source.startswith("models:") else Path(source)


def load_student(source: str) -> tuple[Student, dict[str, Any]]:
    """A student in eval mode, and its description; see `load_calibrated`."""
    return load_calibrated(source)[:2]


def load_fitting(
    source: str, config: Config, what: str = "evaluate"
) -> tuple[Student, dict[str, Any], Calibration | None]:
    """As `load_calibrated`, of a student for the clips of a configuration; `what` is to be done with it.

    Raises:
        CheckpointError: also one for another number of frames, or another crop.
    """
    student, described, calibration = load_calibrated(source)
    for key, wanted in (("frames", config.data.frames), ("crop", config.data.crop)):
        if described.get(key) != wanted:
            raise CheckpointError(
                f"{source}: made for data.{key} = {described.get(key)}, the configuration says {wanted}; "
                f"{what} it with the experiment file it was trained with"
            )
    return student, described, calibration


def exported_folder(config: Config, model: str | None, runtime: str) -> Path:
    """The folder of an exported student that a runtime is to run.

    Args:
        config: the data set whose champion stands for None.
        model: as it was given.
        runtime: another one than `TORCH`.

    Raises:
        CheckpointError: none is given, or a registered model.
    """
    if model is None or model.startswith("models:"):
        raise CheckpointError(
            f"--model {model or champion_of(config)}: given with --runtime {runtime}; a folder that "
            f"`litemkd export --format {runtime}` has written would do"
        )
    return Path(model)


def load_recogniser(source: str, device: torch.device) -> Recogniser:
    """A student that names clips, with its calibration, on a device. Errors are those of `load_calibrated`."""
    student, described, calibration = load_calibrated(source)
    try:
        return Recogniser(
            student.to(device),
            frames=int(described["frames"]),
            crop=int(described["crop"]),
            short_side=int(described["short_side"]),
            calibration=calibration,
        )
    except KeyError as error:
        raise CheckpointError(
            f"{source}: its description lacks {error}; export it anew with this version"
        ) from None


def load_calibrated(source: str) -> tuple[Student, dict[str, Any], Calibration | None]:
    """A student in eval mode, its description, and its calibration where it has one.

    Args:
        source: see `model_folder_of`; or the folder of a training's checkpoints.

    Raises:
        CheckpointError: no such folder, damaged, or a teacher.
        TrackingError: no such registered model.
    """
    folder = model_folder_of(source)
    loaded = load_model(folder)
    if not isinstance(loaded, Student):
        raise CheckpointError(f"{source}: holds a teacher; a student would do")
    return loaded, read_description(folder), read_calibration(folder)
