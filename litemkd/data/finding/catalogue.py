"""Finding the videos in a folder as it came out of an archive, and giving them the names of the lists.

The class of a video is the folder it lies in, however deep that is: `UCF-101/<class>/`, `<class>/<class>/`
(HMDB51's own archives), `train/<class>/` (Kinetics). Names of lists are matched as `litemkd.data.names` has
them, with spaces or underscores in a class, and with or without the seconds after a Kinetics video's name. What
is found is laid out as links, `videos/<class>/<clip>.<ext>`.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from litemkd.data.names import clean_name, name_of, only, plain_name
from litemkd.data.published import class_key
from litemkd.errors import DataError, some
from litemkd.recordings.endings import VIDEO_WORDS, is_litter, is_video
from litemkd.storage.files import whole_folder, write_text

NOTE = ".links.json"
_DEPTH = 5  # folders below the one given
_SECONDS = re.compile(r"(.{11})_\d{6}_\d{6}")  # a Kinetics video and the seconds that were cut out


class Catalogue:
    """The clips in a folder, by class and name.

    Args:
        root: the folder; named in messages.
        paths: of the clips (videos, or folders of frames), with the folder of the class above each.
        flat: the folders say nothing about classes. Clips in `root` itself have no class in any case.
        passed_over: what else is there, by its path from `root`.
    """

    def __init__(
        self, root: Path, paths: Iterable[Path], *, flat: bool = False, passed_over: Iterable[str] = ()
    ) -> None:
        self.root, self.passed_over = root, tuple(passed_over)
        self._clips: dict[tuple[str, str], list[Path]] = defaultdict(list)
        self._spelling: dict[str, str] = {}
        for path in paths:
            key = "" if flat or path.parent == root else class_key(path.parent.name)
            one, _, stem = name_of(path).partition("/")
            self._clips[key, stem].append(path)
            if key:
                self._spelling.setdefault(key, one)
        self._without_seconds: dict[tuple[str, str], list[Path]] = defaultdict(list)
        for (key, stem), found in self._clips.items():
            if match := _SECONDS.fullmatch(stem):
                self._without_seconds[key, match[1]] += found

    def __len__(self) -> int:
        return len(self._clips)

    @property
    def classes(self) -> tuple[str, ...]:
        """The class folders that hold clips, as they are spelled there."""
        return tuple(sorted(self._spelling.values()))

    def find(self, video: str) -> Path | None:
        """The clip that a list calls "class/video", None if there is none.

        Raises:
            DataError: several files are that clip.
        """
        one, _, stem = plain_name(video).partition("/")
        match = _SECONDS.fullmatch(stem)
        for key in (class_key(one), ""):
            found = self._clips.get((key, stem)) or self._without_seconds.get((key, stem))
            if not found and match:
                found = self._clips.get((key, match[1]))
            if found:
                return only(found, video)
        return None

    def all(self, spelling: Mapping[str, str] | None = None) -> dict[str, Path]:
        """Every clip by the name a list would give it, sorted.

        Args:
            spelling: of classes by `class_key`: those it has not are left out. None takes all, as on disk.

        Raises:
            DataError: clips without class folders, or several files of one name.
        """
        loose = next((paths[0] for (key, _), paths in self._clips.items() if not key), None)
        if loose is not None and spelling is None:
            raise DataError(
                f"{loose} and perhaps others are in no class folder; put the videos of each class into a "
                "folder of its own, or name lists of class/video lines with --lists DIR"
            )
        found: dict[str, list[Path]] = defaultdict(list)
        for (key, stem), paths in self._clips.items():
            one = (self._spelling if spelling is None else spelling).get(key)
            if one is not None:
                found[_listed(f"{one}/{stem}", paths[0])] += paths
        return {name: only(found[name], name) for name in sorted(found)}

    def not_of(self, classes: Iterable[str]) -> tuple[str, ...]:
        """The class folders that are none of these classes."""
        known = {class_key(one) for one in classes}
        return tuple(sorted(one for key, one in self._spelling.items() if key not in known))


def find_videos(folder: Path, *, flat: bool = False, leave_out: Iterable[Path] = ()) -> Catalogue:
    """The videos anywhere below a folder. Hidden files and folders are passed over, links are followed.

    Args:
        folder: as it came out of an archive.
        flat: the folders say nothing about classes.
        leave_out: folders not to look into, and files not to speak of.

    Raises:
        DataError: no such folder, or no video in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; --videos DIR names the folder that the archive gave")
    passed_over: list[Path] = []
    paths = sorted(_videos(folder, {path.resolve() for path in leave_out}, (folder.resolve(),), passed_over))
    others = [path.relative_to(folder).as_posix() + "/" * path.is_dir() for path in passed_over]
    if not paths:
        there = f", only {some(others)}" if others else ""
        raise DataError(
            f"{folder} holds no video ({VIDEO_WORDS}), down to {_DEPTH} folders below it{there}; if there are "
            "archives in it, unpack them first"
        )
    return Catalogue(folder, paths, flat=flat, passed_over=others)


def _videos(
    folder: Path, leave_out: set[Path], above: tuple[Path, ...], passed_over: list[Path]
) -> Iterator[Path]:
    """Videos below a folder, `above` being where it and the folders above it really lie.

    What cannot be read under a video's name is given too: reading it will say what is wrong. What is no video,
    and folders that lie too deep, are added to `passed_over`.
    """
    try:
        with os.scandir(folder) as entries:
            listed = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"cannot read the folder {folder}: {error.strerror}") from error
    for entry in listed:
        if is_litter(entry.name):
            continue
        path = Path(entry.path)
        if not path.is_dir():
            if is_video(entry.name):
                yield path
            elif path.resolve() not in leave_out:
                passed_over.append(path)
            continue
        inside = path.resolve()
        # A link back to a folder above would show its videos again, in other classes.
        if inside in leave_out or inside in above:
            continue
        if len(above) <= _DEPTH:
            yield from _videos(path, leave_out, (*above, inside), passed_over)
        else:
            passed_over.append(path)


def link_videos(folder: Path, found: Mapping[str, Path]) -> None:
    """Lay out clips as links, `<folder>/<class>/<clip>.<ext>`; what is there already and the same stays.

    Raises:
        DataError: a folder of that name which is not of such links, or links cannot be made there.
    """
    note = folder / NOTE
    above = {parent: parent.resolve() for parent in {path.parent for path in found.values()}}
    targets = {name: above[path.parent] / path.name for name, path in sorted(found.items())}
    lines = "".join(f"{name}\t{target}\n" for name, target in targets.items())
    record = json.dumps({"links": len(found), "digest": hashlib.sha256(lines.encode()).hexdigest()})
    if folder.is_dir() and any(folder.iterdir()):
        if not note.is_file():
            raise DataError(
                f"{folder} is there already and is not of links made here; move it away, or leave out --videos "
                "to use what is in it"
            )
        if note.read_text(encoding="utf-8") == record:
            return
    try:
        with whole_folder(folder) as beside:
            for one in sorted({name.partition("/")[0] for name in targets}):
                (beside / one).mkdir()
            for name, target in targets.items():
                (beside / f"{name}{target.suffix.lower()}").symlink_to(target)
            write_text(beside / NOTE, record)
    except OSError as error:
        raise DataError(f"cannot make links to the videos in {folder}: {error.strerror}") from error


def _listed(name: str, path: Path) -> str:
    """The name, if a list will give it back."""
    try:
        clean = clean_name(name)
    except DataError:
        clean = ""
    if not clean or len(clean.splitlines()) > 1:
        raise DataError(f"{path} has a name that cannot stand in a list; rename it")
    return clean
