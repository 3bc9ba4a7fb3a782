"""The section `data.modalities`: modalities of one's own by name, and which names of modalities there are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated

from pydantic import AfterValidator, ValidationError
from pydantic_core import InitErrorDetails

from litemkd.config.names import Section
from litemkd.config.own import free_name, mistake
from litemkd.modalities.registry import PACKAGE, known_names, modality


def _found(use: str) -> str:
    try:
        modality("own", use)
    except ValueError as error:
        raise mistake(str(error)) from error
    return use


class OwnModality(Section):
    """A modality from outside."""

    use: Annotated[str, AfterValidator(_found)]  # module:Class, or a name that a package offers it under


Place = tuple[str | int, ...]
OwnModalities = dict[Annotated[str, free_name("modality", PACKAGE, "folders")], OwnModality]


def check_names(own: Iterable[str], given: Mapping[Place, str]) -> None:
    """Refuse names that no modality has.

    Args:
        own: names of an experiment's own modalities.
        given: the names, by where they stand.

    Raises:
        ValidationError: at each place, what would do.
    """
    own = tuple(own)
    if all(name in PACKAGE or name in own for name in given.values()):
        return  # without a look at what is installed
    known = known_names(own)
    *first, last = (repr(name) for name in known)
    expected = {"expected": f"{', '.join(first)} or {last}"}
    wrong = [
        InitErrorDetails(type="literal_error", loc=where, input=name, ctx=expected)
        for where, name in given.items()
        if name not in known
    ]
    if wrong:
        raise ValidationError.from_exception_data("Config", wrong)
