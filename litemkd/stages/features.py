"""features: per-frame features of every modality by the experts, then the teacher's fused features, on disk.

What is on disk and of the same origin is read, not computed again.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from litemkd.data.features import (
    FUSED,
    feature_folder,
    features_digest,
    made_from,
    read_features,
    write_features,
)
from litemkd.data.packs.arrays import Source
from litemkd.data.splits import Split
from litemkd.errors import DataError
from litemkd.evaluation.embedding import branch_embeddings, fuse_all
from litemkd.models.student import LABEL, Student
from litemkd.models.teacher import Teacher
from litemkd.runtime.distributed import barrier, group
from litemkd.stages.frozen import behind_frozen
from litemkd.stages.prepare import Prepared
from litemkd.stages.setup import Setup
from litemkd.storage.checkpoints import weights_digest

# Of each split: (V, T, D) in the order of its videos.
SplitFeatures = dict[str, Tensor]


def refuse_foreign(setup: Setup) -> None:
    """Check, before anything is trained, that features can be written without writing over the user's own.

    Raises:
        DataError: a folder holds features without a record of their origin (released ones, say).
    """
    config = setup.config
    own = config.teacher.modalities if config.teacher.experts == "train" else ()
    folders = {str(modality): feature_folder(config.made_dir, modality) for modality in own}
    folders[FUSED] = config.made_dir / "feature" / FUSED
    for name, folder in folders.items():
        if folder.is_dir() and any(folder.iterdir()) and made_from(folder) is None:
            use = "to use them set teacher.experts=features, " if name in own else ""
            raise DataError(
                f"{folder}: holds features of unknown origin; {use}to have {name} features made anew move the "
                "folder away"
            )


def expert_features(setup: Setup, modality: str, expert: Student) -> SplitFeatures:
    """Features of one modality by its expert, read from disk if these very weights made them."""
    fingerprint = weights_digest(expert)
    folder = feature_folder(setup.config.made_dir, modality)
    if (kept := _kept(setup, folder, fingerprint)) is not None:
        return kept
    expert.to(setup.device).eval()
    sources: Mapping[str, Source]
    if setup.config.teacher.expert_for(modality).frozen:
        behind = behind_frozen(setup, modality, expert)
        expert, sources = behind.student.eval(), behind.sources
    else:
        sources = {split: setup.clips(modality, split, expert) for split in setup.data.splits}
    made = {split: branch_embeddings(expert, clips)[LABEL].clone() for split, clips in sources.items()}
    _write(folder, setup.data, made, {"modality": modality, "expert": fingerprint})
    return made


def features_on_disk(setup: Setup, modality: str) -> SplitFeatures:
    """Features that the user put there."""
    return _read(setup, feature_folder(setup.config.dataset_dir, modality))


def features_on_disk_digest(setup: Setup, modality: str) -> str:
    """A digest of the content of those features. Missing ones are no error here: reading tells of them."""
    videos = [video for split in setup.data.splits.values() for video in split.videos]
    return features_digest(feature_folder(setup.config.dataset_dir, modality), videos)


def fused_features(
    setup: Setup, teacher: Teacher, features: Mapping[str, SplitFeatures], fingerprint: str
) -> SplitFeatures:
    """Fused features of all videos by `teacher.fuse`, written in the released layout.

    `fingerprint` is of the weights of teacher and experts; features on disk of the same are read.
    """
    folder = setup.config.made_dir / "feature" / FUSED
    if (kept := _kept(setup, folder, fingerprint)) is not None:
        return kept
    teacher.to(setup.device).eval()
    modalities = setup.config.teacher.modalities
    made = {
        split: fuse_all(teacher, {modality: features[modality][split] for modality in modalities}).clone()
        for split in setup.data.splits
    }
    _write(folder, setup.data, made, {"teacher": fingerprint})
    return made


def _kept(setup: Setup, folder: Path, fingerprint: str) -> SplitFeatures | None:
    record = made_from(folder)
    if record is None or fingerprint not in record.values() or record.get("data") != setup.data.digest:
        return None
    return _read(setup, folder)


def _read(setup: Setup, folder: Path) -> SplitFeatures:
    return {
        split.name: torch.from_numpy(read_features(folder, split.videos, setup.config.data.frames)).to(
            setup.device
        )
        for split in setup.data.splits.values()
    }


def _write(folder: Path, data: Prepared, made: SplitFeatures, origin: Mapping[str, str]) -> None:
    barrier()  # nobody is still looking at what was there
    named: dict[str, np.ndarray] = {}
    for name, values in made.items():
        split: Split = data.splits[name]
        named |= dict(zip(split.videos, values.cpu().numpy(), strict=True))
    if group().main:
        write_features(folder, named, {**origin, "data": data.digest})
    barrier()
