"""What lies in class folders, `<folder>/<class>/<clip>`: nothing that is there is passed over unseen."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from litemkd.data.frames import frame_folder
from litemkd.data.names import name_of, only
from litemkd.errors import DataError
from litemkd.recordings.endings import is_litter
from litemkd.storage.files import not_a_file

_NOTES = ("encoding.json", "prepare.json", "made_from.json")  # beside class folders, and read by their names


@dataclass(frozen=True)
class Listing:
    """The clips in class folders.

    Attributes:
        root: the folder of class folders.
        paths: those of each name, as a rule one.
        passed_over: what else lies there, by its path from `root`; hidden files are not among it.
    """

    root: Path
    paths: dict[str, list[Path]]
    passed_over: tuple[str, ...]

    def find(self, name: str) -> Path | None:
        """The clip of a name as lists have it, None if there is none.

        Raises:
            DataError: several have this name.
        """
        found = self.paths.get(name)
        return only(found, name) if found else None

    def path(self, name: str) -> Path:
        """As `find`; for a clip that is not there, where it would be."""
        return self.find(name) or self.root / name

    def all(self) -> dict[str, Path]:
        """Every clip by its name, sorted.

        Raises:
            DataError: several of one name.
        """
        return {name: only(self.paths[name], name) for name in sorted(self.paths)}


def list_files(folder: Path, suffixes: tuple[str, ...], *, or_folders: bool = False) -> Listing:
    """The files in class folders whose names end so, in any case of letters.

    Args:
        folder: with one folder a class.
        suffixes: in lower case.
        or_folders: a folder in a class folder is a clip as well.

    Raises:
        DataError: no such folder, or one that cannot be listed.
    """
    if not Path(folder).is_dir():
        raise DataError(f"no folder {folder}; it should hold one folder of clips for each class")
    return _list(Path(folder), suffixes, or_folders)


def list_folders(folder: Path) -> Listing:
    """The folders in class folders, and links there that lead nowhere; none where there is no `folder`.

    Raises:
        DataError: a folder that cannot be listed.
    """
    folder = Path(folder)
    return _list(folder, (), True) if folder.is_dir() else Listing(folder, {}, ())


def rgb_beside(dataset_dir: Path, modality: str, T: int) -> Listing | None:
    """The folders of RGB frames, which give another modality its times; None where there are none."""
    folder = None if modality == "rgb" else frame_folder(dataset_dir, "rgb", T)
    return None if folder is None else list_folders(folder)


def _list(folder: Path, suffixes: tuple[str, ...], folders: bool) -> Listing:
    paths: dict[str, list[Path]] = defaultdict(list)
    others = [path.name for path in _listed(folder) if not path.is_dir() and path.name not in _NOTES]
    for path in in_class_folders(folder):
        named = path.name.lower().endswith(suffixes)
        # What a name promises and is not will be told when it is opened.
        if named or (folders and (path.is_dir() or (path.is_symlink() and not path.exists()))):
            paths[name_of(path)].append(path)
        else:
            others.append(f"{path.parent.name}/{path.name}" + "/" * path.is_dir())
    return Listing(folder, dict(paths), tuple(others))


def in_class_folders(folder: Path) -> Iterator[Path]:
    """All entries of all class folders, sorted; hidden ones are passed over, as are files beside class folders.

    Raises:
        DataError: a folder that cannot be listed, or a link in a class folder's place that leads nowhere.
    """
    for path in _listed(Path(folder)):
        if path.is_dir():
            yield from _listed(path)
        elif path.is_symlink() and not path.exists():
            raise DataError(
                f"{path} is a link that leads nowhere ({not_a_file(path)}); mend it or take it away"
            )


def _listed(folder: Path) -> list[Path]:
    try:
        listed = sorted(folder.iterdir())
    except OSError as error:
        raise DataError(f"cannot read the folder {folder}: {error.strerror}") from error
    return [path for path in listed if not is_litter(path.name)]
