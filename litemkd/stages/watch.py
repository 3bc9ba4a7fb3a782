"""watch: a student names what is shown in a file, by a camera, at an address or in a pipe, as it comes."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from litemkd.config import Config
from litemkd.data.finding.loose import find_classes
from litemkd.errors import DataError
from litemkd.evaluation.recognition import Examples, Recogniser
from litemkd.export.live import Asked, Engine, Watched, exported_engine, watch
from litemkd.stages.build import build_device
from litemkd.stages.loading import TORCH, champion_of, exported_folder, load_recogniser
from litemkd.storage.checkpoints import weights_digest


class TorchEngine:
    """A student as an `Engine`: it keeps features of frames where these do not depend on neighbours."""

    def __init__(self, recogniser: Recogniser) -> None:
        self.recogniser = recogniser
        self.frames, self.short_side, self.crop = recogniser.frames, recogniser.short_side, recogniser.crop
        self.frame_by_frame = recogniser.frame_by_frame
        self.identity = weights_digest(recogniser.student)
        self._examples: Examples | None = None

    def look(self, crops: np.ndarray) -> np.ndarray:
        """See `litemkd_runtime.watching.Engine`."""
        if not self.frame_by_frame:
            return crops
        return self.recogniser.features(crops[:, None])[:, 0].cpu().numpy()

    def learn(self, classes: Mapping[str, np.ndarray]) -> None:
        """See `litemkd_runtime.watching.Engine`."""
        labels = np.repeat(np.arange(len(classes)), [len(one) for one in classes.values()])
        self._examples = self.recogniser.examples(self._features(np.concatenate([*classes.values()])), labels)

    def answer(self, window: np.ndarray) -> tuple[np.ndarray, bool]:
        """See `litemkd_runtime.watching.Engine`."""
        if self._examples is None:
            raise RuntimeError("asked before it has learned a class")
        found = self.recogniser.answer(self._examples, self._features(window[None]))
        return found.probabilities[0], True if found.known is None else bool(found.known[0])

    def _features(self, windows: np.ndarray) -> torch.Tensor:
        if self.frame_by_frame:
            return torch.from_numpy(windows).to(self.recogniser.device)
        return self.recogniser.features(windows)


def watch_stage(
    config: Config, asked: Asked, *, support: Path | None, model: str | None, runtime: str = TORCH
) -> tuple[str, Watched]:
    """Watch a stream; decisions go to standard output, remarks to standard error. Nothing is logged.

    Args:
        config: the device, threads, and the data set whose champion is taken without `model`.
        asked: what to watch and what to make of it; its `support` is filled in here.
        support: folder of class folders; may be missing where classes are learned with keys.
        model: as of `predict`; an exported folder where `runtime` is not torch.
        runtime: `torch`, or that of an exported folder.

    Raises:
        CheckpointError: no such folder, or a model that is not a student.
        DataError: a source that is not there, clips that cannot be read, or one class alone.
        TrackingError: no such registered model.
    """
    if support is not None:
        classes: dict[str, list[Path]] = {}
        for clip in find_classes(support).clips:
            classes.setdefault(str(clip.claimed), []).append(clip.path)
        if len(classes) < 2 and not asked.names and asked.enrolled is None:
            raise DataError(f"{support} has one class folder, {next(iter(classes))}; two or more would do")
        asked = replace(asked, support=classes)
    engine: Engine
    if runtime == TORCH:
        source = model or champion_of(config)
        engine = TorchEngine(load_recogniser(source, build_device(config)))
    else:
        folder = exported_folder(config, model, runtime)
        source, engine = str(folder), exported_engine(folder, config.threads)
    return source, watch(engine, asked, sys.stdout, sys.stderr)
