"""What runs travel in: a folder, or a zip file of it, of plain JSON, artifacts, and a checksum of each file.

* `export.json`: what it is and where it came from; experiments and registered models
* `runs/<run id>.json`: a run, with the whole history of its metrics
* `models/<model id>.json`: a logged model
* `artifacts/<id>/`: files of a run or of a logged model
* `sha256sums`: checksums, as `sha256sum --check sha256sums` reads them
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from litemkd.errors import TrackingError, some
from litemkd.runtime.progress import Bar
from litemkd.storage.files import whole_folder, write_whole

FORMAT = 1
INDEX, SUMS = "export.json", "sha256sums"
RUNS, MODELS, ARTIFACTS = "runs", "models", "artifacts"


class Archive:
    """An export as a folder.

    Args:
        folder: that holds it, or is filled with it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, name: str, content: Mapping[str, Any]) -> None:
        """Write a JSON file, such as `runs/<run id>.json`."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")

    def read(self, name: str) -> dict[str, Any]:
        """Read a JSON file. TrackingError: it is no JSON."""
        try:
            return json.loads((self.folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise TrackingError(f"{self.folder / name} cannot be read: {error}") from error

    def read_all(self, folder: str) -> list[dict[str, Any]]:
        """Read every JSON file of a folder."""
        return [self.read(f"{folder}/{path.name}") for path in sorted((self.folder / folder).glob("*.json"))]

    def index(self) -> dict[str, Any]:
        """What `export.json` says. TrackingError: it is of a form that is not known here."""
        index = self.read(INDEX)
        if index.get("format") != FORMAT:
            raise TrackingError(
                f"{self.folder / INDEX} says format {index.get('format')!r}; this version reads {FORMAT}"
            )
        return index

    def artifacts(self, owner: str) -> Path:
        """The folder of files of a run or a model; not there where it has none."""
        return self.folder / ARTIFACTS / owner

    def seal(self) -> None:
        """Write the checksums of all that is there."""
        names = sorted(path.relative_to(self.folder).as_posix() for path in _files(self.folder))
        with Bar(names, desc="checksums", unit="file") as bar:
            lines = [f"{_digest(self.folder / name)}  {name}\n" for name in bar]
        (self.folder / SUMS).write_text("".join(lines), encoding="utf-8")

    def check(self) -> None:
        """Compare every file with its checksum.

        Raises:
            TrackingError: files that are missing, changed, not listed, or no plain files.
        """
        wanted = _sums((self.folder / SUMS).read_text(encoding="utf-8"), self.folder)
        links = [path for path in self.folder.rglob("*") if path.is_symlink()]
        if links:
            raise TrackingError(f"{links[0]} is a link; an export holds plain files only")
        there = {path.relative_to(self.folder).as_posix() for path in _files(self.folder)} - {SUMS}
        for words, names in (("missing", wanted.keys() - there), ("not listed", there - wanted.keys())):
            if names:
                raise TrackingError(f"{self.folder}: {words} by {SUMS}: {some(sorted(names))}")
        with Bar(sorted(wanted), desc="checking", unit="file") as bar:
            changed = [name for name in bar if _digest(self.folder / name) != wanted[name]]
        if changed:
            raise TrackingError(f"{self.folder}: damaged or changed since the export: {some(changed)}")


@contextlib.contextmanager
def new_archive(target: Path) -> Iterator[Archive]:
    """An archive to fill; at the end of the block it is at `target`, whole, as a zip file if it ends in .zip.

    Raises:
        TrackingError: there is something at `target`, or it cannot be written.
    """
    if target.exists():
        raise TrackingError(f"{target} is there already; name a new folder, or a new file that ends in .zip")
    try:
        if target.suffix != ".zip":
            with whole_folder(target) as folder:
                archive = Archive(folder)
                yield archive
                archive.seal()
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as scratch:
            archive = Archive(Path(scratch))
            yield archive
            archive.seal()
            write_whole(target, lambda beside: _zip(archive.folder, beside))
    except OSError as error:
        raise TrackingError(f"{target} cannot be written: {error.strerror or error}") from error


@contextlib.contextmanager
def open_archive(source: Path) -> Iterator[Archive]:
    """The archive at `source`, a folder or a zip file, with every file checked.

    Raises:
        TrackingError: no export is there, or it is damaged or unsafe.
    """
    if source.is_dir():
        if not (source / SUMS).is_file():
            raise TrackingError(f"{source} holds no {SUMS}; a folder that export-runs wrote would do")
        archive = Archive(source)
        archive.check()
        yield archive
        return
    if not source.is_file():
        raise TrackingError(f"{source}: no such file or folder; what export-runs wrote would do")
    with tempfile.TemporaryDirectory(prefix="litemkd-import-") as scratch:
        try:
            with zipfile.ZipFile(source) as opened:
                _unzip(opened, source, Path(scratch))
        except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError, OSError) as error:
            raise TrackingError(f"{source} cannot be read: {error}") from error
        archive = Archive(Path(scratch))
        archive.check()
        yield archive


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sums(text: str, where: Path) -> dict[str, str]:
    """Checksums by name; every name has been found to stay within the folder."""
    found = {}
    for line in text.splitlines():
        digest, _, name = line.partition("  ")
        _check_name(name, where)
        found[name] = digest
    if INDEX not in found:
        raise TrackingError(f"{where} names no {INDEX}: it is no export of litemkd")
    return found


def _check_name(name: str, where: Path) -> None:
    parts = PurePosixPath(name).parts
    if not parts or parts[0] == "/" or ".." in parts or ":" in parts[0] or "\\" in name or "\0" in name:
        raise TrackingError(f"{where}: {name!r} goes out of the folder, or is no plain name; nothing was read")


def _zip(folder: Path, target: Path) -> None:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as made:
        for path in sorted(_files(folder)):
            made.write(path, path.relative_to(folder).as_posix())


def _unzip(opened: zipfile.ZipFile, source: Path, folder: Path) -> None:
    """Unpack the files that the checksums name, and no others."""
    if SUMS not in opened.namelist():
        raise TrackingError(f"{source} holds no {SUMS}; a zip file that export-runs wrote would do")
    names = [SUMS, *_sums(opened.read(SUMS).decode("utf-8"), source)]
    missing = set(names) - set(opened.namelist())
    if missing:
        raise TrackingError(f"{source}: missing by {SUMS}: {some(sorted(missing))}")
    size, free = sum(opened.getinfo(name).file_size for name in names), shutil.disk_usage(folder).free
    if size > free:
        raise TrackingError(
            f"{source} unpacks to {size / 1e9:.1f} GB; {free / 1e9:.1f} GB are free in {folder}"
        )
    with Bar(names, desc="unpacking", unit="file") as bar:
        for name in bar:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with opened.open(name) as packed, path.open("xb") as out:
                shutil.copyfileobj(packed, out)
