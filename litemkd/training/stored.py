"""Features of a split's clips in the place of the clips, where the backbone that made them is frozen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple

import numpy as np
import torch
from torch import Tensor

from litemkd.data.packs.clips import Augmentation, ClipSource, Cut
from litemkd.runtime.seeding import numpy_generator


class View(ClipSource):
    """The clips of a split as an augmentation once cuts them; `centred` gives these cuts.

    Args:
        clips: of the split.
        augmentation: of the cuts.
        seed: with `number`, of what chance decides for each clip.
        number: of the view, from 1: view 0 is the centre crop.
    """

    def __init__(self, clips: ClipSource, augmentation: Augmentation, seed: int, number: int) -> None:
        self.__dict__.update(clips.__dict__)
        self.augmentation, self.seed, self.number = augmentation, seed, number
        self.about = ("view", number, seed, astuple(augmentation))

    def centred(self, videos: np.ndarray) -> Tensor:
        """The cuts of rows of the split, (V, T, 3, h, w) in [0, 1]; each clip's are its own."""
        first = self.number * len(self.split.videos)
        cuts = [
            self.augmented(videos[i : i + 1], self.augmentation, self.seed, first + int(videos[i]))
            for i in range(len(videos))
        ]
        return torch.cat(cuts)


class StoredFeatures(ClipSource):
    """Features that a frozen backbone made, where a training looks for clips.

    Args:
        views: of each view the features (V, T[, places], C) of the split's videos; the first one is of the
            centre crops, and is what validation sees.
        clips: whose they are.
    """

    def __init__(self, views: Sequence[np.ndarray], clips: ClipSource) -> None:
        self.__dict__.update(clips.__dict__)
        self.views = views

    def centred(self, videos: np.ndarray) -> Tensor:
        """(V, T[, places], C) of rows of the split."""
        return torch.from_numpy(self.views[0][videos]).to(self.device)

    def cut(self, videos: np.ndarray, augmentation: Augmentation, seed: int, number: int) -> Cut:
        """Features of rows of the split for episode `number`, each clip's of a view that chance chooses."""
        chosen = numpy_generator(seed, "views", number).integers(len(self.views), size=len(videos))
        rows = [self.views[view][video] for view, video in zip(chosen, videos, strict=True)]
        return Cut(torch.from_numpy(np.stack(rows)))

    def finish(self, cut: Cut) -> Tensor:
        """The features on the device."""
        return cut.clips.to(self.device)
