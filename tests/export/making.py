"""A small student, and the folder that it is exported to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from litemkd.config import StudentConfig
from litemkd.export.folder import write_description
from litemkd.export.quantising import Examples
from litemkd.export.writing import Form, write_graphs
from litemkd.models.folding import EvaluationForm
from litemkd.stages.build import build_student

FRAMES, CROP = 4, 32
PLAIN = Form()


def student_form(head: dict[str, Any], **more: Any) -> EvaluationForm:
    """A student of random weights, with statistics of norms that are not those of a new one."""
    config = {"backbone": {"name": "conv4", "weights": "none"}, "width": 16, "head": head, **more}
    student = build_student(StudentConfig.model_validate(config), FRAMES, 0, pretrained=False)
    with torch.no_grad():
        for _ in range(20):
            student.backbone(torch.rand(4, FRAMES, 3, CROP, CROP))
    return EvaluationForm(student.eval())


def exported(
    folder: Path, student: EvaluationForm, form: Form = PLAIN, examples: Examples | None = None
) -> Path:
    """A folder with the graphs of a student and a description."""
    folder.mkdir()
    about: dict[str, Any] = write_graphs(folder, student, FRAMES, CROP, form, examples).described()
    about |= {"runtime": form.runtime, "frames": FRAMES, "short_side": 36, "crop": CROP}
    about |= {"classes": {"way": form.way, "shot": form.shot}, "temporal": "none", "calibration": None}
    about |= {"most": form.most} if form.most else {}
    write_description(folder, about)
    return folder
