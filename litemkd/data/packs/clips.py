"""Clips of a split as tensors: augmented for training, centre crops for evaluation."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from litemkd.data.packs.crops import crop_clips
from litemkd.data.packs.pack import FramePack
from litemkd.data.splits import Split
from litemkd.runtime.seeding import numpy_generator

T = TypeVar("T")


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


@dataclass(frozen=True)
class Cut:
    """Clips as bytes, (V, T, h, w, 3), and the brightness and contrast to come, (2, V, 1, 1, 1, 1).

    `ready` is the event after which bytes that are on their way to a GPU have arrived.
    """

    clips: Tensor
    jitter: Tensor | None = None
    ready: torch.cuda.Event | None = None


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

    about: tuple[object, ...] = ()  # what else decides the frames of `centred`, for digests

    def __init__(self, pack: FramePack, split: Split, *, crop: int, device: torch.device) -> None:
        self.pack, self.split, self.crop, self.device = pack, split, crop, device
        self.rows = pack.rows(split.videos)

    @property
    def frames(self) -> int:
        """T, frames of a clip."""
        return self.pack.T

    def pixels(self, videos: np.ndarray) -> np.ndarray:
        """Centre crops of rows of the split as they are in the pack: (V, T, h, w, 3) uint8."""
        return crop_clips(self.pack, self.rows[videos], self.crop)

    def centred(self, videos: np.ndarray) -> Tensor:
        """Centre crops of rows of the split: (V, T, 3, h, w) in [0, 1]."""
        return self._to_float(torch.from_numpy(self.pixels(videos)))

    def augmented(self, videos: np.ndarray, augmentation: Augmentation, seed: int, number: int) -> Tensor:
        """Random crops of rows of the split for episode `number`: (V, T, 3, h, w) in [0, 1]."""
        return self.finish(self.cut(videos, augmentation, seed, number))

    def cut(self, videos: np.ndarray, augmentation: Augmentation, seed: int, number: int) -> Cut:
        """The part of `augmented` that needs no device, for a thread of its own."""
        rng = numpy_generator(seed, "augmentation", number)
        flip, scale = augmentation.flip, augmentation.scale
        cropped = crop_clips(self.pack, self.rows[videos], self.crop, rng=rng, flip=flip, scale=scale)
        clips, ready = self._sent(torch.from_numpy(cropped))
        if not augmentation.jitter:
            return Cut(clips, ready=ready)
        draws = rng.uniform(-augmentation.jitter, augmentation.jitter, (2, len(videos), 1, 1, 1, 1))
        return Cut(clips, torch.from_numpy(draws.astype(np.float32)), ready)

    def _sent(self, clips: Tensor) -> tuple[Tensor, torch.cuda.Event | None]:
        """Bytes on their way to a GPU in a stream of their own, beside its work, and when they are there."""
        if self.device.type != "cuda" or not torch.cuda.is_available():
            return clips, None
        with torch.cuda.device(self.device), torch.cuda.stream(_stream_to(self.device)):
            there = clips.pin_memory().to(self.device, non_blocking=True)
            ready = torch.cuda.Event()
            ready.record()
        return there, ready

    def finish(self, cut: Cut) -> Tensor:
        """The rest of `augmented`: the bytes go to the device, floats are made there."""
        if cut.ready is not None:
            stream = torch.cuda.current_stream(self.device)
            stream.wait_event(cut.ready)
            cut.clips.record_stream(stream)  # its memory is not taken for others before this stream is done
        clips = self._to_float(cut.clips)
        if cut.jitter is not None:
            brightness, contrast = cut.jitter.to(self.device)
            clips = ((clips - 0.5) * (1 + contrast) + 0.5 + brightness).clamp(0, 1)
        return clips

    def _to_float(self, clips: Tensor) -> Tensor:
        # (V, T, h, w, 3) bytes; as (V, T, 3, h, w) they are channels_last without a copy
        return clips.to(self.device, non_blocking=True).permute(0, 1, 4, 2, 3).float().div_(255)


@functools.cache
def _stream_to(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)


class Ahead(Generic[T]):
    """What one call made, while it is wanted, and what the next call will want, made by a thread meanwhile.

    Args:
        make: a function of the numbers of a batch of episodes, and of nothing else.

    Attributes:
        waited: seconds that the last call waited for what it took.
    """

    def __init__(self, make: Callable[[Sequence[int]], T]) -> None:
        self.make = make
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="clips")
        self._coming: dict[tuple[int, ...], Future[T]] = {}
        self.waited = 0.0

    def expect(self, numbers: Sequence[int]) -> None:
        """Begin with these numbers; what was expected before and not taken is dropped."""
        key = tuple(numbers)
        waiting = self._coming.get(key)
        self._coming = {key: waiting or self._pool.submit(self.make, numbers)}

    def take(self, numbers: Sequence[int]) -> T:
        """What `make` gives for these numbers, whether they were expected or not."""
        waiting, begun = self._coming.pop(tuple(numbers), None), time.perf_counter()
        made = self.make(numbers) if waiting is None else waiting.result()
        self.waited = time.perf_counter() - begun
        return made
