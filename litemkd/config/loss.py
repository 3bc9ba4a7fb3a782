"""The section `loss`: its keys are what the terms declare, its values are checked as they say."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    PlainValidator,
    ValidationError,
    create_model,
    model_serializer,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from litemkd.config.names import SECTION, known_name
from litemkd.losses import D2M, TERMS
from litemkd.losses.focal import Focal
from litemkd.losses.outside import find_term
from litemkd.losses.presets import preset, preset_names
from litemkd.losses.term import NEEDS, About, Term, settings_of

PresetName = Annotated[str, known_name("loss", preset_names())]


_PLAIN = (bool, str, type(None))


def _fields(declared: type[Any]) -> dict[str, Any]:
    """What a dataclass declares, by name, as `create_model` takes it.

    Raises:
        TypeError: a setting that no experiment file can give.
    """
    hints, about = get_type_hints(declared, include_extras=True), settings_of(declared)
    return {
        one.name: (
            _bounded(one.name, hints[one.name], about[one.name]),
            Field(default=... if one.default is MISSING else one.default, description=about[one.name].words),
        )
        for one in fields(declared)
    }


def _bounded(name: str, kind: Any, about: About) -> Any:
    """A type with its bounds; numbers are finite, and bounds are of the numbers where there are several."""
    origin, inside = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return Union[tuple(_bounded(name, one, about) for one in inside)]  # noqa: UP007
    if origin is tuple:
        return tuple[tuple(one if one is ... else _bounded(name, one, about) for one in inside)]  # type: ignore[misc]
    if kind is float:
        bounds = Field(ge=about.least, gt=about.above, le=about.most, allow_inf_nan=False)
        return Annotated[kind, bounds]
    if kind is int:
        return Annotated[kind, Field(ge=about.least, gt=about.above, le=about.most)]
    if kind in _PLAIN or origin in (Literal, Annotated):
        return kind
    raise TypeError(
        f"its setting `{name}` is of the type {getattr(kind, '__name__', kind)}; "
        "float, int, bool, str, a Literal or a tuple of these would do"
    )


class TermConfig(BaseModel):
    """A term from outside: what it is, and what it declares."""

    model_config = SECTION

    use: str  # module:Class, or a name that an installed package offers it under


_SECTIONS: dict[type[Term], type[TermConfig]] = {}


def section_of(term: type[Term]) -> type[TermConfig]:
    """The section of a term from outside, the same one each time.

    Raises:
        TypeError: a setting of a type that no experiment file can give.
    """
    if term not in _SECTIONS:
        try:
            _SECTIONS[term] = create_model(term.__name__, __base__=TermConfig, **_fields(term))
        except NameError as error:
            raise TypeError(f"the type of a setting is not known where it is declared: {error}") from error
    return _SECTIONS[term]


def _read_term(given: Any) -> TermConfig:
    """A term from outside, checked by its own declaration; all that is wrong at once."""
    if isinstance(given, TermConfig):
        return given
    use = given.get("use") if isinstance(given, Mapping) else None
    if not isinstance(use, str):
        would = (
            "a mapping with `use`, the term as module:Class or by the name a package offers it under, would do"
        )
        raise PydanticCustomError("term", would)
    try:
        term = find_term(use)
        section = section_of(term)
    except (TypeError, ValueError) as error:
        raise _mistake("use", use, error) from error
    read = section.model_validate(dict(given))
    try:
        made = term(**read.model_dump(exclude={"use"}))
    except Exception as error:
        raise PydanticCustomError("term", "{words}", {"words": f"{type(error).__name__}: {error}"}) from error
    if strange := [need for need in made.needs if need not in NEEDS]:
        words = f"it needs {strange[0]!r}; {', '.join(NEEDS)} would do"
        raise _mistake("use", use, ValueError(words))
    return read


def _mistake(key: str, given: Any, error: Exception) -> ValidationError:
    words = PydanticCustomError("term", "{words}", {"words": str(error)})
    return ValidationError.from_exception_data("term", [InitErrorDetails(type=words, loc=(key,), input=given)])


def _free(name: str) -> str:
    """A name of an outside term: part of keys and of a metric's name, and not one of ours."""
    if not (name.isascii() and name.isidentifier()):
        raise PydanticCustomError("term", "letters, digits and _ would do, since it names a metric")
    if name in {term.name for term in TERMS}:
        raise PydanticCustomError("term", "a term that comes with litemkd; another name would do")
    return name


TermName = Annotated[str, AfterValidator(_free)]
OutsideTerm = Annotated[Any, PlainValidator(_read_term)]


class _Loss(BaseModel):
    """D2M: weights and forms of its terms, and terms from outside."""

    model_config = SECTION

    preset: PresetName | None = None  # a loss by name, see litemkd.losses.presets; other keys override it
    terms: dict[TermName, OutsideTerm] = Field(default={})  # from outside, by name

    @model_validator(mode="before")
    @classmethod
    def _from_preset(cls, values: Any) -> Any:
        """Put the preset's values beneath those given."""
        name = values.get("preset") if isinstance(values, Mapping) else None
        return {**preset(name).values, **values} if name in preset_names() else values

    # Without terms from outside a section is dumped and shown as before there were any: digests and names of
    # checkpoints are made of that.
    @model_serializer(mode="wrap")
    def _dumped(self, dump: Any) -> dict[str, Any]:
        return {key: value for key, value in dump(self).items() if key != "terms" or value}

    def __repr_args__(self) -> Any:
        return [(key, value) for key, value in super().__repr_args__() if key != "terms" or value]

    @property
    def d2m(self) -> D2M:
        """The loss of distillation."""
        return D2M.of(**self.model_dump(exclude={"preset"}))


def _keys() -> dict[str, Any]:
    """The weights by the names of their terms, then the other settings; one that terms share is one key.

    Raises:
        TypeError: two terms declare one key in two ways.
    """
    found: dict[str, Any] = {}
    declared = {term.name: _fields(term) for term in TERMS}
    keys = [(name, own["weight"]) for name, own in declared.items()]
    keys += [one for own in (*declared.values(), _fields(Focal)) for one in own.items() if one[0] != "weight"]
    for key, (kind, field) in keys:
        if key in found and repr(found[key]) != repr((kind, field)):
            raise TypeError(f"the terms of the loss declare `{key}` in two ways")
        found[key] = kind, field
    return found


if TYPE_CHECKING:
    LossConfig = _Loss  # the other keys are not known before the terms are read
else:
    LossConfig = create_model(
        "LossConfig", __base__=_Loss, __module__=__name__, __doc__=_Loss.__doc__, **_keys()
    )


def outside_keys(terms: Any) -> list[str]:
    """The keys of outside terms as given, as far as they can be told: `mine.use`, `mine.weight`."""
    found = []
    for name, given in terms.items() if isinstance(terms, Mapping) else ():
        try:
            section = section_of(find_term(given["use"]))
        except (KeyError, TypeError, ValueError, AttributeError):
            continue
        found += [f"{name}.{key}" for key in section.model_fields]
    return found
