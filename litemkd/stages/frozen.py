"""frozen: the features of an expert's frozen backbone, made once of every split and kept on disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from litemkd.data.packs.clips import ClipSource
from litemkd.data.splits import make_split
from litemkd.evaluation.embedding import backbone_features
from litemkd.models.folding import fold_norms
from litemkd.models.student import Student
from litemkd.models.tuned import Given
from litemkd.stages.build import build_augmentation
from litemkd.stages.setup import Setup
from litemkd.storage.array_cache import ArrayCache
from litemkd.training.stored import StoredFeatures, View

KEPT = 64  # sets of features: of each split, view and modality one


@dataclass(frozen=True)
class Behind:
    """What is trained of an expert with a frozen backbone, and on what.

    Attributes:
        student: the expert's own branches and head, without the backbone.
        sources: by split, the features that take the place of its clips.
    """

    student: Student
    sources: Mapping[str, ClipSource]


def behind_frozen(setup: Setup, modality: str, expert: Student) -> Behind:
    """An expert whose backbone is frozen, in the form in which it is trained and makes its features.

    Features of what was made before, by these weights of these clips, are read from disk. The train split has
    `views` of each clip: the centre crop, and cuts as the augmentation makes them.
    """
    config = setup.config
    cache = ArrayCache(config.dataset_dir / "embeddings" / "frozen", keep=KEPT)
    backbone = fold_norms(expert.eval().backbone.to(setup.device))
    views = config.teacher.expert_for(modality).views
    sources = {}
    for split in setup.data.splits:
        clips = setup.pictures(modality, split)
        whole, rows = _of_all_folds(setup, clips)
        augmentation = build_augmentation(config)
        wanted = [whole]
        if split == "train":
            wanted += [View(whole, augmentation, config.seed, number) for number in range(1, views)]
        made = [
            backbone_features(backbone, one, cache, _label(modality, whole.split.name, number, views))
            for number, one in enumerate(wanted)
        ]
        sources[split] = StoredFeatures([one if rows is None else one[rows] for one in made], clips)
    return Behind(expert.behind(Given(backbone)), sources)


def _of_all_folds(setup: Setup, clips: ClipSource) -> tuple[ClipSource, np.ndarray | None]:
    """The clips of all folds, whose features they share, and the rows of these clips among them.

    Without folds the clips themselves, and None.
    """
    lists = setup.data.lists
    if lists is None or not lists.everything:
        return clips, None
    there = set(clips.pack.names)
    split = make_split("folds", [video for video in lists.everything if video in there])
    place = {video: row for row, video in enumerate(split.videos)}
    rows = np.array([place[video] for video in clips.split.videos], np.int64)
    return ClipSource(clips.pack, split, crop=clips.crop, device=clips.device), rows


def _label(modality: str, split: str, number: int, views: int) -> str:
    view = f", view {number + 1} of {views}" if split in ("train", "folds") and views > 1 else ""
    return f"frozen {modality}, {split}{view}"
