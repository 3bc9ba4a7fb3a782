"""Frames that come as one zip file, `<modality>_l<T>.zip` of class/video/frame.jpg: unpacked once, safely.

A zip is somebody else's file: before anything is written, every entry is looked at, and one that would leave
the folder, is a link, or is larger than any frame stops it all.
"""

from __future__ import annotations

import json
import re
import shutil
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from litemkd.data.frames import LARGEST, frame_folder, frame_folder_path
from litemkd.data.names import both, composed
from litemkd.errors import DataError, StorageError
from litemkd.recordings.endings import is_litter, is_picture
from litemkd.storage.files import whole_folder, write_text

NOTE = ".from_zip.json"
RATIO = 100  # times its own size, at most; pictures hardly shrink
_ENCRYPTED = 0x1


def find_zip(folders: list[Path], modality: str, T: int) -> Path | None:
    """The zip file of a modality's frames in one of these folders, None if there is none."""
    names = [f"{modality}_l{T}.zip", *([f"l{T}.zip"] if modality == "rgb" else [])]
    return next((path for folder in folders for name in names if (path := folder / name).is_file()), None)


def unpack_frames(archive: Path, dataset_dir: Path, modality: str, T: int) -> bool:
    """Unpack a zip of frames into `<dataset_dir>/<modality>_l<T>/`, all of it or nothing.

    The last two folders of an entry are its class and its video, whatever lies above them. Files that are no
    pictures are passed over. Frames that are there already stay.

    Returns:
        Whether anything was unpacked now.

    Raises:
        DataError: no zip file or a damaged one, an unsafe or absurd entry, too little space, or frames that
            were unpacked from another file.
    """
    if not archive.is_file():
        raise DataError(f"{archive}: no such file; a zip file of class/video/*.jpg is needed")
    about = archive.stat()
    record = {"zip": archive.name, "bytes": about.st_size, "time": about.st_mtime_ns}
    there = frame_folder(dataset_dir, modality, T)
    if there is not None:
        _same(there, archive, record)
        return False
    target = frame_folder_path(dataset_dir, modality, T)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with zipfile.ZipFile(archive) as opened:
            entries = _checked(archive, opened.infolist())
            size, free = (
                sum(entry.file_size for entry in entries.values()),
                shutil.disk_usage(target.parent).free,
            )
            if size > RATIO * about.st_size:
                raise DataError(
                    f"{archive} unpacks to {size / about.st_size:.0f} times its size, which pictures do not: "
                    "nothing was unpacked"
                )
            if size > free:
                raise DataError(
                    f"{archive} unpacks to {size / 1e9:.1f} GB; {free / 1e9:.1f} GB are free in {target.parent}"
                )
            with whole_folder(target) as beside:
                for name, entry in entries.items():
                    path = beside / name
                    path.parent.mkdir(parents=True, exist_ok=True)
                    with opened.open(entry) as source, path.open("xb") as out:
                        shutil.copyfileobj(source, out)
                write_text(beside / NOTE, json.dumps(record))
    except StorageError:
        raise
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError, RuntimeError) as error:
        raise DataError(f"cannot unpack {archive} ({about.st_size} bytes): {error}") from error
    return True


def _same(there: Path, archive: Path, record: dict[str, object]) -> None:
    """Check that frames which came out of a zip came out of this one. Others are the user's own."""
    try:
        before = json.loads((there / NOTE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    if before != record:
        raise DataError(
            f"{there} was unpacked from another file than {archive} is now; delete the folder to "
            "unpack it again"
        )


def _checked(archive: Path, entries: list[zipfile.ZipInfo]) -> dict[str, zipfile.ZipInfo]:
    """The frames by class/video/frame; every entry has been found harmless."""
    frames: dict[str, zipfile.ZipInfo] = {}
    for entry in entries:
        # As it stands in the file: the library's own name has been cut at a NUL, and its slashes turned.
        name = getattr(entry, "orig_filename", entry.filename)
        if wrong := _wrong(name, entry):
            raise DataError(f"{archive}: entry {name!r} {wrong}; nothing was unpacked")
        path = PurePosixPath(name)
        if entry.is_dir() or any(map(is_litter, path.parts)) or not is_picture(path.name):
            continue
        if len(path.parts) < 3:
            raise DataError(
                f"{archive}: entry {name!r} is not of the form class/video/frame; nothing was unpacked"
            )
        short = composed("/".join(path.parts[-3:]))
        if short in frames:
            raise DataError(f"{archive}: {both(repr(frames[short].filename), repr(name), short)}; keep one")
        frames[short] = entry
    if not frames:
        raise DataError(f"{archive} holds no frames; class/video/*.jpg is needed")
    return frames


def _wrong(name: str, entry: zipfile.ZipInfo) -> str | None:
    parts = name.replace("\\", "/").split("/")
    if name.startswith(("/", "\\")) or re.match("[A-Za-z]:", parts[0]):
        return "is an absolute path"
    if ".." in parts:
        return "goes out of the folder with '..'"
    if "\\" in name or "\0" in name:
        return "has a backslash or a NUL in its name"
    mode = entry.external_attr >> 16
    if mode and stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link or another special file"
    if entry.flag_bits & _ENCRYPTED:
        return "is encrypted"
    if entry.file_size > LARGEST:
        return f"is said to be {entry.file_size / 1e6:.0f} MB; no frame is larger than {LARGEST / 1e6:.0f} MB"
    return None
