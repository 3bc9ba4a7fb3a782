"""What a modality is: one record, which everything that reads, makes, mirrors or shows it asks.

A modality is a class derived from `Modality` in a file of its own. Those of the package are in the table of
`litemkd.modalities.registry`; others are named in an experiment file or offered by an installed package.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

import cv2
import numpy as np

from litemkd.errors import DataError
from litemkd.recordings.endings import VIDEO_SUFFIXES
from litemkd.recordings.videos import ClipFrames, read_video
from litemkd.storage.arrays import read_array

if TYPE_CHECKING:
    import torch

    from litemkd.storage.weights import Weights

Kind = Literal["frames", "arrays"]
PLAIN = "rgb"  # the encoding of pictures that are only looked at


class Estimator(Protocol):
    """A network that makes a modality from frames."""

    @property
    def side(self) -> int:
        """The least short side, in pixels, that it wants frames with."""

    @property
    def pairs(self) -> bool:
        """Whether it looks at the frame that follows, too; else it gets the same frames twice."""

    def identity(self) -> str:
        """What its weights are, to be noted beside what it makes."""

    def load(self) -> None:
        """Read the weights; CheckpointError if they cannot be read."""

    def estimate(self, frames: np.ndarray, following: np.ndarray) -> list[np.ndarray]:
        """What it finds in each of N frames (N, H, W, 3)."""

    def encode(
        self, found: list[np.ndarray], before: tuple[int, int], size: tuple[int, int], short_side: int
    ) -> np.ndarray:
        """Pictures (T, *size, 3) of what was found in the T frames of a clip, which were of size `before`."""


class _FromVideos:
    source: ClassVar[str] = "videos"
    suffixes: ClassVar[tuple[str, ...]] = VIDEO_SUFFIXES
    folders: ClassVar[bool] = False
    needs_videos: ClassVar[bool] = False


@dataclass(frozen=True)
class Computed(_FromVideos):
    """A way to make a modality: from the frames of the RGB videos, by a function.

    Attributes:
        name: as `data.derive` gives it.
        about: in a few words.
        compute: the sampled frames of a clip and the short side of the pictures -> (T, H, W, 3) uint8. A
            function of a module, since it travels to other processes.
    """

    name: str
    about: str
    compute: Callable[[ClipFrames, int], np.ndarray]

    def make(self, source: Path, video: Path | None, T: int, short_side: int) -> np.ndarray:
        """Pictures of the recording in `source`."""
        return self.compute(read_video(source, T, short_side), short_side)


@dataclass(frozen=True)
class Imported:
    """A way to make a modality: from files beside the recordings, that a sensor or another program wrote.

    Attributes:
        name: as `data.derive` gives it.
        about: in a few words.
        read: a clip's file or folder, its RGB video (None where there is none), T and the short side of the
            pictures -> (T, H, W, 3) uint8. A function of a module.
        source: folder below the data source, with class folders in it.
        suffixes: of files that are clips, in lower case.
        folders: a folder in a class folder is a clip, too.
        needs_videos: whether the RGB videos must be there.
    """

    name: str
    about: str
    read: Callable[[Path, Path | None, int, int], np.ndarray]
    source: str
    suffixes: tuple[str, ...] = ()
    folders: bool = False
    needs_videos: bool = False

    def make(self, source: Path, video: Path | None, T: int, short_side: int) -> np.ndarray:
        """Pictures of what is in `source`."""
        return self.read(source, video, T, short_side)


@dataclass(frozen=True)
class Estimated(_FromVideos):
    """A way to make a modality: from the RGB videos, by a network, whose weights are `data.weights.<name>`.

    Attributes:
        name: as `data.derive` gives it.
        about: in a few words.
        published: the name of what `download` brings.
        network: gives the class of the estimator; called when it is needed, since networks load slowly.
    """

    name: str
    about: str
    published: str
    network: Callable[[], Callable[[Weights, torch.device], Estimator]]

    def build(self, weights: str | None, device: torch.device) -> Estimator:
        """The network with the weights that `data.weights` gives; they are read at first use.

        Raises:
            ConfigError: no weights were given for it.
        """
        from litemkd.storage.weights import weights_for  # loads torch, which records alone do without

        return self.network()(weights_for(self.name, weights, self.published), device)


Way = Computed | Imported | Estimated


def _as_they_are(clip: ClipFrames, short_side: int) -> np.ndarray:
    return clip.frames


RECORDED = Computed("video", "decoded from recordings", _as_they_are)


class Modality:
    """One stream of a clip, from where it comes from to how it is shown.

    Frames of any modality may lie in `<name>_l8/`, and recordings of it in `<name>_videos/`; `ways` tells how
    it is made where they do not.

    Args:
        name: under which it goes: of folders, packs, runs. Keyword arguments beside it are settings, which an
            experiment file may give.

    Attributes:
        kind: `frames`, pictures (T, H, W, 3); or `arrays`, numbers by frame in `<source>/<class>/<clip>.npy`
            below the data source, for an expert that looks at arrays.
        source: of arrays, the folder; the modality's name if not given. `videos` is where the recordings are.
        suffixes: of arrays, endings of the files there, which `read` reads.
        ways: to make its pictures, named by `data.derive`.
        usual: the way that a bare name in `prepare --derive` takes.
        asked: made only where it is asked for by `data.derive`; else the usual way is taken by itself.
        encoding: what the pixels that `ways` make mean, noted as a word beside the frames.
    """

    kind: ClassVar[Kind] = "frames"
    source: ClassVar[str] = ""
    suffixes: ClassVar[tuple[str, ...]] = (".npy",)
    ways: ClassVar[tuple[Way, ...]] = ()
    usual: ClassVar[str] = ""
    asked: ClassVar[bool] = False
    encoding: ClassVar[str] = PLAIN

    settings: Mapping[str, Any] = MappingProxyType({})  # as a configuration gives them, set by the registry

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def recordings(self) -> tuple[str, ...]:
        """Names of the folders that recordings of it may lie in, the first one that is there counts."""
        return (f"{self.name}_videos",)

    @property
    def unasked(self) -> str | None:
        """The way that is taken where `data.derive` names none."""
        return None if self.asked or not self.ways else self.usual or self.ways[0].name

    def way(self, name: str) -> Way | None:
        """The way of that name."""
        return next((one for one in self.ways if one.name == name), None)

    @classmethod
    def mirrored(cls, encoding: str) -> bool:
        """Whether mirroring frames of that encoding changes what they hold, beside turning them."""
        return encoding == cls.encoding and cls.mirror is not Modality.mirror

    def mirror(self, clip: np.ndarray) -> None:
        """Mirror frames (T, side, side, 3) uint8 of its encoding where they are."""
        turn(clip)

    def read(self, path: Path) -> np.ndarray:
        """Of arrays: what a file holds.

        Raises:
            DataError: it cannot be read.
        """
        return read_array(path)

    def whole(self, values: np.ndarray) -> np.ndarray:
        """Of arrays: what a file holds, (F, ...), as experts get it, (F, ...) float32.

        Raises:
            DataError: what is wrong with it.
        """
        if values.ndim < 2 or 0 in values.shape or values.dtype.kind not in "iuf":
            raise DataError(f"{values.dtype} of shape {values.shape}; numbers (frames, ...) would do")
        if not np.isfinite(values).all():
            frame = int(np.argwhere(~np.isfinite(values))[0, 0])
            raise DataError(f"frame {frame} (from 0) has a value that is not a number (NaN or infinite)")
        return values.astype(np.float32)

    def shown(self, frames: np.ndarray) -> np.ndarray:
        """Frames (T, H, W, 3) as a contact sheet shows them, of the same form; of arrays (T, ...), pictures."""
        return frames if self.kind == "frames" else bars(frames)


def bars(values: np.ndarray, side: int = 96) -> np.ndarray:
    """Arrays (T, ...) as grey bars side by side, (T, side, side, 3) uint8: the largest value is white."""
    flat = values.reshape(len(values), -1).astype(np.float64)
    low, high = flat.min(), flat.max()
    grey = np.rint((flat - low) * (255.0 / max(high - low, 1e-12))).astype(np.uint8)
    across = np.arange(side) * flat.shape[1] // side
    return np.broadcast_to(grey[:, None, across, None], (len(values), side, side, 3)).copy()


def turn(clip: np.ndarray) -> None:
    """Left and right of frames (T, H, W, 3) change places, where they are."""
    rows = clip.reshape(-1, *clip.shape[2:])  # OpenCV mirrors a tall picture in place, much faster than NumPy
    cv2.flip(rows, 1, dst=rows)
