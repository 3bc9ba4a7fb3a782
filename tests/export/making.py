"""A small student, the folder that it is exported to, and episodes that both are asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from litemkd_runtime import Recogniser

from litemkd.config import StudentConfig
from litemkd.data.episodes import Episodes
from litemkd.export.checking import compare_logits, exported_logits, torch_logits
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


def clips(number: int) -> np.ndarray:
    """So many clips of noise, by their number."""
    return np.random.default_rng(number).integers(0, 256, (number, FRAMES, CROP, CROP, 3), np.uint8)


def episodes(way: int, labels: list[int], queries: int, batch: int = 1) -> Episodes:
    """Episodes of the first clips, all alike: a support with each label, then the queries."""
    supports = len(labels)
    rows = np.tile(np.arange(supports + queries), (batch, 1))
    return Episodes(
        np.arange(batch),
        np.tile(np.arange(way), (batch, 1)),
        rows[:, :supports],
        np.tile(labels, (batch, 1)),
        rows[:, supports:],
        np.zeros((batch, queries), np.int64),
    )


def check_logits(form: EvaluationForm, recogniser: Recogniser, asked: Episodes) -> None:
    """An exported student says of random clips what PyTorch says, and says something."""
    seen = clips(asked.support.shape[1] + asked.query.shape[1])
    wanted = torch_logits(form, seen, asked)
    found = exported_logits(recogniser, recogniser.encode(seen), asked)
    assert found.shape == wanted.shape
    agreement = compare_logits([wanted], [found])
    assert agreement.largest > 0.01
    agreement.refuse("the test")


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
