"""Features and codes of whole splits, computed once; and the classifiers that look episodes up in them.

The features (V, T, C) of a student's backbone take long to compute and are small: they may be kept on disk.
Codes, by which episodes are matched, are several times as large and quickly made of features: they are held in
memory where they fit, and else made anew for each few episodes.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from litemkd.data.episodes import Episodes
from litemkd.data.packs.arrays import Source
from litemkd.evaluation.accuracy import Classifier
from litemkd.evaluation.look_up import Codes, Held, LookUp, Tables
from litemkd.evaluation.watching import Watch
from litemkd.models.backbones import Backbone
from litemkd.models.experts import WholeClips
from litemkd.models.folding import EvaluationForm, fold_norms, refuse_training
from litemkd.models.heads import Code
from litemkd.models.heads.known import on_device
from litemkd.models.heads.tuple_attention import FoldedTRX
from litemkd.models.student import Student
from litemkd.models.teacher import Teacher
from litemkd.runtime.distributed import broadcast, gather_rows, group
from litemkd.storage.array_cache import ArrayCache
from litemkd.storage.checkpoints import weights_digest

CLIPS_AT_ONCE = 32  # through a backbone in evaluation
IN_MEMORY = 2 << 30  # bytes of codes that are held
FORM = 1  # of features on disk


def embed(
    function: Callable[[Tensor], dict[str, Tensor]], clips: Source, videos: np.ndarray | None = None
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


def branch_embeddings(student: Student, clips: Source) -> dict[str, Tensor]:
    """Features of every branch of a student for all videos of a split: name -> (V, T, D).

    Raises:
        ValueError: the student is in training mode.
    """
    refuse_training(student, "branch_embeddings")
    backbone = fold_norms(student.backbone)

    def features(frames: Tensor) -> dict[str, Tensor]:
        return {name: student.per_frame(x) for name, x in student.branch_features(backbone(frames)).items()}

    return embed(features, clips)


def student_classifier(
    student: Student, clips: Source, *, cache: ArrayCache | None = None, in_memory: int = IN_MEMORY
) -> Classifier:
    """Logits of any episode of the split by the student's evaluation form, each video seen once.

    Args:
        student: in eval mode.
        clips: of the split.
        cache: where features of the backbone are kept; they stay in memory without one.
        in_memory: bytes of codes that may be held; where a split's take more, they are made anew for each few
            episodes, with the same result.

    Raises:
        ValueError: the student is in training mode.
    """
    refuse_training(student, "student_classifier")
    form = EvaluationForm(student)
    features = backbone_features(form.backbone, clips, cache)
    precision = next(student.parameters()).dtype

    def encode(videos: np.ndarray) -> dict[str, Code]:
        with torch.inference_mode():
            return form.encode(torch.from_numpy(features[videos]).to(clips.device, precision))

    held = Held(len(features), in_memory, clips.device)
    return LookUp(encode, form.match, held, _tables(form, features, clips, precision))


def _tables(form: EvaluationForm, features: np.ndarray, clips: Source, dtype: torch.dtype) -> Tables | None:
    """The tables of a form whose branches all have some; None where one has not."""
    branches = [branch for branch in form.branches.values() if isinstance(branch, FoldedTRX)]
    if len(branches) < len(form.branches) or dtype != torch.float32:
        return None
    labels = torch.from_numpy(clips.split.labels.copy()).to(clips.device)
    return Tables(branches, lambda: torch.from_numpy(np.array(features)).to(clips.device), labels)


def backbone_features(
    backbone: Backbone | WholeClips,
    clips: Source,
    cache: ArrayCache | None = None,
    label: str | None = None,
) -> np.ndarray:
    """Features (V, T[, places], C) of all videos of a split, float32; in mixed precision on a GPU.

    Args:
        backbone: in eval mode; with its norms folded it takes less time.
        clips: of the split.
        cache: keeps them under a name made of the backbone, the split, the pack and the crop. One process alone
            keeps what it has made so far, too, and goes on from there.
        label: of what is told of the time that it takes, and of the progress bar; nothing is without one.
    """
    shape = (len(clips.split.videos), clips.frames, *backbone.shape)
    name = "" if cache is None else f"{clips.split.name}-{_key(backbone, clips, clips.device.type == 'cuda')}"
    several = group().size > 1
    there = cache is not None and cache.has(name, shape)
    share = group().share(shape[0]) if several and shape[0] >= group().size else range(shape[0])
    quiet = None if there or not group().main else label

    with Watch(quiet, len(share), 4 * math.prod(shape[1:]), clips.device) as watch:

        def made(rows: range) -> np.ndarray:
            with watch.part(rows.start - share.start, len(rows)):
                return frame_features(backbone, clips.centred(np.array(rows))).cpu().numpy()

        if cache is not None and (not several or broadcast(there)):
            return cache.in_parts(name, shape, made, CLIPS_AT_ONCE)
        whole = np.zeros((len(share), *shape[1:]), np.float32)
        for start in range(share.start, share.stop, CLIPS_AT_ONCE):
            rows = range(start, min(start + CLIPS_AT_ONCE, share.stop))
            whole[rows.start - share.start : rows.stop - share.start] = made(rows)
    if len(share) < shape[0]:
        mine = torch.from_numpy(whole).to(clips.device)  # NCCL wants tensors on the device
        whole = gather_rows(mine).cpu().numpy()
    return whole if cache is None else cache.array(name, shape, lambda features: np.copyto(features, whole))


def frame_features(backbone: Backbone | WholeClips, frames: Tensor) -> Tensor:
    """(V, T, 3, H, W) frames in [0, 1] -> (V, T[, places], C) float32; in mixed precision on a GPU."""
    kind = frames.device.type
    with torch.inference_mode(), torch.autocast(kind, torch.bfloat16, enabled=kind == "cuda"):
        return backbone(frames).float()


def _key(backbone: Backbone | WholeClips, clips: Source, mixed: bool) -> str:
    """A digest of all that decides the features of a split's videos."""
    about = (
        FORM,
        weights_digest(backbone),
        repr(backbone),
        (backbone.pooling, backbone.motion, backbone.mean.tolist(), backbone.std.tolist()),
        (clips.pack.digest, clips.split.videos, clips.crop, mixed),
        *([backbone.temporal] if backbone.temporal != "none" else []),
        *([clips.about] if clips.about else []),
    )
    return hashlib.sha256(repr(about).encode()).hexdigest()[:16]


def teacher_classifier(teacher: Teacher, fused: Tensor, text: Tensor | None = None) -> Classifier:
    """Logits of any episode of the split with these fused features (V, T, D).

    `text` (V, D) is of the names of their classes, for a teacher that hears names; it is looked at of supports
    alone.

    Raises:
        ValueError: the teacher is in training mode.
    """
    refuse_training(teacher, "teacher_classifier")
    judge: Any = teacher.head.folded(nn.Identity()) if teacher.names is None else teacher

    def encode(videos: np.ndarray) -> dict[str, Code]:
        rows = torch.from_numpy(videos).to(fused.device)
        given = (fused[rows],) if text is None else (fused[rows], text[rows])
        with torch.inference_mode():
            return {"fused": judge.encode(*given)}

    def match(support: Codes, labels: Tensor, query: Codes, way: int) -> Tensor:
        return judge.match(support["fused"], labels, query["fused"], way)

    return LookUp(encode, match, Held(len(fused), IN_MEMORY, fused.device))


def match_rows(match: Callable[..., Tensor], code: Code, episodes: Episodes, device: torch.device) -> Tensor:
    """What a teacher's `match` or `relate` says of episodes whose rows are rows of its `code`."""
    support, labels, query = (
        on_device(array, device) for array in (episodes.support, episodes.support_labels, episodes.query)
    )
    return match(tuple(x[support] for x in code), labels, tuple(x[query] for x in code), episodes.way)


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
