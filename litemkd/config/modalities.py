"""The section `data.modalities`: modalities of one's own by name, and which names of modalities there are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import ValidationError
from pydantic_core import InitErrorDetails

from litemkd.config.own import free_name, own
from litemkd.modalities.registry import PACKAGE, find_modality, known_names


def _makes(found: type, settings: Mapping[str, Any]) -> object:
    return found("own", **settings)


Place = tuple[str | int, ...]
OwnModalities = dict[
    Annotated[str, free_name("modality", PACKAGE, "folders")],
    Annotated[Any, own(find_modality, "modality", _makes)],
]


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
