"""Small things that several tests need."""

from __future__ import annotations

import gc
import socket
from collections.abc import Callable, Sequence
from typing import Any

import av
import numpy as np
import pytest
import torch

from litemkd.data.episodes import Episodes
from litemkd.data.splits import Split, make_split
from litemkd.modalities.record import turn


def usual_first(usual: Sequence[object], every: Sequence[object]) -> list[Any]:
    """Parameters of a test: the usual ones, and the others of `every`, which are slow."""
    others = [one for one in every if one not in usual]
    values = [*((one, ()) for one in usual), *((one, pytest.mark.slow) for one in others)]
    return [pytest.param(*(one if isinstance(one, tuple) else (one,)), marks=marks) for one, marks in values]


def frames_kept_by(read: Callable[[], object]) -> int:
    """Decoded frames that are still there when a reading is done and garbage was not collected."""
    gc.collect()
    gc.disable()
    try:
        read()
        return sum(type(one) is av.VideoFrame for one in gc.get_objects())
    finally:
        gc.enable()


def free_port() -> int:
    """A port that nobody listens at, another one each time."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def split_of(counts: list[int], name: str = "train") -> Split:
    """A split whose class number c has counts[c] videos, listed in a mixed order."""
    videos = [f"class{c:02d}/v{i:03d}" for c, count in enumerate(counts) for i in range(count)]
    order = np.random.default_rng(7).permutation(len(videos))
    return make_split(name, [videos[i] for i in order])


class MemoryPack:
    """A pack of RGB frames (V, T, H, W, 3) that lie in memory."""

    modality, mirror, encoded = "rgb", staticmethod(turn), False

    def __init__(self, names: tuple[str, ...], frames: np.ndarray) -> None:
        self.names, self.frames, self.T = names, frames, frames.shape[1]

    def rows(self, names: tuple[str, ...]) -> np.ndarray:
        return np.array([self.names.index(name) for name in names], np.int64)

    def clip(self, row: int) -> np.ndarray:
        return self.frames[row]

    def size(self, row: int) -> tuple[int, ...]:
        return self.frames.shape[2:4]


def telling_logits(episodes: Episodes, codes: torch.Tensor) -> torch.Tensor:
    """Logits (B, Q, W) that say of each query how often its code (V,) stands among a class's supports."""
    support, query = codes[episodes.support], codes[episodes.query]
    same = (query[:, :, None] == support[:, None]).float()  # (B, Q, S)
    member = torch.nn.functional.one_hot(torch.from_numpy(episodes.support_labels), episodes.way).float()
    return same @ member
