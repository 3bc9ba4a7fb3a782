"""export-weights: a student in the format in which Lite-MKD and TRX release their weights.

What was imported comes out as it came in, tensor by tensor; any other student gets the names of Lite-MKD.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from litemkd.errors import CheckpointError
from litemkd.models.released import write_student
from litemkd.models.released_names import Names, standard_names
from litemkd.stages.loading import load_student, model_folder_of
from litemkd.storage.checkpoints import read_tensors
from litemkd.storage.files import write_whole

STATE = "model_state_dict"  # the entry of a released file that holds the weights
KEPT = "released.safetensors"  # beside an imported model's weights: what models here do not hold


def export_student(model: str, path: Path) -> tuple[str, ...]:
    """A registered or saved student as a released file at `path`.

    Args:
        model: `models:/name@alias`, `models:/name/version` or a folder.
        path: is made; nothing may be there.

    Returns:
        What was written, and what its user should know.

    Raises:
        CheckpointError: no such folder, a file in the way, or a model that has no released form.
        TrackingError: no such registered model.
    """
    if path.exists():
        raise CheckpointError(f"{path}: is there already; another name would do")
    folder = model_folder_of(model)
    student, described = load_student(model)
    head = described["student"]["head"]
    if head["name"] != "trx":
        raise CheckpointError(
            f"{model}: has the head {head['name']}; released files hold TRX, such a student would do"
        )
    backbone, origin = described["student"]["backbone"], described.get("released")
    if backbone["pooling"] == "flatten":
        raise CheckpointError(
            f"{model}: keeps 16 places of the last map; released files have no place for that"
        )
    if (temporal := described["student"].get("temporal", "none")) != "none":
        raise CheckpointError(
            f"{model}: sees motion (student.temporal={temporal}); released files have no place for that, "
            "a student with student.temporal=none would do"
        )
    kept: dict[str, Tensor] = {}
    notes: list[str] = []
    try:
        if origin is not None:
            names = Names(origin["backbone"], origin["branches"], origin["heads"])
            kept = read_tensors(folder / KEPT)
            iteration = int(origin["iteration"])
        else:
            names = standard_names(backbone["name"], list(student.branches), len(head["tuples"]), model)
            iteration = 0
            notes = _differences(backbone)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{model}: its description of the released file is damaged ({error!r})"
        ) from error
    weights = {name: tensor.contiguous().clone() for name, tensor in student.state_dict().items()}
    state = write_student(weights, names, kept, described["frames"], model)
    write_whole(path, lambda beside: torch.save({"iteration": iteration, STATE: state}, beside))
    return (f"{path}: {model} in the released format, {len(state)} tensors, iteration {iteration}", *notes)


def _differences(backbone: Mapping[str, Any]) -> list[str]:
    notes = []
    if backbone["normalise"] != "none":
        notes.append(
            f"the student normalises frames itself ({backbone['normalise']}); the published code does not: "
            "there frames have to be normalised before"
        )
    if backbone["pooling"] != "mean":
        notes.append("the student averages its backbone's whole map; Lite-MKD's code pools it by maximum")
    return notes
