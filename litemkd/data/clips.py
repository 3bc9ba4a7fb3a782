"""Clips of a split as tensors: augmented for training, centre crops for evaluation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from litemkd.data.packs import FramePack, crop_clips
from litemkd.data.splits import Split
from litemkd.seeding import numpy_generator


@dataclass(frozen=True)
class Augmentation:
    """What varies from one reading of a training clip to the next; the same for all frames of a clip.

    Attributes:
        flip: mirror half of the clips.
        scale: range of the crop's size as a share of the frame's short side; (1, 1) crops `crop` pixels as they
            are.
        jitter: largest change of brightness and contrast, as a share.
    """

    flip: bool = True
    scale: tuple[float, float] = (1.0, 1.0)
    jitter: float = 0.0


class ClipSource:
    """The clips of one split and modality.

    Args:
        pack: decoded frames.
        split: its videos give the rows.
        crop: side of the square crop, pixels.
        device: where tensors go; bytes travel, floats are made there.

    Raises:
        DataError: a video of the split is not in the pack.
    """

    def __init__(self, pack: FramePack, split: Split, *, crop: int, device: torch.device) -> None:
        self.pack, self.split, self.crop, self.device = pack, split, crop, device
        self.rows = pack.rows(split.videos)

    def centred(self, videos: np.ndarray) -> Tensor:
        """Centre crops of rows of the split: (V, T, 3, h, w) in [0, 1]."""
        return self._to_float(crop_clips(self.pack, self.rows[videos], self.crop))

    def augmented(self, videos: np.ndarray, augmentation: Augmentation, seed: int, number: int) -> Tensor:
        """Random crops of rows of the split for episode `number`: (V, T, 3, h, w) in [0, 1]."""
        rng = numpy_generator(seed, "augmentation", number)
        clips = self._to_float(
            crop_clips(
                self.pack,
                self.rows[videos],
                self.crop,
                rng=rng,
                flip=augmentation.flip,
                scale=augmentation.scale,
            )
        )
        if augmentation.jitter:
            draws = rng.uniform(-augmentation.jitter, augmentation.jitter, (2, len(videos), 1, 1, 1, 1))
            brightness, contrast = torch.from_numpy(draws.astype(np.float32)).to(self.device)
            clips = ((clips - 0.5) * (1 + contrast) + 0.5 + brightness).clamp(0, 1)
        return clips

    def _to_float(self, clips: np.ndarray) -> Tensor:
        # (V, T, h, w, 3) bytes; as (V, T, 3, h, w) they are channels_last without a copy
        return torch.from_numpy(clips).to(self.device).permute(0, 1, 4, 2, 3).float() / 255
