"""The page of every key, docs/config.md: made of what the sections say of themselves; see docs/generate.py."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from litemkd.config.schema import experiment_schema, sections_of
from litemkd.config.sections import Config, HeadConfig
from litemkd.models.catalogue import HEAD_SETTINGS

TOP = """# Configuration

<!-- Made by `python docs/generate.py` from the classes of litemkd/config. -->

The keys of an experiment file. `—` means none.

* A key is given as `section: {key: value}` in a file, as `--set section.key=value` on the command line.
* What is not given has its default here. A file may name another one under `base`, relative to itself or by the
  name of one [that comes with litemkd](experiments.md); its own keys override that one's.
* A key that stands twice in a file is a mistake. Numbers may be written `1e-3`. A text that looks like a
  number, `true` or `null` stands in quotes.

Editors that know the YAML language server (VS Code with the extension YAML, Neovim, Emacs, …) complete keys and
mark mistakes while you type: shipped files, and those that `litemkd init` writes, name
[schema.json](../experiments/schema.json) in a comment, `# yaml-language-server: $schema=…`."""
SIGNS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
HEADER = "| key | default | values | meaning |\n|---|---|---|---|"


def config_page() -> str:
    """The whole page."""
    schema = experiment_schema()
    groups: dict[type[BaseModel], list[str]] = {}
    for name, section in sections_of(Config).items():
        groups.setdefault(section, []).append(name)
    return "\n\n".join([TOP, *(_part(section, names, schema) for section, names in groups.items())]) + "\n"


def _part(section: type[BaseModel], names: list[str], schema: Mapping[str, Any]) -> str:
    """The sections of one class: their names, what they are, their keys."""
    *first, last = (f"`{name}`" if name else "Top" for name in names)
    heading = f"{', '.join(first)} and {last}" if first else last
    keys = (schema if section is Config else schema["$defs"][section.__name__])["properties"]
    rows = []
    for key in section.model_fields:
        if "default" in (about := keys[key]):
            cells = (f"`{key}`", _default(about["default"]), _values(about), _meaning(section, key, about))
            rows.append(f"| {' | '.join(cells)} |")
    words = _linked(inspect.cleandoc(section.__doc__ or ""))
    return f"## {heading}\n\n{words}\n\n" + "\n".join([HEADER, *rows])


def _default(value: Any) -> str:
    return "—" if value is None else f"`{value if isinstance(value, str) else json.dumps(value)}`"


def _meaning(section: type[BaseModel], key: str, about: Mapping[str, Any]) -> str:
    words = about["description"]
    if section is HeadConfig and (takers := [name for name, own in HEAD_SETTINGS.items() if key in own]):
        words += f"; {', '.join(f'`{name}`' for name in takers)}"
    return _linked(words)


def _linked(words: str) -> str:
    """Pages that are named become links from this one."""
    return re.sub(r"docs/([a-z]+\.md)((?:#[\w-]+)?)", r"[\1](\1\2)", words)


def _values(about: Mapping[str, Any]) -> str:
    """What a key may be, in words."""
    kinds = [one for one in about.get("anyOf", [about]) if one.get("type") != "null"]
    return " or ".join(dict.fromkeys(map(_kind, kinds)))


def _kind(about: Mapping[str, Any]) -> str:
    if "enum" in about:
        return ", ".join(f"`{one if isinstance(one, str) else json.dumps(one)}`" for one in about["enum"])
    match about.get("type"):
        case "integer" | "number" as kind:
            bounds = [f"\u00a0{sign}\u00a0{about[key]}" for key, sign in SIGNS.items() if key in about]
            return str(kind) + ",".join(bounds)
        case "array":
            of = about["prefixItems"][0] if "prefixItems" in about else about["items"]
            return f"list of {_kind(of)}" if "type" in of and of["type"] not in ("array", "object") else "list"
        case "boolean":
            return "`true`, `false`"
        case "string":
            return str(about.get("format", "text"))
    return "mapping"
