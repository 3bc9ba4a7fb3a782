"""The JSON schema of experiment files, by which editors complete and check them while they are written.

It knows keys, types, bounds and names, as the sections say them. Whether settings fit one another, only the
whole configuration tells, when litemkd reads it.
"""

from __future__ import annotations

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


def experiment_schema() -> dict[str, Any]:
    """The schema of experiment files."""
    schema = Config.model_json_schema()
    schema["properties"] = {"base": {"type": "string", "description": _BASE}, **schema["properties"]}
    schema |= {
        "$schema": DRAFT,
        "title": "litemkd experiment",
        "description": "Settings of an experiment of litemkd.",
    }
    for name, section in sections_of(Config).items():
        here = schema if not name else schema["$defs"][section.__name__]
        for above in section.__mro__:  # a key whose default alone is another one means the same
            for key, field in getattr(above, "model_fields", {}).items():
                if field.description:
                    here["properties"][key].setdefault("description", field.description)
    for one in (schema, *schema["$defs"].values()):
        for key in one["properties"].values():
            key.pop("title", None)
            if "$ref" in key:  # a section, whose keys have defaults of their own
                key.pop("default", None)
    return schema


def sections_of(section: type[BaseModel], name: str = "") -> dict[str, type[BaseModel]]:
    """Every section by its dotted name ("" is the section itself)."""
    found = {name: section}
    for key, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found |= sections_of(field.annotation, f"{name}.{key}".lstrip("."))
    return found
