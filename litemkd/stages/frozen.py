"""frozen: the features of an expert's frozen backbone, made once of every split and kept on disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from litemkd.data.packs.clips import ClipSource
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
        clips = setup.clips(modality, split)
        assert isinstance(clips, ClipSource)  # experts of arrays are refused when the configuration is read
        augmentation = build_augmentation(config)
        wanted = [clips]
        if split == "train":
            wanted += [View(clips, augmentation, config.seed, number) for number in range(1, views)]
        sources[split] = StoredFeatures(
            [
                backbone_features(backbone, one, cache, _label(modality, split, number, views))
                for number, one in enumerate(wanted)
            ],
            clips,
        )
    return Behind(expert.behind(Given(backbone)), sources)


def _label(modality: str, split: str, number: int, views: int) -> str:
    view = f", view {number + 1} of {views}" if split == "train" and views > 1 else ""
    return f"frozen {modality}, {split}{view}"
