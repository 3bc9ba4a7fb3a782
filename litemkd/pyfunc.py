"""How MLflow loads a logged student: `mlflow.pyfunc.load_model` and `mlflow models serve` come here.

The logged folder holds plain weights and a description of the architecture; no pickled code is ever run.
"""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE

from litemkd.data.finding.loose import centre_crops, read_centre
from litemkd.data.frames import decode_frame
from litemkd.errors import CheckpointError, EpisodeError, LitemkdError
from litemkd.evaluation.calibration import read_calibration
from litemkd.evaluation.recognition import Recogniser
from litemkd.models.student import Student
from litemkd.stages.build import load_model
from litemkd.storage.checkpoints import read_description

QUERY = -1  # in the labels
OPEN = "none_of_these"  # of the inputs


class RequestError(MlflowException, EpisodeError):
    """A mistake in what was asked. A server tells its client the message of MLflow's own errors alone."""

    def __init__(self, told: str) -> None:
        self._told = told
        super().__init__(told, error_code=INVALID_PARAMETER_VALUE)

    @property
    def message(self) -> str:
        """What is wrong."""
        return self._told

    @message.setter
    def message(self, _: str) -> None:
        """Nothing: the server would put the whole request, pictures and all, before the message."""


class Predictor:
    """A student that names the queries of one episode.

    Args:
        recogniser: the student, and what its clips look like.
    """

    def __init__(self, recogniser: Recogniser) -> None:
        self.recogniser = recogniser
        self.student = recogniser.student

    def predict(self, inputs: Any, params: Mapping[str, Any] | None = None) -> np.ndarray:
        """Probabilities of the classes of each query, (Q, W), the queries in the order of the clips.

        Args:
            inputs: clips in one of three forms, and `labels` (V,), whole numbers: 0 … W - 1 for a support, -1
                for a query. The clips are `frames` (V, T, H, W, 3), centre crops, whole numbers from 0 to 255
                or others from 0 to 1; or `frames` (V, T), pictures; or `videos` (V,), video files. Pictures
                and files are text, base64; their frames are chosen and cut as by `litemkd predict`. With
                `none_of_these` = true a row has one more number: 1 for a query that is of none of the
                classes, else 0.
            params: not used; MLflow passes it.

        Raises:
            RequestError: another form of input, no query, a class without a support, or an unreadable clip.
        """
        from litemkd.tracking.tracing import span  # takes a second, which a request and not the start waits for

        try:
            with span("predict", _told_of(inputs)) as told:
                found = self._predict(inputs)
                told({"probabilities": found.round(4).tolist()})
                return found
        except LitemkdError as error:
            raise RequestError(str(error)) from error

    def _predict(self, inputs: Any) -> np.ndarray:
        asked = set(inputs) - {OPEN} if isinstance(inputs, Mapping) else set()
        if asked not in ({"frames", "labels"}, {"videos", "labels"}):
            found = list(inputs) if isinstance(inputs, Mapping) else type(inputs).__name__
            raise EpisodeError(
                f"inputs: {found} given; a mapping with `frames` and `labels` would do, or with `videos` "
                "and `labels`"
            )
        kind = "frames" if "frames" in inputs else "videos"
        clips = _array(inputs, kind)
        check = self._check_frames if kind == "frames" else _check_videos
        check(clips)  # before labels, whose number is that of the clips
        labels = _labels(_array(inputs, "labels"), len(clips))
        crops = self._of_videos(clips) if kind == "videos" else self._of_frames(clips)
        features = self.recogniser.features(crops)
        support, query = (torch.from_numpy(np.flatnonzero(rows)) for rows in (labels >= 0, labels < 0))
        answer = self.recogniser.recognise(features[support], labels[labels >= 0], features[query])
        if not _is_asked(inputs):
            return answer.probabilities
        if answer.known is None:
            raise EpisodeError(f"{OPEN}: true given; this model has no threshold, false would do")
        return np.column_stack([answer.probabilities, ~answer.known]).astype(np.float32)

    def _check_frames(self, frames: np.ndarray) -> None:
        """EpisodeError: neither numbers (V, T, H, W, 3) nor pictures (V, T), or of no clip."""
        about = self.recogniser
        wanted = (about.frames, about.crop, about.crop, 3)
        pictures = frames.dtype.kind == "U" and frames.shape[1:] == wanted[:1]
        if not len(frames.shape) or not len(frames) or not (pictures or frames.shape[1:] == wanted):
            hint = "; frames[None] for one clip" * (frames.shape == wanted)
            raise EpisodeError(
                f"frames: shape {frames.shape} of {frames.dtype} given; (V, {', '.join(map(str, wanted))}) "
                f"would do: clips, frames, height, width, colours; or (V, {about.frames}) pictures in "
                f"base64{hint}"
            )

    def _of_frames(self, frames: np.ndarray) -> np.ndarray:
        """Crops (V, T, H, W, 3) of frames as numbers, or as pictures."""
        if frames.dtype.kind == "U":
            return np.stack([self._of_pictures(row, f"clip {v}") for v, row in enumerate(frames.tolist())])
        if not (np.issubdtype(frames.dtype, np.integer) or np.issubdtype(frames.dtype, np.floating)):
            raise EpisodeError(f"frames: {frames.dtype} given; numbers, or pictures in base64, would do")
        low, high = frames.min(), frames.max()
        if np.issubdtype(frames.dtype, np.integer) and low >= 0 and high <= 255:
            return frames.astype(np.uint8)
        if np.issubdtype(frames.dtype, np.floating) and low >= 0 and high <= 1:
            return frames.astype(np.float32)
        raise EpisodeError(
            f"frames: {frames.dtype} from {low} to {high} given; whole numbers from 0 to 255, or numbers from "
            "0 to 1, would do"
        )

    def _of_pictures(self, pictures: list[str], name: str) -> np.ndarray:
        decoded = [
            decode_frame(_bytes(text, f"frames, {name}"), f"{t} of {name}") for t, text in enumerate(pictures)
        ]
        return centre_crops(decoded, self.recogniser.short_side, self.recogniser.crop, name)

    def _of_videos(self, videos: np.ndarray) -> np.ndarray:
        """Crops (V, T, H, W, 3) of video files."""
        about, crops = self.recogniser, []
        with tempfile.TemporaryDirectory() as scratch:
            for v, text in enumerate(videos.tolist()):
                file = Path(scratch) / f"clip {v}"
                file.write_bytes(_bytes(text, f"videos, clip {v}"))
                crops.append(read_centre(file, about.frames, about.short_side, about.crop))
                file.unlink()
        return np.stack(crops)


def _told_of(inputs: Any) -> dict[str, str]:
    """What a trace tells of what was asked: no frames."""
    if not isinstance(inputs, Mapping):
        return {"given": type(inputs).__name__}
    return {"given": ", ".join(map(str, inputs)), "labels": str(inputs.get("labels"))[:500]}


def _array(inputs: Mapping[str, Any], name: str) -> np.ndarray:
    try:
        return np.asarray(inputs[name])
    except ValueError as error:  # lists of different lengths
        told = (str(error).strip() or "no array").splitlines()[0]
        raise EpisodeError(f"{name}: {told}; lists of one length, or an array, would do") from None


def _is_asked(inputs: Mapping[str, Any]) -> bool:
    asked = np.asarray(inputs.get(OPEN, False))
    if asked.dtype != bool or asked.size != 1:
        raise EpisodeError(f"{OPEN}: {asked.tolist()!r} given; true or false would do")
    return bool(asked.item())


def _check_videos(videos: np.ndarray) -> None:
    """EpisodeError: no texts (V,), or none at all."""
    if videos.ndim != 1 or videos.dtype.kind != "U" or not len(videos):
        raise EpisodeError(
            f"videos: shape {videos.shape} of {videos.dtype} given; (V,) texts, each a file in base64, would do"
        )


def _bytes(text: str, name: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise EpisodeError(f"{name}: not base64 ({error}); the bytes of a file in base64 would do") from None


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
    model = load_model(Path(path))
    if not isinstance(model, Student):
        raise CheckpointError(
            f"{path}: a teacher, which needs features of all modalities; "
            "litemkd.stages.build.load_model loads it, a student can be loaded here"
        )
    described = read_description(Path(path))
    return Predictor(
        Recogniser(
            model,
            frames=described["frames"],
            crop=described["crop"],
            short_side=described["short_side"],
            calibration=read_calibration(Path(path)),
        )
    )
