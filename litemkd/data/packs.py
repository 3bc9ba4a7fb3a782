"""Packs: the frames of many clips, decoded and resized once, as raw bytes in one memory-mapped file.

Reading a clip is then a crop and perhaps a flip, with no JPEG to decode. A pack holds the very pixels that
reading the JPEGs gives. It lies in `<dataset>/packs/<modality>_l<T>_s<short side>_<names>_<key>/` as
`frames.bin` (uint8, clip after clip, each (T, H, W, 3)) and `index.json`. The key is a digest of what it was
made from: when frames change on disk, the next `build_pack` makes a new pack and removes the old one.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
from tqdm import tqdm

from litemkd.data.frames import frame_entries, frame_folder, frame_size, read_files
from litemkd.data.videos import centre_corner, resize_short, resized
from litemkd.errors import DataError, some
from litemkd.files import locked

FORMAT = 1
AT_ONCE = 8  # folders listed at once: waiting for a disk or a server, not computing
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class FramePack:
    """An open pack. Cheap to pickle: another process opens the same file.

    Attributes:
        folder: where it lies.
        modality: rgb, flow, depth or skeleton.
        T: frames a clip.
        names: "class/video" of each clip, in the order of the rows.
        digest: sha256 of the content (names, sizes, pixels, and whether dx is signed); the same on any machine.
        signed_dx: channel 0 is a movement in x about 128 (made by `encode_flow`), so mirroring negates it.
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
        self.signed_dx: bool = index["signed_dx"]
        self._sizes = np.array(index["sizes"], np.int64).reshape(-1, 2)
        self._offsets = _offsets(self._sizes, self.T)
        self._rows = {name: row for row, name in enumerate(self.names)}
        self._bytes = np.memmap(self.folder / "frames.bin", np.uint8, "r")

    def __len__(self) -> int:
        return len(self.names)

    def __reduce__(self) -> tuple[type[FramePack], tuple[Path]]:
        return FramePack, (self.folder,)

    def clip(self, row: int) -> np.ndarray:
        """The frames of a clip, (T, H, W, 3) uint8, a read-only view into the file."""
        height, width = self._sizes[row]
        piece = self._bytes[self._offsets[row] : self._offsets[row + 1]]
        return np.asarray(piece).reshape(self.T, height, width, 3)

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
        missing = [name for name in names if name not in self._rows]
        if missing:
            raise DataError(
                f"the {self.modality} pack {self.folder} lacks {len(missing)} clips: {some(missing)}; "
                "prepare these clips or take them out of the split lists"
            )
        return np.array([self._rows[name] for name in names], np.int64)


def build_pack(
    dataset_dir: Path,
    modality: str,
    T: int,
    videos: Sequence[str],
    short_side: int | None,
    workers: int | None = None,
    progress: bool = False,
) -> FramePack:
    """The pack of these clips, made from their JPEGs unless it is there and they have not changed.

    Processes that ask for the same pack at once wait for the one that builds it. A pack appears under its name
    only when whole; what a killed build left is removed by the next.

    Args:
        dataset_dir: holds `<modality>_l<T>/`; the pack goes into `packs/` there.
        modality: rgb, flow, depth or skeleton.
        T: frames a clip.
        videos: "class/video" names; the rows of the pack in this order.
        short_side: of the frames in the pack, in pixels; None leaves them as they are.
        workers: threads that decode; None is one for each CPU.
        progress: show a progress bar on standard error.

    Raises:
        DataError: no frames of the modality, clips missing or damaged (listed), or too little disk space.
    """
    source = frame_folder(dataset_dir, modality, T)
    if source is None:
        raise DataError(
            f"no {modality} frames: no folder {Path(dataset_dir) / f'{modality}_l{T}'}; prepare them first"
        )
    repeated = [name for name, count in Counter(videos).items() if count > 1]
    if repeated or not videos:
        raise DataError(
            f"a pack is made of different clips; given {len(videos)}, "
            f"repeated {len(repeated)}: {some(repeated) or 'none'}"
        )
    threads = workers or os.cpu_count() or 1
    listings = _each(videos, lambda name: _listing(source / name, T), AT_ONCE)
    signed_dx = _signed_dx(source)
    key = _key(listings, videos, modality, T, short_side, signed_dx)
    names_key = hashlib.sha256("\n".join(videos).encode()).hexdigest()[:8]
    stem = f"{modality}_l{T}_s{short_side or 'full'}_{names_key}_"
    packs = Path(dataset_dir) / "packs"
    target = packs / f"{stem}{key[:12]}"
    if _read_index(target) is None:
        packs.mkdir(parents=True, exist_ok=True)
        with locked(packs / f".{stem}lock"):
            if _read_index(target) is None:  # it may have been built while this process waited
                for old in [*packs.glob(f"{stem}*"), *packs.glob(f".building_{stem}*")]:
                    shutil.rmtree(old)
                building = packs / f".building_{target.name}"
                building.mkdir()
                files = [
                    [source / name / file for file, _, _ in listing]
                    for name, listing in zip(videos, listings, strict=True)
                ]
                about = {"key": key, "modality": modality, "T": T, "signed_dx": signed_dx}
                try:
                    _fill(building, about, videos, files, short_side, threads, progress)
                    building.replace(target)
                finally:
                    shutil.rmtree(building, ignore_errors=True)
    return FramePack(target)


def crop_clips(
    pack: FramePack,
    rows: Sequence[int] | np.ndarray,
    size: int,
    rng: np.random.Generator | None = None,
    *,
    flip: bool = True,
    scale: tuple[float, float] | None = None,
) -> np.ndarray:
    """Square crops of clips: one place, scale and mirroring for all frames of a clip.

    Args:
        pack: where the clips are.
        rows: (V,) rows of the pack, see `FramePack.rows`.
        size: side of the crops in pixels.
        rng: None takes the centre, unmirrored. Else four numbers a clip are drawn whatever the options, so the
            same generator state crops every modality of a clip alike.
        flip: with `rng`, mirror every second clip or so (half the chance); flow's dx changes its sign then.
        scale: with `rng`, cut a square of this share of the short side, (smallest, largest), and resize it to
            `size`; None or (1, 1) cuts `size` pixels as they are.

    Returns:
        (V, T, size, size, 3) uint8.

    Raises:
        DataError: frames smaller than the crop.
    """
    for row in rows:
        height, width = pack.size(row)
        if min(height, width) < size:
            raise DataError(
                f"{pack.names[row]} ({pack.modality}) has frames of {width}x{height} in the pack, too small "
                f"for a crop of {size}; prepare with a short side of {size} or more, or crop less"
            )
    out = np.empty((len(rows), pack.T, size, size, 3), np.uint8)
    if rng is None:
        for clip, row in zip(out, rows, strict=True):
            height, width = pack.size(row)
            _cut(pack, row, clip, *centre_corner(height, width, size), size)
        return out

    smallest, largest = scale or (1, 1)
    resizing = (smallest, largest) != (1, 1)

    def augment(clip: np.ndarray, row: int, draws: np.ndarray) -> None:
        height, width = pack.size(row)
        by_scale, down, across, by_flip = draws.tolist()
        side = size
        if resizing:
            side = max(1, round((smallest + (largest - smallest) * by_scale) * min(height, width)))
        _cut(pack, row, clip, int(down * (height - side + 1)), int(across * (width - side + 1)), side)
        if flip and by_flip < 0.5:
            _mirror(clip, pack.signed_dx)

    draws = rng.random((len(rows), 4))
    if resizing:  # resizing computes; copying alone is as fast as memory is, whatever the number of threads
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(augment, out, rows, draws))
    else:
        for each in zip(out, rows, draws, strict=True):
            augment(*each)
    return out


def _cut(pack: FramePack, row: int, out: np.ndarray, top: int, left: int, side: int) -> None:
    """Copy a square of a clip's frames to `out` (T, size, size, 3), resized where `side` is another."""
    piece = pack.clip(row)[:, top : top + side, left : left + side]
    size = out.shape[1]
    if side == size:
        out[:] = piece
        return
    how = cv2.INTER_AREA if side > size else cv2.INTER_LINEAR
    for frame, place in zip(piece, out, strict=True):
        cv2.resize(frame, (size, size), dst=place, interpolation=how)


def _mirror(clip: np.ndarray, signed_dx: bool) -> None:
    """Mirror (T, size, size, 3) frames where they are."""
    rows = clip.reshape(-1, *clip.shape[2:])  # OpenCV mirrors a tall picture in place, much faster than NumPy
    cv2.flip(rows, 1, dst=rows)
    if signed_dx:
        dx = clip[..., 0]
        # 256 - dx in eight bits; 0, which only JPEG noise makes, becomes 255.
        clip[..., 0] = np.where(dx == 0, 255, np.negative(dx))


def _fill(
    folder: Path,
    about: dict[str, Any],
    videos: Sequence[str],
    files: list[list[Path]],
    short_side: int | None,
    threads: int,
    progress: bool,
) -> None:
    """Write `frames.bin` and `index.json` into a folder that nobody reads yet."""

    def final_size(paths: list[Path]) -> tuple[int, int]:
        size = frame_size(paths[0])
        return size if short_side is None else resized(*size, short_side)

    T = about["T"]
    sizes = np.array(_each(files, final_size, threads), np.int64)
    offsets = _offsets(sizes, T)
    free = shutil.disk_usage(folder).free
    if free < offsets[-1]:
        raise DataError(
            f"the pack {folder} needs {offsets[-1] / 1e9:.1f} GB, {free / 1e9:.1f} GB are free there"
        )
    with (folder / "frames.bin").open("wb") as out:
        out.truncate(int(offsets[-1]))
        handle = out.fileno()

        def write(row: int) -> str:
            clip = read_files(files[row])
            if short_side is not None:
                clip = np.stack([resize_short(frame, short_side) for frame in clip])
            data = np.ascontiguousarray(clip).data.cast("B")
            start, done = int(offsets[row]), 0
            while done < len(data):  # one write takes at most 2 GB
                done += os.pwrite(handle, data[done:], start + done)
            return hashlib.sha256(data).hexdigest()

        with tqdm(total=len(videos), desc=f"packing {about['modality']}", disable=not progress) as bar:
            hashes = _each(range(len(videos)), write, threads, bar)
        out.flush()
        os.fsync(handle)
    # Signed or not decides what mirroring gives, so it is part of what was seen.
    content = hashlib.sha256(f"{T}{' signed' * about['signed_dx']}\n".encode())
    for name, (height, width), clip_hash in zip(videos, sizes.tolist(), hashes, strict=True):
        content.update(f"{name}\t{height}\t{width}\t{clip_hash}\n".encode())
    index = {"format": FORMAT, **about, "short_side": short_side, "digest": content.hexdigest()}
    index |= {"names": list(videos), "sizes": sizes.tolist()}
    (folder / "index.json").write_text(json.dumps(index), encoding="utf-8")


def _each(
    items: Sequence[_Item], work: Callable[[_Item], _Result], threads: int, bar: Any = None
) -> list[_Result]:
    """`work` on every item, in order. What is wrong with clips is collected, and told all at once."""
    results: list[_Result] = []
    problems: list[str] = []
    with ThreadPoolExecutor(threads) as pool:
        for future in [pool.submit(work, item) for item in items]:
            try:
                results.append(future.result())
            except DataError as error:
                problems.append(str(error))
            if bar is not None:
                bar.update()
    if problems:
        more = f"\n  and {len(problems) - 20} more" if len(problems) > 20 else ""
        lines = "".join(f"\n  {problem}" for problem in problems[:20])
        raise DataError(f"{len(problems)} of {len(items)} clips cannot be packed:{lines}{more}")
    return results


def _listing(clip_folder: Path, T: int) -> list[tuple[str, int, int]]:
    """Name, size and time of change of each of the T frames of a clip."""
    listing = []
    for entry in frame_entries(clip_folder, T):
        try:
            about = entry.stat()
        except OSError as error:
            raise DataError(f"cannot read frame {entry.path}: {error.strerror}") from error
        listing.append((entry.name, about.st_size, about.st_mtime_ns))
    return listing


def _key(
    listings: list[list[tuple[str, int, int]]],
    videos: Sequence[str],
    modality: str,
    T: int,
    short_side: int | None,
    signed_dx: bool,
) -> str:
    """A digest of all that decides a pack's content, as far as the file system knows without reading."""
    digest = hashlib.sha256(f"{FORMAT} {modality} {T} {short_side}{' signed' * signed_dx}\n".encode())
    for name, listing in zip(videos, listings, strict=True):
        lines = (f"{file} {size} {changed}\n" for file, size, changed in listing)
        digest.update(f"{name}\n{''.join(lines)}".encode())
    return digest.hexdigest()


def _signed_dx(source: Path) -> bool:
    """Whether frames hold flow as `encode_flow` writes it: what preparing notes beside them."""
    try:
        return json.loads((source / "prepare.json").read_text(encoding="utf-8")).get("encoding") == "flow_xy"
    except (OSError, ValueError, AttributeError):
        return False


def _read_index(folder: Path) -> dict[str, Any] | None:
    """The index of a whole pack of this format, or None."""
    try:
        index: dict[str, Any] = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        expected = _offsets(np.array(index["sizes"], np.int64).reshape(-1, 2), index["T"])[-1]
        whole = (folder / "frames.bin").stat().st_size == expected and index["format"] == FORMAT
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return index if whole else None


def _offsets(sizes: np.ndarray, T: int) -> np.ndarray:
    """Where each clip of (H, W) starts in the file, and the end: (V + 1,) int64."""
    return np.concatenate([[0], np.cumsum(sizes.prod(1) * (3 * T))]).astype(np.int64)
