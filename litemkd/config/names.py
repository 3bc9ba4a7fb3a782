"""What all sections of the configuration are made of."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, SerializationInfo, WithJsonSchema, model_serializer
from pydantic_core import PydanticCustomError

from litemkd.extending.outside import near

EVERY_KEY = "every key"  # context of a dump that leaves nothing out


class Section(BaseModel):
    """Base of all sections: unknown keys are mistakes.

    Attributes:
        later: keys that are younger than the digests of the first version. While they hold their default a
            section is dumped and shown as before there were any: digests and names of checkpoints are made of
            that.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    later: ClassVar[frozenset[str]] = frozenset()

    @model_serializer(mode="wrap")
    def _dumped(self, dump: Any, info: SerializationInfo) -> dict[str, Any]:
        whole = info.context == EVERY_KEY
        return {key: value for key, value in dump(self).items() if whole or self._told(key)}

    def __repr_args__(self) -> Any:
        return [(key, value) for key, value in super().__repr_args__() if key is None or self._told(key)]

    def _told(self, key: str) -> bool:
        return key not in self.later or getattr(self, key) != type(self).model_fields[key].default


def said(default: Any, words: str) -> Any:
    """A key's default, and what it means, which docs/config.md and the schema tell."""
    return Field(default, description=words)


def one_of(what: str, names: Collection[str]) -> Callable[[str], str]:
    """Checks that a name is one of several; `what` says of what."""

    def check(name: str) -> str:
        if name not in names:
            raise PydanticCustomError(
                "unknown", "no such {what}; {hint}", {"what": what, "hint": near(name, names)}
            )
        return name

    return check


def named(*names: str) -> WithJsonSchema:
    """In the schema of a text: names that editors offer, beside which others may be given."""
    return WithJsonSchema({"anyOf": [{"enum": list(names)}, {"type": "string"}]})
