"""Depth from single frames by a network: Depth Anything V2 (Yang et al., NeurIPS 2024).

A vision Transformer that learned, first from drawn pictures and then from very many unlabelled ones, how near
things are, up to scale and shift. The network itself is that of the `transformers` library; weights are read
from a folder in its form (`config.json`, `preprocessor_config.json`, `model.safetensors`), never from pickled
files.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from litemkd.errors import CheckpointError
from litemkd.modalities.depth import PUBLISHED, encode_depth, resize_map
from litemkd.storage.weights import DOWNLOAD, Weights, digest_of_files

_FILES = ("config.json", "preprocessor_config.json", "model.safetensors")
_RANDOM_SIDE = 126  # random weights are for checks, which should be quick


class DepthAnything:
    """Depth Anything V2 as an estimator: frames in, nearness out.

    Args:
        weights: `download` (or `download:NAME` for another model of the hub), `random`, a folder, or the name
            of a model of the hub that is on this machine already.
        device: to compute on.

    Attributes:
        pairs: whether it looks at the following frames.
        side: the least short side, in pixels, that frames should come with; known once the weights are read.
    """

    pairs = False

    def __init__(self, weights: Weights, device: torch.device) -> None:
        self.weights, self.device = weights, device
        self.side = 0
        self._network: Any = None
        self._processor: Any = None

    def identity(self) -> str:
        """What the weights are: the digest of the folder's files, or the model's name.

        Raises:
            CheckpointError: a folder without the files.
        """
        folder = Path(self.weights.choice)
        if self.weights.random or not folder.is_dir():
            return "random, for checks only" if self.weights.random else self._hub_name()
        missing = [name for name in _FILES if not (folder / name).is_file()]
        if missing:
            raise CheckpointError(
                f"{self.weights.key}: {folder}: no {', '.join(missing)} there; a folder with "
                f"{', '.join(_FILES)}, as `save_pretrained` of transformers writes it, would do"
            )
        return f"sha256:{digest_of_files([folder / name for name in _FILES])}"

    def load(self) -> None:
        """Read the weights.

        Raises:
            CheckpointError: transformers is not installed; weights that are missing, damaged, or another
            network's.
        """
        if self._network is not None:
            return
        self.identity()
        try:
            import transformers
        except ImportError as error:
            raise CheckpointError(
                "depth by depth_anything needs the package transformers, which is not installed: "
                "pip install 'litemkd[depth]'"
            ) from error
        self._network, self._processor = self._random(transformers) if self.weights.random else self._read()
        self._network = self._network.eval().to(self.device)
        size = self._processor.size
        self.side = min(int(size["height"]), int(size["width"]))

    def estimate(self, frames: np.ndarray, following: np.ndarray) -> list[np.ndarray]:
        """How near every pixel is, N times (H, W) float32, larger is nearer.

        Args:
            frames: (N, H, W, 3) uint8 RGB.
            following: not looked at.
        """
        self.load()
        inputs = self._processor(images=list(frames), return_tensors="pt")
        with torch.inference_mode():
            found = self._network(pixel_values=inputs["pixel_values"].to(self.device)).predicted_depth.float()
            if getattr(self._network.config, "depth_estimation_type", "relative") == "metric":
                found = 1.0 / found.clamp(min=1e-3)
        return list(found.cpu().numpy())

    def encode(
        self, found: list[np.ndarray], before: tuple[int, int], size: tuple[int, int], short_side: int
    ) -> np.ndarray:
        """Depth as pictures of `size` (H, W), (T, H, W, 3) uint8, see `encode_depth`."""
        return encode_depth(np.stack([resize_map(one, size) for one in found]))

    def _hub_name(self) -> str:
        return self.weights.choice.partition(":")[2] or PUBLISHED if self._asked else self.weights.choice

    @property
    def _asked(self) -> bool:
        return self.weights.choice.partition(":")[0] == DOWNLOAD

    def _read(self) -> tuple[Any, Any]:
        from transformers import AutoImageProcessor, AutoModelForDepthEstimation

        name, local = self._hub_name(), not self._asked
        try:
            processor = AutoImageProcessor.from_pretrained(name, local_files_only=local)
            network, told = AutoModelForDepthEstimation.from_pretrained(
                name, local_files_only=local, use_safetensors=True, output_loading_info=True
            )
        except Exception as error:  # the library's own kinds, and those of the libraries below it
            first = str(error).strip().partition("\n")[0]
            would = (
                f"`download`, `{DOWNLOAD}:NAME` for a model of the hub, or a folder with {', '.join(_FILES)}"
            )
            raise CheckpointError(
                f"{self.weights.key}: {name}: cannot be {'read' if local else 'downloaded'} ({first}); {would} "
                "would do"
            ) from error
        lacking = sorted([*told["missing_keys"], *(str(key[0]) for key in told["mismatched_keys"])])
        if lacking:
            raise CheckpointError(
                f"{self.weights.key}: {name}: {len(lacking)} weights of the network are not in it or of "
                f"another shape, {lacking[0]} the first; the files are not of one model"
            )
        return network, processor

    def _random(self, transformers: Any) -> tuple[Any, Any]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network = transformers.AutoModelForDepthEstimation.from_config(transformers.DepthAnythingConfig())
        side = {"height": _RANDOM_SIDE, "width": _RANDOM_SIDE}
        return network, transformers.DPTImageProcessor(
            size=side,
            keep_aspect_ratio=True,
            ensure_multiple_of=14,
            image_mean=[0.485, 0.456, 0.406],
            image_std=[0.229, 0.224, 0.225],
        )
