"""Packs of arrays by frame, such as joints: read and checked once, as raw numbers in one memory-mapped file.

A pack lies in `<dataset>/packs/<modality>_arrays_<names>_<key>/` as `arrays.bin` (float32, clip after clip,
each (F, ...) with its own F) and `index.json`. The key is a digest of what it was made from, as of packs of
frames.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from litemkd.data.packs.building import build_once
from litemkd.data.packs.clips import Augmentation, ClipSource, Cut
from litemkd.data.packs.pack import rows_of
from litemkd.data.splits import Split
from litemkd.errors import DataError
from litemkd.modalities.record import Modality
from litemkd.modalities.registry import address, identity
from litemkd.recordings.times import MAX_RATIO, same_recording, sample_times
from litemkd.recordings.videos import count_frames
from litemkd.runtime.seeding import numpy_generator

log = logging.getLogger(__name__)

FORMAT = 1  # of packs of arrays; another one has another key

File = tuple[Path, Path | None]  # a clip's array, and its RGB video where there is one


class ArrayPack:
    """An open pack of arrays. Cheap to pickle.

    Attributes:
        folder: where it lies.
        modality: its name.
        names: "class/video" of each clip, in the order of the rows.
        shape: of one frame, the same for all clips.
        digest: sha256 of the content; the same on any machine.
        own: whether its modality is not one of the package's.
        bad: (name, reason) of clips that were asked for and left out.
        record: of its modality.
    """

    def __init__(self, folder: Path, record: Modality) -> None:
        index = _read_index(Path(folder))
        if index is None:
            raise DataError(f"{folder} is no complete pack of arrays; delete it and build it again")
        self.folder, self.record, self.modality = Path(folder), record, record.name
        self.names: tuple[str, ...] = tuple(index["names"])
        self.shape: tuple[int, ...] = tuple(index["shape"])
        self.digest: str = index["digest"]
        self.own = address(record) is not None
        self.bad: tuple[tuple[str, str], ...] = tuple((name, why) for name, why in index["bad"])
        self.lengths = np.array(index["lengths"], np.int64)
        self._starts = np.concatenate([[0], np.cumsum(self.lengths)])
        self._rows = {name: row for row, name in enumerate(self.names)}
        values = np.memmap(self.folder / "arrays.bin", np.float32, "r")
        self._values = values.reshape(-1, *self.shape)

    def __len__(self) -> int:
        return len(self.names)

    def __reduce__(self) -> tuple[type[ArrayPack], tuple[Path, Modality]]:
        return ArrayPack, (self.folder, self.record)

    def clip(self, row: int) -> np.ndarray:
        """The arrays of a clip, (F, *shape) float32, a read-only view into the file."""
        return np.asarray(self._values[self._starts[row] : self._starts[row + 1]])

    def taken(self, row: int, T: int) -> np.ndarray:
        """T frames of a clip, (T, *shape), those that go with the sampled frames of other modalities."""
        clip = self.clip(row)
        return clip[sample_times(len(clip), T)]

    def sizes(self) -> dict[str, int]:
        """How many clips have frames of each shape."""
        return {" x ".join(map(str, self.shape)): len(self.names)}

    @property
    def frames(self) -> str:
        """How many frames clips have, in words."""
        few, many = self.lengths.min(), self.lengths.max()
        return str(few) if few == many else f"{few} to {many}"

    def rows(self, names: Sequence[str]) -> np.ndarray:
        """The rows of clips by name, int64.

        Raises:
            DataError: names that are not in the pack.
        """
        return rows_of(f"{self.modality} pack {self.folder}", self._rows, names)


def build_array_pack(
    dataset_dir: Path, record: Modality, files: Mapping[str, File], T: int, verify: bool = False
) -> ArrayPack:
    """The pack of these clips, made from their files unless it is there and they have not changed.

    Clips that do not do are left out, with the reason in `ArrayPack.bad`.

    Args:
        dataset_dir: the pack goes into `packs/` there.
        record: of the modality; its `whole` reads what a file holds.
        files: "class/video" -> its file, and its video, whose length says whether they are one recording.
        T: how many frames a clip must have at least.
        verify: read a pack that is there through, and build it anew where it is not what was packed.

    Raises:
        DataError: no clip does.
        StorageError: too little disk space; nothing of the pack stays.
    """
    listing = [f"{FORMAT} {record.name} {identity(record)} {T}"]
    listing += [f"{name} {_seen(path)} {_seen(video)}" for name, (path, video) in files.items()]
    key = hashlib.sha256("\n".join(listing).encode()).hexdigest()
    of_names = hashlib.sha256("\n".join(files).encode()).hexdigest()[:8]
    stem = f"{record.name}_arrays_{of_names}_"
    target = Path(dataset_dir) / "packs" / f"{stem}{key[:12]}"
    if verify and _read_index(target) is not None and not _is_intact(ArrayPack(target, record)):
        log.warning("%s: damaged, its numbers are not what was packed; it is built anew", target)
        shutil.rmtree(target)
    build_once(
        target, stem, lambda: _read_index(target) is not None, lambda folder: _fill(folder, record, files, T)
    )
    return ArrayPack(target, record)


def _seen(path: Path | None) -> str:
    if path is None:
        return "-"
    with contextlib.suppress(OSError):
        about = path.stat()
        return f"{path.name} {about.st_size} {about.st_mtime_ns}"
    return "missing"


def _fill(folder: Path, record: Modality, files: Mapping[str, File], T: int) -> None:
    """Write `arrays.bin` and `index.json` into a folder that nobody reads yet."""
    bad: dict[str, str] = {}
    clips: dict[str, np.ndarray] = {}

    def read(name: str) -> np.ndarray | str:
        try:
            return read_clip(record, *files[name], T)
        except DataError as error:
            return str(error)

    with ThreadPoolExecutor(4) as pool:  # the videos' lengths are waited for
        for name, found in zip(files, pool.map(read, files), strict=True):
            if isinstance(found, str):
                bad[name] = found
            else:
                clips[name] = found
    if clips:
        usual = Counter(clip.shape[1:] for clip in clips.values()).most_common(1)[0][0]
        for name, clip in list(clips.items()):
            if clip.shape[1:] != usual:
                given, would = (" x ".join(map(str, one)) for one in (clip.shape[1:], usual))
                bad[name] = f"{files[name][0]}: frames of {given}; {would}, as most clips have, would do"
                del clips[name]
    if not clips:
        lines = "".join(f"\n  {name}: {why}" for name, why in list(bad.items())[:20])
        raise DataError(f"none of {len(files)} clips has {record.name}:{lines}")
    with (folder / "arrays.bin").open("wb") as out:
        for clip in clips.values():
            out.write(np.ascontiguousarray(clip, np.float32).tobytes())
    digest = _content_digest(clips)
    index = {"format": FORMAT, "modality": record.name, "digest": digest, "shape": list(usual)}
    index |= {"names": list(clips), "lengths": [len(clip) for clip in clips.values()], "bad": list(bad.items())}
    (folder / "index.json").write_text(json.dumps(index), encoding="utf-8")


def _content_digest(clips: Mapping[str, np.ndarray]) -> str:
    content = hashlib.sha256(f"{FORMAT}\n".encode())
    for name, clip in clips.items():
        data = hashlib.sha256(np.ascontiguousarray(clip, np.float32).tobytes()).hexdigest()
        content.update(f"{name}\t{clip.shape}\t{data}\n".encode())
    return content.hexdigest()


def _is_intact(pack: ArrayPack) -> bool:
    return _content_digest({name: pack.clip(row) for row, name in enumerate(pack.names)}) == pack.digest


def read_clip(record: Modality, path: Path, video: Path | None, T: int) -> np.ndarray:
    """The arrays of one clip, (F, ...) float32.

    Raises:
        DataError: the file, and what is wrong with it; or a video of quite another length.
    """
    if not path.exists():
        raise DataError(f"there is no {path}")
    values = record.read(path)
    try:
        whole = record.whole(values)
        if len(whole) < T:
            raise DataError(f"{len(whole)} frames; {T} (data.frames) or more would do")
        n = len(whole) if video in (None, path) else count_frames(video)
        if not same_recording(len(whole), n):
            raise DataError(
                f"{len(whole)} frames, and its video {video} has {n}, so they are not one recording; "
                f"{1 / MAX_RATIO:g} to {MAX_RATIO:g} times as many would do"
            )
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    return whole


def _read_index(folder: Path) -> dict[str, Any] | None:
    """The index of a whole pack of this format, or None."""
    try:
        index: dict[str, Any] = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        expected = 4 * sum(index["lengths"]) * int(np.prod(index["shape"]))
        whole = (folder / "arrays.bin").stat().st_size == expected and index["format"] == FORMAT
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return index if whole else None


def resampled(clip: np.ndarray, steps: int, first: float = 0.0, last: float = 1.0) -> np.ndarray:
    """A clip (F, ...) at evenly spread times, in between frames by their mixture: (steps, ...) float32.

    Args:
        clip: the frames.
        steps: how many.
        first: the first time, as a share of the clip.
        last: the last one.
    """
    times = np.linspace(first, last, steps) * (len(clip) - 1)
    before = np.minimum(times.astype(np.int64), max(len(clip) - 2, 0))
    after = np.minimum(before + 1, len(clip) - 1)
    share = (times - before).reshape(-1, *[1] * (clip.ndim - 1)).astype(np.float32)
    mixed: np.ndarray = clip[before] * (1 - share) + clip[after] * share
    return mixed


class Taker(Protocol):
    """Who looks at arrays, as an expert does: see `litemkd.models.experts.ArrayExpert`."""

    @property
    def takes(self) -> tuple[int, ...]:
        """(S, ...): the shape of a clip that it looks at."""

    @property
    def window(self) -> float:
        """The largest share of a training clip that is left out at its ends."""

    def vary(self, clip: np.ndarray, rng: np.random.Generator, flip: bool) -> np.ndarray:
        """A training clip (S, ...) as it may also have been."""


class ArraySource:
    """The arrays of one split, as `ClipSource` gives pictures.

    Args:
        pack: the arrays.
        split: its videos give the rows.
        taker: who looks at them.
        T: features of a clip that it makes of them.
        device: where tensors go.

    Raises:
        DataError: a video of the split is not in the pack.
    """

    crop = 0  # there is none
    about: tuple[object, ...] = ()  # as of `ClipSource`

    def __init__(self, pack: ArrayPack, split: Split, *, taker: Taker, T: int, device: torch.device) -> None:
        self.pack, self.split, self.taker, self.frames, self.device = pack, split, taker, T, device
        self.rows = pack.rows(split.videos)

    def centred(self, videos: np.ndarray) -> Tensor:
        """Whole clips of rows of the split, (V, S, ...)."""
        return self._stack(videos, lambda clip: resampled(clip, self.taker.takes[0]))

    def augmented(self, videos: np.ndarray, augmentation: Augmentation, seed: int, number: int) -> Tensor:
        """Varied clips of rows of the split for episode `number`, (V, S, ...)."""
        return self.finish(self.cut(videos, augmentation, seed, number))

    def cut(self, videos: np.ndarray, augmentation: Augmentation, seed: int, number: int) -> Cut:
        """The part of `augmented` that needs no device."""
        rng, taker = numpy_generator(seed, "augmentation", number), self.taker

        def varied(clip: np.ndarray) -> np.ndarray:
            first, last = rng.uniform(0.0, taker.window / 2, 2)
            return taker.vary(resampled(clip, taker.takes[0], first, 1.0 - last), rng, augmentation.flip)

        return Cut(self._stack(videos, varied, torch.device("cpu")))

    def finish(self, cut: Cut) -> Tensor:
        """The rest of `augmented`: the numbers go to the device."""
        return cut.clips.to(self.device, non_blocking=True)

    def _stack(
        self, videos: np.ndarray, made: Callable[[np.ndarray], np.ndarray], device: torch.device | None = None
    ) -> Tensor:
        clips = np.stack([made(self.pack.clip(row)) for row in self.rows[videos]])
        return torch.from_numpy(clips.astype(np.float32, copy=False)).to(device or self.device)


Source = ClipSource | ArraySource
