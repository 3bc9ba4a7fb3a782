"""Names of classes as words: what a folder's name says, where it says anything."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from litemkd.errors import DataError, some
from litemkd.extending.outside import near

_HUMPS = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
# Words that say what a folder is of, and not what is done there.
_EMPTY = frozenset(
    [
        "act",
        "action",
        "activity",
        "cat",
        "category",
        "class",
        "clip",
        "cls",
        "gesture",
        "group",
        "id",
        "label",
        "no",
        "number",
        "type",
    ]
)


def words_of(name: str) -> str:
    """What a class's name says, in small letters: `a01_HighArmWave` is `high arm wave`; "" if it says nothing.

    Codes such as `a01` are left out; of numbers and of words such as `class` alone nothing can be heard.
    """
    parts = [part for part in re.split(r"[\W_]+", _HUMPS.sub(" ", name).lower()) if part and not _is_code(part)]
    return " ".join(parts) if any(_speaks(part) for part in parts) else ""


def _letters(part: str) -> str:
    return re.sub(r"\d", "", part)


def _is_code(part: str) -> bool:
    """Whether it is letters with as many digits, or one or two letters with some."""
    letters = len(_letters(part))
    return 0 < letters < len(part) and (letters <= 2 or 2 * letters <= len(part))


def _speaks(part: str) -> bool:
    return len(_letters(part)) > 1 and _letters(part) not in _EMPTY


def class_words(classes: Iterable[str], given: Mapping[str, str]) -> dict[str, str] | None:
    """The words of each class: those that are given, or those of its name; None where no name says anything.

    Args:
        classes: names of all classes.
        given: words by class, for some or all of them.

    Raises:
        DataError: words for a class that there is not; or some classes have words, and others do not.
    """
    classes = list(classes)
    for name in given:
        if name not in classes:
            raise DataError(f"words for {name!r} given, and no class has that name; {near(name, classes)}")
    found = {name: given.get(name, words_of(name)) for name in classes}
    silent = [name for name, words in found.items() if not words]
    if len(silent) == len(classes):
        return None
    if silent:
        raise DataError(
            f"no words for {some(silent)} ({len(silent)} of {len(classes)} classes), whose names say nothing; "
            "words for each of them would do"
        )
    return found
