"""What classes that a configuration chooses declare: their settings, with types, defaults, words and bounds.

A dataclass (a term of the loss) declares its fields; any other class the keyword arguments of its constructor.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from typing import Any, TypeVar, get_args, get_type_hints

T = TypeVar("T")

GIVEN = frozenset({"frames", "places"})  # arguments of a constructor that a model's builder gives, not a user


@dataclass(frozen=True)
class About:
    """What is said of a setting beside its type and default.

    Attributes:
        words: what it is; the documents say the same.
        least: the smallest value, itself allowed.
        above: a bound that values must exceed.
        most: the greatest value, itself allowed.
        below: a bound that values must not reach.
        count: of a tuple, the fewest values.
    """

    words: str = ""
    least: float | None = None
    above: float | None = None
    most: float | None = None
    below: float | None = None
    count: int | None = None


@dataclass(frozen=True)
class Setting:
    """A setting: its type, its default (`...` for none), and what is said of it."""

    kind: Any
    default: Any
    about: About


def setting(
    default: T, words: str, *, least: float | None = None, above: float | None = None, most: float | None = None
) -> T:
    """A setting of a dataclass; its annotation is the type, such as `float`, `bool` or a `Literal`."""
    found: Any = field(default=default, metadata={"about": About(words, least, above, most)})
    return found


def settings_of(declaring: type[Any]) -> Mapping[str, Setting]:
    """The settings that a class declares, by name.

    Raises:
        TypeError: the type of a setting is not known where it is declared, or an argument has none.
    """
    try:
        if is_dataclass(declaring):
            hints = get_type_hints(declaring, include_extras=True)
            return {
                one.name: Setting(
                    hints[one.name],
                    ... if one.default is MISSING else one.default,
                    one.metadata.get("about", About()),
                )
                for one in fields(declaring)
            }
        hints = get_type_hints(declaring.__init__, include_extras=True)
    except NameError as error:
        raise TypeError(f"the type of a setting is not known where it is declared: {error}") from error
    found = {}
    for one in inspect.signature(declaring).parameters.values():
        if one.kind is not one.KEYWORD_ONLY or one.name in GIVEN:
            continue
        if one.name not in hints:
            raise TypeError(f"its setting `{one.name}` has no type; {one.name}: float, for instance, would do")
        found[one.name] = setting_of(hints[one.name], ... if one.default is one.empty else one.default)
    return found


def setting_of(hint: Any, default: Any) -> Setting:
    """A setting by the type that is written at it, `Annotated` with what is said of it or not."""
    kind, *more = get_args(hint) if hasattr(hint, "__metadata__") else [hint]
    return Setting(kind, default, next((one for one in more if isinstance(one, About)), About()))
