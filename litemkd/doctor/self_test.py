"""A self-test of ten seconds: a film is written and read back, and a small student learns on the device."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from litemkd.config import BackboneConfig, HeadConfig, StudentConfig
from litemkd.data.toy.actions import ACTIONS
from litemkd.data.toy.dataset import ToySettings, make_clip, write_video
from litemkd.doctor.finding import Finding
from litemkd.recordings.videos import read_video
from litemkd.stages.build import build_student

WAY, SHOT, QUERIES = 2, 2, 1
_FRAMES, _SIDE, _STEPS = 8, 64, 4
_OFF = 16.0  # grey levels that encoding may cost on average; colours have half the resolution


def self_test(device: torch.device) -> Iterator[Finding]:
    """What works from a film to a step of training, each as a finding.

    Raises:
        Exception: whatever went wrong on the way.
    """
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        clips, off = _clips(Path(folder))
    words = f"{len(clips)} clips written and read back, {off:.1f} of 255 grey levels off"
    yield Finding(
        "self-test", "films", words, *(() if off < _OFF else ("wrong", "another build of PyAV would do"))
    )
    first, last = _learn(torch.from_numpy(clips).to(device))
    words = f"loss {first:.3f}, after {_STEPS} steps {last:.3f}, on {device}"
    fine = np.isfinite(last) and last < first
    yield Finding(
        "self-test", "training", words, *(() if fine else ("wrong", "another build of torch would do"))
    )
    yield Finding("self-test", "time", f"{time.perf_counter() - begun:.1f} s")


def _clips(folder: Path) -> tuple[np.ndarray, float]:
    """Clips (V, T, 3, H, W) in [0, 1] as read from films, class by class, and how far they are off."""
    settings = ToySettings(frames=_FRAMES, size=_SIDE)
    read, off = [], []
    for action in ACTIONS[:WAY]:
        for number in range(SHOT + QUERIES):
            pictures = make_clip(action, number, settings).pictures["rgb"]
            path = folder / f"{action.name}_{number}.mp4"
            write_video(path, pictures, exact=False)
            frames = read_video(path, _FRAMES, _SIDE).frames
            off.append(np.abs(frames.astype(float) - pictures).mean())
            read.append(frames.transpose(0, 3, 1, 2).astype(np.float32) / 255)
    return np.stack(read), float(np.mean(off))


def _learn(clips: torch.Tensor) -> tuple[float, float]:
    """The loss of one episode before and after a few steps on it."""
    small = BackboneConfig(name="conv4", weights="none", normalise="motion", pooling="flatten")
    config = StudentConfig(backbone=small, width=32, head=HeadConfig(name="trx", width=32))
    student = build_student(config, _FRAMES, seed=0).to(clips.device).train()
    rows = torch.arange(len(clips), device=clips.device).view(WAY, SHOT + QUERIES)
    support, query = rows[:, :SHOT].reshape(1, -1), rows[:, SHOT:].reshape(1, -1)
    labels = torch.arange(WAY, device=clips.device)
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-3)
    losses = []
    for _ in range(_STEPS + 1):
        features = student.branch_features(student.frame_features(clips))
        logits = student(features, support, labels.repeat_interleave(SHOT)[None], query, WAY)
        loss = torch.nn.functional.cross_entropy(student.predict(logits)[0], labels.repeat_interleave(QUERIES))
        losses.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return losses[0], losses[-1]
