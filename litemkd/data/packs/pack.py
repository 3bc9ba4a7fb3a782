"""Packs: the frames of many clips, decoded and resized once, as raw bytes in one memory-mapped file.

Reading a clip is then a crop and perhaps a flip, with no JPEG to decode. A pack holds the very pixels that
reading the JPEGs gives. It lies in `<dataset>/packs/<modality>_l<T>_s<short side>_<names>_<key>/` as
`frames.bin` (uint8, clip after clip, each (T, H, W, 3)) and `index.json`. The key is a digest of what it was
made from: when frames change on disk, the next `build_pack` makes a new pack and removes the old one.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import json
import logging
import os
import shutil
import weakref
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from litemkd.data.finding.folders import list_folders, rgb_beside
from litemkd.data.frames import (
    frame_folder,
    frame_folder_path,
    frame_size,
    is_stored_turned,
    read_files,
    sampled_entries,
)
from litemkd.data.packs.building import build_once
from litemkd.data.packs.encoded import (
    AUTO,
    ENCODED,
    RAW,
    Decoding,
    agreeing,
    chosen_form,
    decoders,
    read_encoded,
)
from litemkd.errors import DataError, StorageError, some
from litemkd.modalities.record import PLAIN, Modality, turn
from litemkd.modalities.registry import address, mirror_of, signed
from litemkd.modalities.registry import modality as record_of
from litemkd.recordings.videos import resize_short, resized
from litemkd.runtime.progress import Bar
from litemkd.storage.files import write_text
from litemkd.storage.pictures import check_made

log = logging.getLogger(__name__)

FORMAT = 1  # of packs; another one has another key
AT_ONCE = 8  # folders listed at once: waiting for a disk or a server, not computing
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class ClipsError(DataError):
    """Clips that cannot be packed.

    Attributes:
        clips: (name, reason) of each.
        of: how many were asked for.
    """

    def __init__(self, clips: Sequence[tuple[str, str]], of: int) -> None:
        self.clips, self.of = tuple(clips), of
        more = f"\n  and {len(clips) - 20} more" if len(clips) > 20 else ""
        lines = "".join(f"\n  {reason}" for _, reason in clips[:20])
        super().__init__(
            f"{len(clips)} of {of} clips cannot be packed:{lines}{more}\n"
            "mend them, take them out of the split lists, or leave them out with data.on_bad_clip=skip"
        )


class FramePack:
    """An open pack. Cheap to pickle: another process opens the same file.

    Attributes:
        folder: where it lies.
        modality: its name.
        T: frames a clip.
        names: "class/video" of each clip, in the order of the rows.
        digest: sha256 of the content (names, sizes, pixels, and `signed`); the same anywhere, in any form.
        encoded: whether it holds the files of frames, see `litemkd.data.packs.encoded`, and not their pixels.
        signed: whether mirroring does more than turn a clip, as with movements, whose x it negates.
        own: whether its modality is not one of the package's.
        bad: (name, reason) of clips that were asked for and left out.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        index = _read_index(self.folder)
        if index is None:
            raise DataError(
                f"{self.folder} is no complete pack of format {FORMAT}; delete it and build it again"
            )
        self.modality: str = index["modality"]
        self.T: int = index["T"]
        self.names: tuple[str, ...] = tuple(index["names"])
        self.digest: str = index["digest"]
        self.signed: bool = index["signed_dx"]  # the name of when flow alone was
        self._use: str | None = index.get("use")
        self._settings: dict[str, Any] = index.get("settings", {})
        self.own = self._use is not None
        self.bad: tuple[tuple[str, str], ...] = tuple((name, why) for name, why in index.get("bad", ()))
        self._sizes = np.array(index["sizes"], np.int64).reshape(-1, 2)
        self._lengths = np.array(index.get("lengths", ()), np.int64).reshape(-1, self.T)  # of encoded frames
        self.encoded = index.get("form") == ENCODED
        self._decoding = Decoding(index.get("decoders", ()), index["short_side"]) if self.encoded else None
        self._offsets = _ends(self._lengths) if self.encoded else _offsets(self._sizes, self.T)
        self._rows = {name: row for row, name in enumerate(self.names)}
        # Kept open: what is mapped stays as it is when the pack is taken away or built anew by others.
        self._file = os.open(self.folder / "frames.bin", os.O_RDONLY | getattr(os, "O_BINARY", 0))
        weakref.finalize(self, os.close, self._file)
        with open(self._file, "rb", closefd=False) as file:
            self._bytes = np.memmap(file, np.uint8, "r")

    def __len__(self) -> int:
        return len(self.names)

    def __reduce__(self) -> tuple[type[FramePack], tuple[Path]]:
        return FramePack, (self.folder,)

    def clip(self, row: int) -> np.ndarray:
        """The frames of a clip, (T, H, W, 3) uint8, read-only; of a raw pack a view into the file.

        Raises:
            DataError: another program has cut the file short meanwhile.
        """
        if os.fstat(self._file).st_size < self._offsets[row + 1]:  # reading there would kill the process
            raise DataError(
                f"{self.folder / 'frames.bin'} was cut short by another program; run the command again, and "
                "the pack is built anew"
            )
        height, width = self._sizes[row]
        piece = self._bytes[self._offsets[row] : self._offsets[row + 1]]
        if self._decoding is not None:
            files = np.split(np.asarray(piece), np.cumsum(self._lengths[row])[:-1])
            return self._decoding.clip([file.tobytes() for file in files], self.names[row])
        return np.asarray(piece).reshape(self.T, height, width, 3)

    @functools.cached_property
    def record(self) -> Modality:
        """The record of its modality.

        Raises:
            DataError: a modality of others that is not found.
        """
        try:
            return record_of(self.modality, self._use, **self._settings)
        except ValueError as error:
            raise DataError(
                f"{self.folder}: made of the modality {self._use or self.modality}: {error}"
            ) from error

    def mirror(self, clip: np.ndarray) -> None:
        """Mirror frames (T, side, side, 3) of a clip where they are, and what they hold."""
        (mirror_of(self.record) if self.signed else turn)(clip)

    def size(self, row: int) -> tuple[int, int]:
        """(H, W) of a clip's frames."""
        return int(self._sizes[row, 0]), int(self._sizes[row, 1])

    def sizes(self) -> dict[str, int]:
        """How many clips have frames of each size, by "width x height", the most frequent first."""
        counts = Counter(f"{width} x {height}" for height, width in self._sizes.tolist())
        return dict(counts.most_common())

    def rows(self, names: Sequence[str]) -> np.ndarray:
        """The rows of clips by name, int64.

        Raises:
            DataError: names that are not in the pack.
        """
        return rows_of(f"{self.modality} pack {self.folder}", self._rows, names)


def rows_of(pack: str, rows: Mapping[str, int], names: Sequence[str]) -> np.ndarray:
    """The rows of clips by name, int64; `pack` says in a message of which pack.

    Raises:
        DataError: names that are not in the pack.
    """
    missing = [name for name in names if name not in rows]
    if missing:
        raise DataError(
            f"the {pack} lacks {len(missing)} clips: {some(missing)}; "
            "prepare these clips or take them out of the split lists"
        )
    return np.array([rows[name] for name in names], np.int64)


@dataclass(frozen=True)
class Making:
    """How a pack is made.

    Attributes:
        form: `raw`, `encoded`, or `auto`: the one that is there, or by its size, which is told.
        skip: leave out clips that cannot be read, and say so in `FramePack.bad`, unless that is all of them.
        verify: read a pack that is there through, and build it anew where its pixels are not what was packed;
            with progress bars on standard error.
    """

    form: str = RAW
    skip: bool = False
    verify: bool = False


RAW_PACK = Making()


def build_pack(
    dataset_dir: Path,
    modality: str | Modality,
    T: int,
    videos: Sequence[str],
    short_side: int | None,
    workers: int | None = None,
    how: Making = RAW_PACK,
) -> FramePack:
    """The pack of these clips, made from their JPEGs unless it is there and they have not changed.

    Processes that ask for the same pack at once wait for the one that builds it. A pack appears under its name
    only when whole; what a killed build left is removed by the next.

    Args:
        dataset_dir: holds `<modality>_l<T>/`; the pack goes into `packs/` there.
        modality: its record, or a name that needs no experiment.
        T: frames a clip.
        videos: "class/video" names; the rows of the pack in this order.
        short_side: of the frames in the pack, in pixels; None leaves them as they are.
        workers: threads that decode; None is one for each CPU.
        how: its form, and what becomes of clips and packs that are damaged.

    Raises:
        ClipsError: clips missing or damaged.
        DataError: no frames of the modality, or clips of one name.
        StorageError: too little disk space; nothing of the pack stays.
    """
    record = record_of(modality) if isinstance(modality, str) else modality
    source = frame_folder(dataset_dir, record.name, T)
    if source is None:
        folder = frame_folder_path(dataset_dir, record.name, T)
        raise DataError(f"no {record.name} frames: no folder {folder}; prepare them first")
    repeated = [name for name, count in Counter(videos).items() if count > 1]
    if repeated or not videos:
        raise DataError(
            f"a pack is made of different clips; given {len(videos)}, "
            f"repeated {len(repeated)}: {some(repeated) or 'none'}"
        )
    threads = workers or os.cpu_count() or 1
    clips, rgb = list_folders(source), rgb_beside(dataset_dir, record.name, T)

    def listing(name: str) -> list[tuple[str, int, int]]:
        return _listing_of(clips.path(name), T, None if rgb is None else rgb.path(name))

    listings = _each(videos, videos, listing, AT_ONCE)
    is_signed = signed(record, _encoding(source))
    files = {
        name: [clips.path(name) / file for file, _, _ in found]
        for name, found in zip(videos, listings, strict=True)
    }
    names_key = hashlib.sha256("\n".join(videos).encode()).hexdigest()[:8]
    packs = Path(dataset_dir) / "packs"

    def place(form: str) -> tuple[Path, str, str]:
        """The folder of a form, how its name and those of packs that it replaces begin, and the key."""
        other = f" {form}" * (form != RAW)
        header = f"{FORMAT} {record.name} {T} {short_side}{' signed' * is_signed}{other}\n"
        key = _key_of(header, dict(zip(videos, listings, strict=True)))
        stem = f"{other.strip()}{'_' * bool(other)}{record.name}_l{T}_s{short_side or 'full'}_{names_key}_"
        return packs / f"{stem}{key[:12]}", stem, key

    form = how.form
    if form == AUTO:
        form = _form_for(files, short_side, T, threads, {one: place(one)[0] for one in (RAW, ENCODED)})
    target, stem, key = place(form)
    _turn_old(target, source, files, threads)
    if how.verify and _read_index(target) is not None and not _is_intact(FramePack(target), threads):
        log.warning("%s: damaged, its pixels are not what was packed; it is built anew", target)
        shutil.rmtree(target)
    about = {"key": key, "modality": record.name, "T": T, "signed_dx": is_signed}
    about |= {"use": use} if (use := address(record)) else {}
    about |= {"form": form} if form != RAW else {}
    about |= {"settings": dict(record.settings)} if record.settings else {}

    def fill(folder: Path) -> None:
        _fill_with_good(folder, about, files, short_side, threads, how.skip, how.verify)

    build_once(target, stem, lambda: _read_index(target) is not None, fill)
    pack = FramePack(target)
    if pack.bad and not how.skip:
        raise ClipsError(pack.bad, len(videos))
    return pack


def _listing_of(clip_folder: Path, T: int, rgb: Path | None) -> list[tuple[str, int, int]]:
    """Name, size and time of change of each of the T frames of a clip; `rgb` as for `sampled_entries`.

    Raises:
        DataError: not T frames, or one of which nothing is known.
    """
    listing = []
    for entry in sampled_entries(clip_folder, T, rgb):
        try:
            about = entry.stat()
        except OSError as error:
            raise DataError(f"cannot read frame {entry.path}: {error.strerror}") from error
        listing.append((entry.name, about.st_size, about.st_mtime_ns))
    return listing


def _key_of(header: str, listings: Mapping[str, list[tuple[str, int, int]]]) -> str:
    """A digest of all that decides a pack's content, as far as the file system knows without reading."""
    digest = hashlib.sha256(header.encode())
    for name, listing in listings.items():
        lines = (f"{file} {size} {changed}\n" for file, size, changed in listing)
        digest.update(f"{name}\n{''.join(lines)}".encode())
    return digest.hexdigest()


def _encoding(source: Path) -> str:
    """What the pixels of frames mean: what preparing notes beside them."""
    try:
        return str(json.loads((source / "prepare.json").read_text(encoding="utf-8"))["encoding"])
    except (OSError, ValueError, KeyError, TypeError):
        return PLAIN


def _has_turned(source: Path, files: Mapping[str, Sequence[Path]], threads: int) -> bool:
    """Whether a frame of the clips in a folder is not stored upright. Those made here have no EXIF data."""
    if (source / "prepare.json").is_file():
        return False
    with ThreadPoolExecutor(threads) as pool:
        return any(pool.map(is_stored_turned, [path for of_clip in files.values() for path in of_clip]))


def _turn_old(target: Path, source: Path, files: dict[str, list[Path]], threads: int) -> None:
    """Take away a pack of an earlier version, which took pictures as they are stored, if one of them is turned.

    Looked for once: a pack without turned pictures is marked as what it would be now.
    """
    index = _read_index(target)
    if index is None or index.get("upright"):
        return
    if _has_turned(source, files, threads):
        log.warning("%s: made when pictures were not turned as their EXIF data say; it is built anew", target)
        shutil.rmtree(target)
        return
    with contextlib.suppress(OSError):  # a folder that is only read is looked through each time
        write_text(target / "index.json", json.dumps({**index, "upright": True}))


def _fill_with_good(
    folder: Path,
    about: dict[str, Any],
    files: dict[str, list[Path]],
    short_side: int | None,
    threads: int,
    skip: bool,
    progress: bool,
) -> None:
    """As `_fill`; with `skip`, as often as it takes to know all clips that cannot be read."""
    of, bad = len(files), list[tuple[str, str]]()
    while True:
        try:
            _fill(folder, {**about, "bad": bad}, files, short_side, threads, progress)
            return
        except ClipsError as error:
            bad = [*bad, *error.clips]
            files = {name: paths for name, paths in files.items() if name not in dict(bad)}
            if not skip or not files:
                raise ClipsError(bad, of) from None


def _fill(
    folder: Path,
    about: dict[str, Any],
    files: dict[str, list[Path]],
    short_side: int | None,
    threads: int,
    progress: bool,
) -> None:
    """Write `frames.bin` and `index.json` into a folder that nobody reads yet."""
    videos, of_clip, T = list(files), list(files.values()), about["T"]
    encoded = about.get("form") == ENCODED
    sizes = _sizes_of(files, short_side, threads)
    lengths = np.array(
        [[path.stat().st_size for path in paths] for paths in of_clip] if encoded else [], np.int64
    )
    offsets = _ends(lengths) if encoded else _offsets(sizes, T)
    agreed = set(decoders())
    free = shutil.disk_usage(folder).free
    if free < offsets[-1]:
        raise StorageError(
            f"no space left for the pack of {about['modality']} in {folder.parent}: it needs "
            f"{offsets[-1] / 1e6:.1f} MB, {free / 1e6:.1f} MB are free; make space and run it again",
            errno.ENOSPC,
        )
    with (folder / "frames.bin").open("wb") as out:
        out.truncate(int(offsets[-1]))
        handle = out.fileno()

        def write(row: int) -> str:
            raw, clip = read_encoded(of_clip[row]) if encoded else ([], read_files(of_clip[row]))
            if encoded:
                agreed.intersection_update(agreeing(raw, clip, [str(path) for path in of_clip[row]]))
                if [len(one) for one in raw] != lengths[row].tolist():
                    raise DataError(f"{of_clip[row][0].parent}: its frames changed while they were packed")
            if short_side is not None:
                clip = np.stack([resize_short(frame, short_side) for frame in clip])
            pixels = np.ascontiguousarray(clip).data.cast("B")
            data = memoryview(b"".join(raw)) if encoded else pixels
            start, done = int(offsets[row]), 0
            while done < len(data):  # one write takes at most 2 GB
                done += os.pwrite(handle, data[done:], start + done)
            return hashlib.sha256(pixels).hexdigest()

        with Bar(total=len(videos), desc=f"packing {about['modality']}", disable=not progress) as bar:
            hashes = _each(videos, range(len(videos)), write, threads, bar)
        out.flush()
        os.fsync(handle)
    digest = _content_digest(T, about["signed_dx"], videos, sizes.tolist(), hashes)
    index = {"format": FORMAT, **about, "short_side": short_side, "digest": digest, "upright": True}
    index |= {"names": videos, "sizes": sizes.tolist()}
    index |= {"lengths": lengths.ravel().tolist(), "decoders": sorted(agreed)} if encoded else {}
    (folder / "index.json").write_text(json.dumps(index), encoding="utf-8")


def _sizes_of(files: Mapping[str, list[Path]], short_side: int | None, threads: int) -> np.ndarray:
    """(H, W) of each clip's frames in a pack, (V, 2), to judge by the header of its first one."""

    def final_size(paths: list[Path]) -> tuple[int, int]:
        size = frame_size(paths[0])
        if short_side is None:
            return size
        after = resized(*size, short_side)
        check_made(paths[0], size, after)
        return after

    return np.array(_each(list(files), list(files.values()), final_size, threads), np.int64)


def _form_for(
    files: Mapping[str, list[Path]], short_side: int | None, T: int, threads: int, places: Mapping[str, Path]
) -> str:
    """The form of a pack that is there, else the one that fits memory and disk, which is told."""
    there = [form for form, target in places.items() if _read_index(target) is not None]
    if there:
        return there[0]
    try:
        needed = int(_offsets(_sizes_of(files, short_side, threads), T)[-1])
    except ClipsError:  # told when the pack is made
        return RAW
    packs = next(iter(places.values())).parent
    free = shutil.disk_usage(packs if packs.is_dir() else packs.parent).free
    form, why = chosen_form(needed, free)
    if form != RAW:
        log.info("%s: the pack holds encoded frames: %s; data.pack=raw would have it otherwise", packs, why)
    return form


def _content_digest(
    T: int, signed_dx: bool, names: Sequence[str], sizes: Sequence[tuple[int, int]], hashes: Sequence[str]
) -> str:
    # Signed or not decides what mirroring gives, so it is part of what was seen.
    content = hashlib.sha256(f"{T}{' signed' * signed_dx}\n".encode())
    for name, (height, width), clip_hash in zip(names, sizes, hashes, strict=True):
        content.update(f"{name}\t{height}\t{width}\t{clip_hash}\n".encode())
    return content.hexdigest()


def _is_intact(pack: FramePack, threads: int) -> bool:
    """Whether a pack's pixels are those of its digest; all of it is read."""
    rows = range(len(pack))
    with Bar(total=len(pack), desc=f"checking {pack.modality}") as bar:
        try:
            hashes = _each(
                pack.names, rows, lambda row: hashlib.sha256(pack.clip(row).data).hexdigest(), threads, bar
            )
        except ClipsError:  # encoded frames that are none any more
            return False
    sizes = [pack.size(row) for row in rows]
    return _content_digest(pack.T, pack.signed, pack.names, sizes, hashes) == pack.digest


def _each(
    names: Sequence[str],
    items: Sequence[_Item],
    work: Callable[[_Item], _Result],
    threads: int,
    bar: Any = None,
) -> list[_Result]:
    """`work` on the item of every clip, in order. What is wrong with clips is collected and told at once."""
    results: list[_Result] = []
    problems: list[tuple[str, str]] = []
    with ThreadPoolExecutor(threads) as pool:
        for name, future in [(name, pool.submit(work, item)) for name, item in zip(names, items, strict=True)]:
            try:
                results.append(future.result())
            except DataError as error:
                problems.append((name, str(error)))
            except OSError:
                pool.shutdown(cancel_futures=True)  # the disk is full: the others would meet the same
                raise
            if bar is not None:
                bar.update()
    if problems:
        raise ClipsError(problems, len(items))
    return results


def _read_index(folder: Path) -> dict[str, Any] | None:
    """The index of a whole pack of this format, or None."""
    try:
        index: dict[str, Any] = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        sizes = np.array(index["sizes"], np.int64).reshape(-1, 2)
        encoded = index.get("form") == ENCODED
        expected = sum(index["lengths"]) if encoded else _offsets(sizes, index["T"])[-1]
        whole = (folder / "frames.bin").stat().st_size == expected and index["format"] == FORMAT
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return index if whole else None


def _offsets(sizes: np.ndarray, T: int) -> np.ndarray:
    """Where each clip of (H, W) starts in the file, and the end: (V + 1,) int64."""
    return np.concatenate([[0], np.cumsum(sizes.prod(1) * (3 * T))]).astype(np.int64)


def _ends(lengths: np.ndarray) -> np.ndarray:
    """The same of encoded frames of these lengths, (V, T)."""
    return np.concatenate([[0], np.cumsum(lengths.sum(1))]).astype(np.int64)
