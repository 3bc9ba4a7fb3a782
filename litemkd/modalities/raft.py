"""Optical flow by a network: RAFT (Teed and Deng, "RAFT: Recurrent All-Pairs Field Transforms for Optical
Flow", ECCV 2020), as torchvision holds it.

Features of both frames are compared for all pairs of places once; a recurrent unit then looks up the matches
round its present guess and corrects it, twelve times.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import optical_flow as tv_flow

from litemkd.errors import DataError
from litemkd.modalities.flow import encode_flow, flow_bound, resize_flow
from litemkd.storage.weights import Weights

# Its features have an eighth of the side, and are halved three times more for the coarsest matches.
MULTIPLE, MIN_SIDE = 8, 128


class Raft:
    """RAFT as an estimator: frames and those that follow them in, flow out.

    Args:
        weights: of `raft` (the large network) or `raft_small`.
        device: to compute on.

    Attributes:
        pairs: whether it looks at the following frames.
        side: the least short side, in pixels, that frames should come with.
    """

    pairs = True
    side = 0

    def __init__(self, weights: Weights, device: torch.device) -> None:
        self.weights, self.device = weights, device
        self._network: nn.Module | None = None

    def identity(self) -> str:
        """What the weights are."""
        return self.weights.identity()

    def load(self) -> None:
        """Read the weights. CheckpointError: they are missing, damaged, or another network's."""
        build = {"raft": tv_flow.raft_large, "raft_small": tv_flow.raft_small}[self.weights.method]
        self._network = self._network or self.weights.into(build).to(self.device)

    def estimate(self, frames: np.ndarray, following: np.ndarray) -> list[np.ndarray]:
        """The flow from each frame to the one that follows it, N times (H, W, 2) float32, dx and dy in pixels.

        Args:
            frames: (N, H, W, 3) uint8 RGB.
            following: (N, H, W, 3) uint8 RGB.

        Raises:
            DataError: the network gave values that are not numbers.
        """
        self.load()
        assert self._network is not None
        height, width = frames.shape[1:3]
        larger = max(1.0, MIN_SIDE / min(height, width))
        size = (max(MIN_SIDE, round(height * larger)), max(MIN_SIDE, round(width * larger)))
        size = size if larger > 1 else (height, width)
        pair = [self._prepared(images, size) for images in (frames, following)]
        with torch.inference_mode():
            found = self._network(*pair)[-1][..., : size[0], : size[1]]
        flow = found.permute(0, 2, 3, 1).float().cpu().numpy()
        if not np.isfinite(flow).all():
            raise DataError("the flow that the network gave has values that are not numbers")
        return [resize_flow(one, (height, width)) for one in flow]

    def encode(
        self, found: list[np.ndarray], before: tuple[int, int], size: tuple[int, int], short_side: int
    ) -> np.ndarray:
        """Flow as pictures, (T, H, W, 3) uint8, see `encode_flow`.

        Args:
            found: T flows as `estimate` gives them.
            before: (H, W) of the frames they are of.
            size: (H, W) of the pictures.
            short_side: of the pictures, in pixels.
        """
        return encode_flow(np.stack([resize_flow(flow, size) for flow in found]), flow_bound(short_side))

    def _prepared(self, images: np.ndarray, size: tuple[int, int]) -> Tensor:
        """(N, 3, H', W') in [-1, 1], grown to `size` and padded to multiples of 8 by repeating the edges."""
        tensor = torch.from_numpy(images).to(self.device).permute(0, 3, 1, 2).float() / 127.5 - 1.0
        if tensor.shape[-2:] != size:
            tensor = F.interpolate(tensor, size, mode="bilinear", align_corners=False)
        below, right = (-side % MULTIPLE for side in size)
        return F.pad(tensor, (0, right, 0, below), mode="replicate")
