"""YAML read strictly: a key that stands twice is a mistake, mistakes have lines, and 1e-3 is a number."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from litemkd.errors import ConfigError

# YAML 1.1, which PyYAML reads, asks for a point in every float and takes 1e-3 for text.
_EXPONENT = re.compile(r"^[-+]?[0-9][0-9_]*(?:\.[0-9_]*)?[eE][-+]?[0-9]+$")


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which also takes floats without a point."""


_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _EXPONENT, list("-+0123456789"))


def read_mapping(path: Path, problems: list[str]) -> dict[Any, Any]:
    """The mapping in a YAML file; keys that stand twice are added to `problems`, one line each.

    Raises:
        ConfigError: the file cannot be read, or holds something else.
    """
    try:
        loader = _Loader(path.read_text(encoding="utf-8"))
        node = loader.get_single_node()
        problems += [f"{path}: {told}" for told in _repeated(node, set())]
        values = None if node is None else loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        raise ConfigError([f"{path}: {_told(error)}"]) from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError([f"{path}: not readable as YAML: {' '.join(str(error).split())}"]) from None
    if not isinstance(values, dict):
        what = "nothing" if values is None else f"a {type(values).__name__}"
        raise ConfigError([f"{path}: holds {what}; a mapping of keys to ranges would do"])
    return values


def as_yaml(value: Any) -> str:
    """A plain value in one line, which YAML reads as the same value."""
    for style in (None, '"'):  # the second one escapes line ends
        text = yaml.safe_dump(
            value, default_flow_style=True, default_style=style, allow_unicode=style is None, width=10**9
        )
        text = text.removesuffix("\n").removesuffix("\n...")
        if "\n" not in text:
            break
    return text


def _told(error: yaml.MarkedYAMLError) -> str:
    marks = [None if mark is None else mark.line + 1 for mark in (error.problem_mark, error.context_mark)]
    line = "" if marks[0] is None else f"line {marks[0]}: "
    begun = f", {error.context} that begins in line {marks[1]}" if error.context and marks[1] else ""
    return f"{line}not readable as YAML: {error.problem or error.context}{begun}"


def _repeated(node: yaml.Node | None, seen: set[int]) -> Iterator[str]:
    if node is None or id(node) in seen or isinstance(node, yaml.ScalarNode):
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        lines: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if isinstance(key, yaml.ScalarNode) and lines.setdefault(key.value, line) != line:
                yield f"line {line}: {key.value}: stands in line {lines[key.value]} already; once would do"
            yield from _repeated(value, seen)
    else:
        for item in node.value:
            yield from _repeated(item, seen)
