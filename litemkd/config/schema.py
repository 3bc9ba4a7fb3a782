"""The JSON schema of experiment files, by which editors complete and check them while they are written.

It knows keys, types, bounds and names, as the sections say them. Whether settings fit one another, only the
whole configuration tells, when litemkd reads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from litemkd.config.sections import Config
from litemkd.config.shipped import EXPERIMENTS

FILE = "schema.json"  # among the experiments that come with litemkd
DRAFT = "https://json-schema.org/draft/2020-12/schema"
_MARK = "# yaml-language-server: $schema="
_BASE = "the experiment file that this one stands on, relative to it, or the name of one of litemkd's own"


def schema_line(schema: str | None = None) -> str:
    """The comment by which editors find the schema of a file.

    Args:
        schema: its address, or its path from the file; None for where it lies here, for files anywhere.
    """
    return f"{_MARK}{schema or (EXPERIMENTS.shipped() / FILE).resolve().as_uri()}"


def experiment_schema(words: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """The schema of experiment files.

    Args:
        words: what each key means, by the dotted name of its section ("" is the top) and its own.
    """
    schema = Config.model_json_schema()
    schema["properties"] = {"base": {"type": "string", "description": _BASE}, **schema["properties"]}
    schema |= {
        "$schema": DRAFT,
        "title": "litemkd experiment",
        "description": "Settings of an experiment of litemkd.",
    }
    for name, section in _sections(Config, "").items():
        here = schema if not name else schema["$defs"][section.__name__]
        for key, meaning in words.get(name, {}).items():
            here["properties"][key].setdefault("description", meaning)
    for one in (schema, *schema["$defs"].values()):
        for key in one["properties"].values():
            key.pop("title", None)
            if "$ref" in key:  # a section, whose keys have defaults of their own
                key.pop("default", None)
    return schema


def _sections(section: type[BaseModel], name: str) -> dict[str, type[BaseModel]]:
    """Every section by its dotted name."""
    found = {name: section}
    for key, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found |= _sections(field.annotation, f"{name}.{key}".lstrip("."))
    return found
