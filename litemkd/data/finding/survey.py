"""A look at a folder of recordings before anything is made of it: classes, clips, lengths, mirror images."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from litemkd.data.finding.catalogue import find_videos
from litemkd.data.splits import class_of
from litemkd.errors import DataError
from litemkd.recordings.streams import opened
from litemkd.runtime.progress import Bar

_OPENED = 300  # recordings that are opened, of all classes alike
_MIRRORED = {"left": "right", "l": "r", "clockwise": "counterclockwise", "cw": "ccw", "links": "rechts"}
_SIDES = {**_MIRRORED, **{other: one for one, other in _MIRRORED.items()}, "anticlockwise": "clockwise"}
_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")  # of turnLeft, turn_left, TURN LEFT


@dataclass(frozen=True)
class Survey:
    """What a folder holds.

    Attributes:
        clips: how many of each class, by its name.
        opened: recordings that were opened.
        frames: in each of these that could be read, sorted.
        sides: short sides of these, pixels, sorted.
        unreadable: why others could not be read.
    """

    clips: Mapping[str, int]
    opened: int
    frames: tuple[int, ...]
    sides: tuple[int, ...]
    unreadable: tuple[str, ...]

    @property
    def sided(self) -> tuple[str, ...]:
        """Classes that a mirror changes into another, to judge by their names."""
        return sided(self.clips)


def survey(folder: Path) -> Survey:
    """Look at the recordings below a folder, each in the folder of its class.

    Raises:
        DataError: no such folder, no recording in it, some in no class folder, or none that can be read.
    """
    found = find_videos(folder).all()
    by_class: dict[str, list[Path]] = defaultdict(list)
    for name, path in found.items():
        by_class[class_of(name)].append(path)
    each = max(1, _OPENED // len(by_class))
    chosen = [path for paths in by_class.values() for path in paths[:: max(1, -(-len(paths) // each))]]
    frames, sides, unreadable = list[int](), list[int](), list[str]()
    for path in Bar(chosen, desc="looking at recordings", unit="clip"):
        try:
            with opened(path) as film:
                sides.append(min(film.stream.codec_context.width, film.stream.codec_context.height))
                frames.append(film.packets())
        except DataError as error:
            unreadable.append(str(error))
    if not frames:
        raise DataError(f"{folder}: none of {len(chosen)} recordings can be read; {unreadable[0]}")
    counts = Counter(class_of(name) for name in found)
    return Survey(dict(counts), len(chosen), tuple(sorted(frames)), tuple(sorted(sides)), tuple(unreadable))


def sided(classes: Collection[str]) -> tuple[str, ...]:
    """Those of some classes whose names speak of a side: `left`, `swipeRight`, `turn_ccw`.

    A letter alone, as in `hand_l`, counts only where its other side is a class, too.
    """
    lower = {name.lower() for name in classes}

    def speaks(name: str) -> bool:
        for match in _WORDS.finditer(name):
            word = match[0].lower()
            other = f"{name[: match.start()]}{_SIDES.get(word, '')}{name[match.end() :]}".lower()
            if word in _SIDES and (len(word) > 1 or other in lower):
                return True
        return False

    return tuple(sorted(name for name in classes if speaks(name)))
