"""Clips from folders of JPEGs, frame by frame with Pillow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import functional


class FrameFolders:
    """Folders `<class>/<video>/` of JPEGs; the lists of files are read once, the pictures each time.

    Args:
        root: of the folders.
        videos: "class/video".
        size: side of the crops, pixels.
    """

    def __init__(self, root: Path, videos: tuple[str, ...], size: int) -> None:
        self.paths = {video: sorted((root / video).iterdir()) for video in videos}
        self.size = size

    def centred(self, video: str) -> Tensor:
        """Centre crops of a clip: (T, 3, h, w) in [0, 1]."""
        frames = [functional.center_crop(frame, [self.size]) for frame in self._open(video)]
        return torch.stack([functional.to_tensor(frame) for frame in frames])

    def augmented(self, video: str, down: float, across: float, mirrored: bool) -> np.ndarray:
        """A crop of a clip, (T, h, w, 3) uint8.

        Args:
            video: its name.
            down, across: where the crop lies, shares in [0, 1).
            mirrored: whether it is mirrored.
        """
        frames = []
        for frame in self._open(video):
            top = int(down * (frame.height - self.size + 1))
            left = int(across * (frame.width - self.size + 1))
            crop = functional.crop(frame, top, left, self.size, self.size)
            frames.append(np.asarray(functional.hflip(crop) if mirrored else crop))
        return np.stack(frames)

    def _open(self, video: str) -> list[Image.Image]:
        frames = [Image.open(path).convert("RGB") for path in self.paths[video]]
        return [functional.resize(frame, min(frame.size)) for frame in frames]
