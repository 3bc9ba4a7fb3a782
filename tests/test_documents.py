"""docs/config.md: every section and key of the configuration, with its default."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from litemkd.config import Config

TEXT = (Path(__file__).parents[1] / "docs" / "config.md").read_text(encoding="utf-8")


def sections(section: BaseModel, prefix: str = "") -> dict[str, BaseModel]:
    """Every section by its dotted name; the whole is ``."""
    found = {prefix: section}
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            found |= sections(value, f"{prefix}.{name}".lstrip("."))
    return found


def documented() -> dict[str, dict[str, str]]:
    """By section: the defaults in the tables, by key. A heading may name several sections."""
    found: dict[str, dict[str, str]] = {}
    for heading, body in re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL):
        rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", body, re.MULTILINE))
        names = re.findall(r"`([\w.]+)`", heading) or [""]
        found |= dict.fromkeys(names, rows)
    return found


def default(section: BaseModel, key: str) -> str:
    value = section.model_dump(mode="json")[key]
    return "—" if value is None else f"`{value if isinstance(value, str) else json.dumps(value)}`"


@pytest.mark.parametrize("name", sections(Config()))
def test_every_key_and_its_default_are_documented(name: str) -> None:
    section, rows = sections(Config())[name], documented()[name]
    keys = {key for key in type(section).model_fields if not isinstance(getattr(section, key), BaseModel)}
    assert set(rows) == keys
    wrong = {key: default(section, key) for key in keys if rows[key] != default(section, key)}
    assert not wrong, f"docs/config.md, section {name or 'Top'}: defaults should read {wrong}"


def test_nothing_else_is_documented() -> None:
    assert set(documented()) == set(sections(Config()))
