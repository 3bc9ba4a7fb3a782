"""features: per-frame features of every modality by the experts, then the teacher's fused features, on disk.

What is on disk and of the same origin is read, not computed again.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from litemkd.checkpoints import weights_digest
from litemkd.config import Config
from litemkd.data.features import (
    FUSED,
    feature_folder,
    features_digest,
    made_from,
    read_features,
    write_features,
)
from litemkd.data.splits import Split
from litemkd.distributed import barrier, group
from litemkd.embedding import branch_embeddings, fuse_all
from litemkd.errors import DataError
from litemkd.models.student import LABEL, Student
from litemkd.models.teacher import Teacher
from litemkd.stages.common import clip_source
from litemkd.stages.prepare import Prepared

# Of each split: (V, T, D) in the order of its videos.
SplitFeatures = dict[str, Tensor]


def refuse_foreign(config: Config) -> None:
    """Check, before anything is trained, that features can be written without writing over the user's own.

    Raises:
        DataError: a folder holds features without a record of their origin (released ones, say).
    """
    own = config.teacher.modalities if config.teacher.experts == "train" else ()
    folders = {str(modality): feature_folder(config.dataset_dir, modality) for modality in own}
    folders[FUSED] = config.dataset_dir / "feature" / FUSED
    for name, folder in folders.items():
        if folder.is_dir() and any(folder.iterdir()) and made_from(folder) is None:
            use = "to use them set teacher.experts=features, " if name in own else ""
            raise DataError(
                f"{folder}: holds features of unknown origin; {use}to have {name} features made anew move the "
                "folder away"
            )


def expert_features(
    config: Config, data: Prepared, modality: str, expert: Student, device: torch.device
) -> SplitFeatures:
    """Features of one modality by its expert, read from disk if these very weights made them."""
    fingerprint = weights_digest(expert)
    folder = feature_folder(config.dataset_dir, modality)
    if (kept := _kept(config, data, folder, fingerprint, device)) is not None:
        return kept
    expert.to(device).eval()
    made = {
        split: branch_embeddings(expert, clip_source(config, data, modality, split, device))[LABEL].clone()
        for split in data.splits
    }
    _write(folder, data, made, {"modality": modality, "expert": fingerprint})
    return made


def features_on_disk(config: Config, data: Prepared, modality: str, device: torch.device) -> SplitFeatures:
    """Features that the user put there."""
    folder = feature_folder(config.dataset_dir, modality)
    return _read(config, data, folder, device)


def features_on_disk_digest(config: Config, data: Prepared, modality: str) -> str:
    """A digest of the content of those features. Missing ones are no error here: reading tells of them."""
    videos = [video for split in data.splits.values() for video in split.videos]
    return features_digest(feature_folder(config.dataset_dir, modality), videos)


def fused_features(
    config: Config,
    data: Prepared,
    teacher: Teacher,
    features: Mapping[str, SplitFeatures],
    fingerprint: str,
    device: torch.device,
) -> SplitFeatures:
    """Fused features of all videos by `teacher.fuse`, written in the released layout.

    `fingerprint` is of the weights of teacher and experts; features on disk of the same are read.
    """
    folder = config.dataset_dir / "feature" / FUSED
    if (kept := _kept(config, data, folder, fingerprint, device)) is not None:
        return kept
    teacher.to(device).eval()
    made = {
        split: fuse_all(
            teacher, {modality: features[modality][split] for modality in config.teacher.modalities}
        )
        for split in data.splits
    }
    made = {split: fused.clone() for split, fused in made.items()}
    _write(folder, data, made, {"teacher": fingerprint})
    return made


def _kept(
    config: Config, data: Prepared, folder: Path, fingerprint: str, device: torch.device
) -> SplitFeatures | None:
    record = made_from(folder)
    if record is None or fingerprint not in record.values() or record.get("data") != data.digest:
        return None
    return _read(config, data, folder, device)


def _read(config: Config, data: Prepared, folder: Path, device: torch.device) -> SplitFeatures:
    return {
        split.name: torch.from_numpy(read_features(folder, split.videos, config.data.frames)).to(device)
        for split in data.splits.values()
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
