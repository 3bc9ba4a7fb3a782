"""What a pack is made of: the frame files of its clips, as far as they are known without reading."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from litemkd.data.frames import is_stored_turned
from litemkd.data.sampled import sampled_entries
from litemkd.errors import DataError

FORMAT = 1  # of packs; another one has another key


def listing_of(clip_folder: Path, T: int, rgb: Path | None) -> list[tuple[str, int, int]]:
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


def key_of(
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


def is_signed_dx(source: Path) -> bool:
    """Whether frames hold flow as `encode_flow` writes it: what preparing notes beside them."""
    try:
        return json.loads((source / "prepare.json").read_text(encoding="utf-8")).get("encoding") == "flow_xy"
    except (OSError, ValueError, AttributeError):
        return False


def has_turned(source: Path, files: Mapping[str, Sequence[Path]], threads: int) -> bool:
    """Whether a frame of the clips in a folder is not stored upright. Those made here have no EXIF data."""
    if (source / "prepare.json").is_file():
        return False
    with ThreadPoolExecutor(threads) as pool:
        return any(pool.map(is_stored_turned, [path for of_clip in files.values() for path in of_clip]))
