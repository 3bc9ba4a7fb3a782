"""Names of clips, `class/clip`: one form for lines of lists, files and folders, so that they meet.

Lists come with and without extensions, file systems with composed and decomposed letters (macOS unpacks an é as
an e and an accent), and crawlers write `a.mp4.mkv`. Each becomes the same name, by `plain_name`, before it is
compared with another. Files are opened by their own paths, never by such a name.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from litemkd.errors import DataError
from litemkd.recordings.endings import FRAME_SUFFIXES, VIDEO_SUFFIXES

_ENDINGS = (*VIDEO_SUFFIXES, *FRAME_SUFFIXES, ".zip", ".npy", ".json")
_ENDING = re.compile("(" + "|".join(re.escape(one) for one in _ENDINGS) + r")(\s+\d+)?$", re.IGNORECASE)


def composed(text: str) -> str:
    """A text with its letters and accents as one character each where there is one (Unicode's form NFC)."""
    return unicodedata.normalize("NFC", text)


def plain_name(text: str) -> str:
    """A name without what does not tell clips apart, whether of a line, a file or a folder.

    Endings of videos, pictures, arrays and archives go, all of them (`a.mp4.mkv`; other dots belong to the
    name), and so does a class number after one, as UCF101's own lists have. Letters are composed.
    """
    name, before = composed(text).strip(), ""
    while name != before:
        name, before = _ENDING.sub("", name).strip(), name
    return name


def name_of(path: Path) -> str:
    """The name "class/clip" of a file or folder in a class folder."""
    return plain_name(f"{path.parent.name}/{path.name}")


def clean_name(line: str) -> str:
    """A line of a list as "class/video", see `plain_name`.

    Raises:
        DataError: not of that form, absolute, or with `..`; says what is wrong, not where.
    """
    name = plain_name(line)
    if re.match(r"[/\\]|[A-Za-z]:[/\\]", name):
        raise DataError(f"{line!r} is an absolute path; class/video is needed")
    parts = name.split("/")
    if ".." in parts:
        raise DataError(f"{line!r} goes out of the folder with '..'; class/video is needed")
    if len(parts) != 2 or not all(part.strip() for part in parts) or "." in parts or "\0" in name:
        raise DataError(f"{line!r} is not of the form class/video")
    return name


def only(paths: Sequence[Path], name: str) -> Path:
    """The path that has a name.

    Raises:
        DataError: several have it; where they look the same, how they differ.
    """
    if len(paths) > 1 and len({path.resolve() for path in paths}) > 1:
        raise DataError(f"{both(str(paths[0]), str(paths[1]), name)}; keep one or rename one")
    return paths[0]


def both(first: str, second: str, name: str) -> str:
    """In words: two have one name. If one is in composed and one in decomposed letters, that is said."""
    told = f"{first} and {second} are both {name}"
    if first != second and composed(first) == composed(second):
        forms = " and ".join(one.encode("ascii", "backslashreplace").decode() for one in (first, second))
        told += f", in two Unicode forms that look the same ({forms})"
    return told
