"""How MLflow loads a logged student: `mlflow.pyfunc.load_model` and `mlflow models serve` come here.

The logged folder holds plain weights and a description of the architecture; no pickled code is ever run.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from litemkd.errors import EpisodeError

if TYPE_CHECKING:
    from litemkd.models.student import Student

QUERY = -1  # in the labels


class Predictor:
    """A student that names the queries of one episode.

    Args:
        student: in eval mode.
        frames: T of a clip.
        crop: height and width of a frame, pixels.
    """

    def __init__(self, student: Student, frames: int, crop: int) -> None:
        self.student, self.frames, self.crop = student, frames, crop

    def predict(self, inputs: Any, params: Mapping[str, Any] | None = None) -> np.ndarray:
        """Probabilities of the classes of each query, (Q, W), the queries in the order of the clips.

        Args:
            inputs: `frames` (V, T, H, W, 3), centre crops, uint8 or numbers from 0 to 1; `labels` (V,) whole
                numbers: 0 … W - 1 for a support, -1 for a query.
            params: not used; MLflow passes it.

        Raises:
            EpisodeError: another form of input, no query, or a class without a support.
        """
        import torch

        if not isinstance(inputs, Mapping) or inputs.keys() ^ {"frames", "labels"}:
            found = list(inputs) if isinstance(inputs, Mapping) else type(inputs).__name__
            raise EpisodeError(f"inputs: {found} given; a mapping with `frames` and `labels` would do")
        clips = self._clips(np.asarray(inputs["frames"]))
        labels = _labels(np.asarray(inputs["labels"]), len(clips))
        support, query = (torch.from_numpy(np.flatnonzero(rows))[None] for rows in (labels >= 0, labels < 0))
        with torch.inference_mode():
            features = self.student.branch_features(self.student.frame_features(torch.from_numpy(clips)))
            wanted = torch.from_numpy(labels)[support]
            logits = self.student(features, support, wanted, query, int(labels.max()) + 1)
            return self.student.predict(logits)[0].softmax(-1).numpy(force=True)

    def _clips(self, frames: np.ndarray) -> np.ndarray:
        """(V, T, 3, H, W) float32 in [0, 1]."""
        wanted = (self.frames, self.crop, self.crop, 3)
        if frames.ndim != 5 or frames.shape[1:] != wanted:
            raise EpisodeError(
                f"frames: shape {frames.shape} given; (V, {', '.join(map(str, wanted))}) would do: clips, "
                "frames, height, width, colours"
            )
        if frames.dtype == np.uint8:
            scaled = frames.astype(np.float32) / 255
        elif np.issubdtype(frames.dtype, np.floating) and frames.min() >= 0 and frames.max() <= 1:
            scaled = frames.astype(np.float32)
        else:
            raise EpisodeError(
                f"frames: {frames.dtype} from {frames.min()} to {frames.max()} given; uint8, or numbers from 0 "
                "to 1, would do"
            )
        return np.moveaxis(scaled, -1, 2)


def _labels(labels: np.ndarray, clips: int) -> np.ndarray:
    """(V,) int64."""
    if labels.shape != (clips,) or not np.issubdtype(labels.dtype, np.integer) or labels.min() < QUERY:
        raise EpisodeError(
            f"labels: shape {labels.shape} of {labels.dtype} given; ({clips},) whole numbers would do, one a "
            f"clip: 0, 1, … for the class of a support, {QUERY} for a query"
        )
    present = np.unique(labels)
    if present[0] != QUERY or len(present) < 2:
        raise EpisodeError(f"labels: {labels.tolist()} given; at least one support and one query ({QUERY})")
    return labels.astype(np.int64)


def _load_pyfunc(path: str) -> Predictor:
    """Called by MLflow with the folder of `weights.safetensors` and `model.json`."""
    from litemkd.checkpoints import read_description
    from litemkd.errors import CheckpointError
    from litemkd.models.student import Student
    from litemkd.stages.build import load_model

    model = load_model(Path(path))
    if not isinstance(model, Student):
        raise CheckpointError(
            f"{path}: a teacher, which needs features of all modalities; "
            "litemkd.stages.build.load_model loads it, a student can be loaded here"
        )
    described = read_description(Path(path))
    return Predictor(model, described["frames"], described["crop"])
