"""Features and codes of whole splits, computed once; and the classifiers that look episodes up in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from litemkd.data.clips import ClipSource
from litemkd.data.episodes import Episodes
from litemkd.distributed import gather_rows, group
from litemkd.evaluation import Classifier
from litemkd.models.student import Student
from litemkd.models.teacher import Teacher

CLIPS_AT_ONCE = 32  # through a backbone in evaluation


def refuse_training(model: nn.Module, where: str) -> None:
    """Dropout and batch statistics would go into what is told as the model's figures."""
    if any(module.training for module in model.modules()):
        raise ValueError(f"{where}: the model is in training mode; call its eval() first")


def embed(
    function: Callable[[Tensor], dict[str, Tensor]], clips: ClipSource, videos: np.ndarray | None = None
) -> dict[str, Tensor]:
    """`function` of the centre crops of all (or some) videos of a split, computed in parts: name -> (V, …).

    Several processes share the work, each video is done once; all get the whole.
    """
    rows = np.arange(len(clips.split.videos)) if videos is None else videos
    shared = len(rows) >= group().size
    if shared:
        rows = rows[list(group().share(len(rows)))]
    parts: list[dict[str, Tensor]] = []
    with torch.inference_mode():
        for start in range(0, len(rows), CLIPS_AT_ONCE):
            parts.append(function(clips.centred(rows[start : start + CLIPS_AT_ONCE])))
    whole = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    return {name: gather_rows(x) for name, x in whole.items()} if shared else whole


def branch_embeddings(student: Student, clips: ClipSource) -> dict[str, Tensor]:
    """Features of every branch of a student for all videos of a split: name -> (V, T, D).

    Raises:
        ValueError: the student is in training mode.
    """
    refuse_training(student, "branch_embeddings")

    def features(frames: Tensor) -> dict[str, Tensor]:
        branches = student.branch_features(student.frame_features(frames))
        return {name: student.per_frame(x) for name, x in branches.items()}

    return embed(features, clips)


def student_classifier(student: Student, clips: ClipSource) -> Classifier:
    """Logits of any episode of the split, from codes computed once a video.

    Raises:
        ValueError: the student is in training mode.
    """
    refuse_training(student, "student_classifier")

    def encode(frames: Tensor) -> dict[str, Tensor]:
        branches = student.branch_features(student.frame_features(frames))
        return {name: student.head.encode(x) for name, x in branches.items()}

    codes = embed(encode, clips)

    def classify(episodes: Episodes) -> Tensor:
        return torch.stack(
            [match_rows(student.head.match, code, episodes, clips.device) for code in codes.values()]
        ).sum(0)

    return classify


def teacher_classifier(teacher: Teacher, fused: Tensor) -> Classifier:
    """Logits of any episode of the split with these fused features (V, T, D).

    Raises:
        ValueError: the teacher is in training mode.
    """
    refuse_training(teacher, "teacher_classifier")
    with torch.inference_mode():
        code = teacher.head.encode(fused)
    return lambda episodes: match_rows(teacher.head.match, code, episodes, fused.device)


def match_rows(match: Callable[..., Tensor], code: Tensor, episodes: Episodes, device: torch.device) -> Tensor:
    """What a head's `match` or `relate` says of episodes whose rows are rows of `code` (V, *code)."""
    support, labels, query = (
        torch.from_numpy(array).to(device)
        for array in (episodes.support, episodes.support_labels, episodes.query)
    )
    return match(code[support], labels, code[query], episodes.way)


def fuse_all(teacher: Teacher, features: Mapping[str, Tensor], at_once: int = 512) -> Tensor:
    """Fused features (V, T, D) of all videos, in parts, without gradient.

    Raises:
        ValueError: the teacher is in training mode.
    """
    refuse_training(teacher, "fuse_all")
    total = len(next(iter(features.values())))
    with torch.inference_mode():
        parts = [
            teacher.fuse({name: x[start : start + at_once] for name, x in features.items()})
            for start in range(0, total, at_once)
        ]
    return torch.cat(parts)
