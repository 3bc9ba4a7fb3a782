"""Names as they stand in pictures: drawn to the last character, and no longer than there is room."""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Sequence

from matplotlib.font_manager import FontProperties, findfont, get_font

CLASS = 32  # characters of a class's name


def label(name: str, longest: int = 90) -> str:
    """A name as it can stand in a picture: no formula, all of it drawn, not too long.

    Characters that the font of pictures has not are question marks; a long name loses its middle, because names
    of classes often begin alike.
    """
    name = unicodedata.normalize("NFC", name)
    drawn = "".join(one if ord(one) in _drawn() else "?" for one in name if one.isprintable()).lstrip("_")
    if len(drawn) > longest:
        end = (longest - 1) // 3
        drawn = f"{drawn[: longest - 1 - end]}…{drawn[-end:]}"
    return drawn.replace("$", r"\$")


def class_labels(names: Sequence[str]) -> list[str]:
    """Labels of classes, all different: before those that would be the same stands the place of their class."""
    short = [label(name, CLASS) for name in names]
    return [one if short.count(one) == 1 else f"{place}: {one}" for place, one in enumerate(short, 1)]


@functools.cache
def _drawn() -> frozenset[int]:
    """The characters that the font of pictures has."""
    return frozenset(get_font(findfont(FontProperties())).get_charmap())
