"""Sections whose keys a class declares, and classes of a user's own, which bring their settings with them."""

from __future__ import annotations

import types
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import AfterValidator, Field, PlainValidator, ValidationError, create_model
from pydantic_core import InitErrorDetails, PydanticCustomError

from litemkd.config.names import Section
from litemkd.extending.declared import About, Setting, settings_of
from litemkd.extending.outside import is_offered, is_path

_PLAIN = (bool, str, type(None))


def fields_of(declared: Mapping[str, Setting]) -> dict[str, Any]:
    """Settings as `create_model` takes them.

    Raises:
        TypeError: a setting that no experiment file can give.
    """
    return {
        name: (_bounded(name, one.kind, one.about), Field(default=one.default, description=one.about.words))
        for name, one in declared.items()
    }


def _bounded(name: str, kind: Any, about: About) -> Any:
    """A type with its bounds; numbers are finite, and bounds are of the numbers where there are several."""
    origin, inside = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return Union[tuple(_bounded(name, one, about) for one in inside)]  # noqa: UP007
    if origin is tuple:
        several: Any = types.GenericAlias(
            tuple, tuple(one if one is ... else _bounded(name, one, about) for one in inside)
        )
        return several if about.count is None else Annotated[several, Field(min_length=about.count)]
    bounds: dict[str, Any] = {"ge": about.least, "gt": about.above, "le": about.most, "lt": about.below}
    if kind is float:
        return Annotated[kind, Field(**bounds, allow_inf_nan=False)]
    if kind is int:
        return Annotated[kind, Field(**bounds)]
    if kind in _PLAIN or origin in (Literal, Annotated):
        return kind
    raise TypeError(
        f"its setting `{name}` is of the type {getattr(kind, '__name__', kind)}; "
        "float, int, bool, str, a Literal or a tuple of these would do"
    )


def keys_of(what: str, declarations: Iterable[Mapping[str, Setting]]) -> dict[str, Any]:
    """The keys of a section that several declare together, as `create_model` takes them.

    Raises:
        TypeError: two declare one key in two ways; `what` says of what they are.
    """
    found: dict[str, Setting] = {}
    for declared in declarations:
        for key, one in declared.items():
            if found.setdefault(key, one) != one:
                raise TypeError(f"the {what} declare `{key}` in two ways")
    return fields_of(found)


class Own(Section):
    """A class of a user's own, and its settings beside it."""

    use: str  # module:Class, or a name that an installed package offers it under


@cache
def _section_of(found: type, base: type[Section]) -> type[Section]:
    """The section of what a class declares, the same one each time.

    Raises:
        TypeError: a setting of a type that no experiment file can give.
    """
    return create_model(found.__name__, __base__=base, **fields_of(settings_of(found)))


def own(
    find: Callable[[str], type],
    what: str,
    check: Callable[[type, Mapping[str, Any]], object] | None = None,
    base: type[Own] = Own,
) -> PlainValidator:
    """Reads `{use: module:Class, …}` by what the class declares; all that is wrong is told at once.

    Args:
        find: the class, by `use`; ValueError says why there is none.
        what: it is, in a word.
        check: what else is wrong with the class and its settings; ValueError.
        base: the keys that are said of it beside its own settings.
    """

    def read(given: Any) -> Own:
        if isinstance(given, Own):
            return given
        use = given.get("use") if isinstance(given, Mapping) else None
        if not isinstance(use, str):
            raise mistake(
                f"a mapping with `use`, the {what} as module:Class or by the name a package offers it under, "
                "would do"
            )
        try:
            found = find(use)
            for taken in base.model_fields.keys() & settings_of(found).keys():
                says = "names" if taken == "use" else "is said beside those of"
                raise ValueError(f"it has a setting `{taken}`, which {says} the {what}; another name would do")
            section = _section_of(found, base)
        except (TypeError, ValueError) as error:
            raise _of_key("use", use, error) from error
        made = _read(section, given)
        if check is not None:
            try:
                check(found, made.model_dump(exclude=set(base.model_fields)))
            except PydanticCustomError:
                raise
            except ValueError as error:
                raise _of_key("use", use, error) from error
        assert isinstance(made, Own)
        return made

    return PlainValidator(read)


def own_settings(find: Callable[[str], type], name: str | None, given: Any, *, ours: bool) -> dict[str, Any]:
    """The key `settings` beside a `name` that names a class of a user's own: all that the class declares.

    Args:
        find: the class, by its name.
        name: None where it is wrong, which is told there.
        given: by the user.
        ours: whether it names what comes with litemkd, whose settings stand beside it.
    """
    if name is None:
        return {}
    if ours:
        if given:
            raise mistake(f"{name} comes with litemkd, and its settings stand beside its name; none would do")
        return {}
    if not isinstance(given, Mapping):
        raise mistake("a mapping of settings would do")
    try:
        section = _section_of(find(name), Section)
    except (TypeError, ValueError) as error:
        raise mistake(str(error)) from error
    return _read(section, given).model_dump()


def _read(section: type[Section], given: Mapping[str, Any]) -> Section:
    """Checked; a key that there is not comes with those that there are, of which `loading` knows the names."""
    try:
        return section.model_validate(dict(given))
    except ValidationError as error:
        known = list(section.model_fields)
        raise ValidationError.from_exception_data(
            error.title,
            [
                InitErrorDetails(
                    type=PydanticCustomError(one["type"], "{words}", {"words": one["msg"], "known": known}),
                    loc=one["loc"],
                    input=one["input"],
                )
                for one in error.errors()
            ],
        ) from None


def is_own(name: str, group: str) -> bool:
    """Whether a name is meant for a class of a user's own: `module:Class`, or one that a package offers."""
    return is_path(name) or is_offered(name, group)


def free_name(what: str, taken: Collection[str], names: str) -> AfterValidator:
    """Checks the name that a user gives to something of theirs: one that it can have, and not one of ours.

    Args:
        what: it is, in a word.
        taken: names of those that come with litemkd.
        names: what the name is a part of, so that it has to be letters, digits and _.
    """

    def check(name: str) -> str:
        if not (name.isascii() and name.isidentifier()):
            raise mistake(f"letters, digits and _ would do, since it names {names}")
        if name in taken:
            raise mistake(f"a {what} that comes with litemkd; another name would do")
        return name

    return AfterValidator(check)


def mistake(words: str) -> PydanticCustomError:
    """A mistake in what a user said of a class of theirs."""
    return PydanticCustomError("own", "{words}", {"words": words})


def _of_key(key: str, given: Any, error: Exception) -> ValidationError:
    return ValidationError.from_exception_data(
        "own", [InitErrorDetails(type=mistake(str(error)), loc=(key,), input=given)]
    )
