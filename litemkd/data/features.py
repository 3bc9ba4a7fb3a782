"""Per-frame features on disk in the released layout: feature/<modality>/<class>/<video>/*.npy, each (T, D).

Features are looked up by name, never by position, so a missing clip can not shift the others.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from litemkd.data.finding.folders import list_folders
from litemkd.errors import DataError, some
from litemkd.storage.arrays import read_array
from litemkd.storage.files import not_a_file, write_text, write_whole

FUSED = "mm_features"  # folder of the teacher's fused features
RECORD = "made_from.json"
FILE = "features.npy"


def feature_folder(dataset_dir: Path, modality: str) -> Path:
    """Where features of a modality lie: `feature/<modality>_features` as released, or `feature/<modality>`."""
    released = dataset_dir / "feature" / f"{modality}_features"
    return released if released.is_dir() else dataset_dir / "feature" / modality


def write_features(folder: Path, features: Mapping[str, np.ndarray], made_from: Mapping[str, str]) -> None:
    """Write (T, D) features of videos `class/video`, then the record of what they were made from."""
    record, clips = folder / RECORD, list_folders(folder)
    write_text(record, "{}\n")  # until all are written, they are ours, but of nothing in particular
    for name, values in features.items():
        write_whole(clips.path(name) / FILE, functools.partial(_save, np.asarray(values, dtype=np.float32)))
    text = json.dumps(dict(made_from), indent=2, sort_keys=True)
    write_text(record, text)


def _save(array: np.ndarray, path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, array, allow_pickle=False)


def made_from(folder: Path) -> dict[str, str] | None:
    """What the features of a folder were made from; empty if writing was interrupted, None if not ours."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return record if isinstance(record, dict) else None


def read_features(folder: Path, videos: Sequence[str], frames: int) -> np.ndarray:
    """Features of `videos` in their order, (V, T, D) float32.

    Raises:
        DataError: features missing for some videos, unreadable, of another shape than (frames, D) with one D
            for all, or not finite; the files are named.
    """
    clips = list_folders(folder)
    files = {name: path for name in videos if (path := _file(clips.path(name))) is not None}
    if missing := [name for name in videos if name not in files]:
        raise DataError(
            f"{folder}: no features for {len(missing)} of {len(videos)} videos: "
            f"{some(missing)}; each needs a folder <class>/<video> with one .npy file"
        )
    out: np.ndarray | None = None
    for place, name in enumerate(videos):
        array = _read(files[name], frames, None if out is None else out.shape[2])
        if out is None:
            out = np.empty((len(videos), *array.shape), dtype=np.float32)
        out[place] = array
    if out is None:
        raise DataError(f"{folder}: features of no video were asked for")
    return out


def features_digest(folder: Path, videos: Sequence[str]) -> str:
    """A digest of the files that `read_features` would read; that a file is missing counts as well."""
    digest, clips = hashlib.sha256(), list_folders(folder)
    for name in videos:
        path = _file(clips.path(name))
        content = "missing" if path is None else hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{name}\t{content}\n".encode())
    return digest.hexdigest()


def _file(clip: Path) -> Path | None:
    return next((path for path in sorted(clip.glob("*.npy")) if not_a_file(path) is None), None)


def _read(path: Path, frames: int, width: int | None) -> np.ndarray:
    array = read_array(path)
    if array.ndim != 2 or array.shape[0] != frames or (width is not None and array.shape[1] != width):
        wanted = f"({frames}, {'D' if width is None else width})"
        raise DataError(f"{path}: features of shape {array.shape}; {wanted} would do")
    if not np.issubdtype(array.dtype, np.floating) or not np.isfinite(array).all():
        raise DataError(f"{path}: features must be finite floating-point numbers, found {_trouble(array)}")
    return array


def _trouble(array: np.ndarray) -> str:
    if not np.issubdtype(array.dtype, np.floating):
        return f"values of type {array.dtype}"
    return f"{int((~np.isfinite(array)).sum())} NaN or infinite values"
