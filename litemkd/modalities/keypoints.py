"""People in a frame, as 17 joints each: Keypoint R-CNN (He et al., "Mask R-CNN", ICCV 2017), as torchvision
holds it.

Boxes that may hold a person are proposed from a feature pyramid; each is scored, and for each joint a map of
the box is made, whose highest place is the joint. People are drawn where they stand in the picture.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn
from torchvision.models.detection import keypointrcnn_resnet50_fpn

from litemkd.modalities.skeleton import draw_people
from litemkd.storage.weights import Weights

SIDE = 640  # pixels of the short side that the network sees; it was trained on 640 to 800
PEOPLE = 5  # drawn at most in a frame, the most certain ones
MIN_SCORE = 0.7  # of a person, 0 to 1
MIN_JOINT = 2.0  # of a joint: the height of its map, a logit
_RANDOM_SIDE = 128  # random weights are for checks, which should be quick


class KeypointRcnn:
    """Keypoint R-CNN as an estimator: frames in, people out.

    With random weights all scores are alike and mean nothing, so thresholds are dropped, and the
    network sees few proposals of small pictures.

    Args:
        weights: of `keypoint_rcnn`.
        device: to compute on.

    Attributes:
        pairs: whether it looks at the following frames.
        side: the least short side, in pixels, that frames should come with.
    """

    pairs = False

    def __init__(self, weights: Weights, device: torch.device) -> None:
        self.weights, self.device = weights, device
        self.side = _RANDOM_SIDE if weights.random else SIDE
        self._network: nn.Module | None = None

    def identity(self) -> str:
        """What the weights are."""
        return self.weights.identity()

    def load(self) -> None:
        """Read the weights. CheckpointError: they are missing, damaged, or another network's."""
        few = {"rpn_post_nms_top_n_test": 30, "box_score_thresh": 0.0} if self.weights.random else {}

        def build(weights: Any) -> nn.Module:
            # Without `weights_backbone=None` torchvision would fetch the backbone's, unasked.
            network: nn.Module = keypointrcnn_resnet50_fpn(
                weights=weights,
                weights_backbone=None,
                min_size=self.side,
                max_size=3 * self.side,
                box_detections_per_img=2 * PEOPLE,
                **few,
            )
            return network

        self._network = self._network or self.weights.into(build).to(self.device)

    def estimate(self, frames: np.ndarray, following: np.ndarray) -> list[np.ndarray]:
        """The people of each frame, N times (P, 17, 3) float32: x, y in pixels, and 1 for joints that are seen,
        else 0.

        Args:
            frames: (N, H, W, 3) uint8 RGB.
            following: not looked at.
        """
        self.load()
        assert self._network is not None
        tensors = torch.from_numpy(frames).to(self.device).permute(0, 3, 1, 2).float() / 255.0
        with torch.inference_mode():
            found = self._network(list(tensors))
        people = []
        for one in found:
            sure = one["scores"] >= (-torch.inf if self.weights.random else MIN_SCORE)
            best = sure.nonzero()[:PEOPLE, 0]  # torchvision gives them by falling score
            joints = one["keypoints"][best].float()
            seen = one["keypoints_scores"][best] >= (-torch.inf if self.weights.random else MIN_JOINT)
            joints[..., 2] = seen.float()
            people.append(joints.cpu().numpy())
        return people

    def encode(
        self, found: list[np.ndarray], before: tuple[int, int], size: tuple[int, int], short_side: int
    ) -> np.ndarray:
        """Pictures of the people, (T, H, W, 3) uint8, see `draw_people`.

        Args:
            found: the people of T frames, as `estimate` gives them.
            before: (H, W) of the frames they are of.
            size: (H, W) of the pictures.
            short_side: of the pictures, in pixels.
        """
        scale = np.array([size[1] / before[1], size[0] / before[0], 1.0], np.float32)
        return np.stack([draw_people(list(people * scale), size) for people in found])
