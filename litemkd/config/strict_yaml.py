"""YAML read strictly: a key that stands twice is a mistake, mistakes have lines, and 1e-3 is a number.

Every file that a user writes is read here: experiments, what they are based on, and search spaces; so are the
values of `--set`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from litemkd.errors import ConfigError
from litemkd.storage.files import not_a_file

# YAML 1.1, which PyYAML reads, asks for a point and a sign in every float and takes 1e-3 and 1.5e3 for text.
_EXPONENT = re.compile(r"^[-+]?(?:[0-9][0-9_]*(?:\.[0-9_]*)?|\.[0-9][0-9_]*)[eE][-+]?[0-9]+$")
_FLOAT = "tag:yaml.org,2002:float", _EXPONENT, list("-+.0123456789")


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which also takes floats without a point."""


class _Dumper(yaml.SafeDumper):
    """Writes in quotes what `_Loader` would read as a number."""


_Loader.add_implicit_resolver(*_FLOAT)
_Dumper.add_implicit_resolver(*_FLOAT)


def read_mapping(path: Path, problems: list[str]) -> dict[Any, Any]:
    """The mapping in a YAML file, {} of an empty one.

    Args:
        path: of the file.
        problems: takes a line for each key that stands twice.

    Raises:
        ConfigError: the file cannot be read, or holds something else.
    """
    try:
        if path.exists() and (what := not_a_file(path)) is not None:
            raise ConfigError([*problems, f"{path}: not readable as YAML: {what}"])
        values = read_yaml(path.read_text(encoding="utf-8"), problems, f"{path}: ")
    except FileNotFoundError:
        raise ConfigError([*problems, f"{path}: no such file"]) from None
    except yaml.MarkedYAMLError as error:
        raise ConfigError([*problems, f"{path}: {_told(error)}"]) from None
    except (OSError, ValueError, yaml.YAMLError) as error:  # ValueError: also of dates and numbers
        words = " ".join(str(error).split())
        raise ConfigError([*problems, f"{path}: not readable as YAML: {words}"]) from None
    except RecursionError:
        raise ConfigError([*problems, f"{path}: nested too deeply, or in itself"]) from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        words = f"holds a {type(values).__name__}; a mapping of keys to values would do"
        raise ConfigError([*problems, f"{path}: {words}"])
    return values


def read_yaml(text: str, problems: list[str], where: str) -> Any:
    """The value of a YAML text; keys that stand twice are added to `problems`, each after `where`.

    Raises:
        yaml.YAMLError, ValueError, RecursionError: there is no such value.
    """
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        problems += [f"{where}{told}" for told in _repeated(node, "", set())]
        return None if node is None else loader.construct_document(node)
    finally:
        loader.dispose()


def as_yaml(value: Any) -> str:
    """A plain value in one line, which is read as the same value."""
    for style in (None, '"'):  # the second one escapes line ends
        text = yaml.dump(
            value,
            Dumper=_Dumper,
            default_flow_style=True,
            default_style=style,
            allow_unicode=style is None,
            width=10**9,
        )
        text = text.removesuffix("\n").removesuffix("\n...")
        if len(text.splitlines()) < 2:  # YAML has more line ends than one, and so have strings
            break
    return text


def _told(error: yaml.MarkedYAMLError) -> str:
    marks = [None if mark is None else mark.line + 1 for mark in (error.problem_mark, error.context_mark)]
    line = "" if marks[0] is None else f"line {marks[0]}: "
    begun = f", {error.context} that begins in line {marks[1]}" if error.context and marks[1] else ""
    return f"{line}not readable as YAML: {error.problem or error.context}{begun}"


def _repeated(node: yaml.Node | None, prefix: str, seen: set[int]) -> Iterator[str]:
    """Keys that stand twice in one mapping, with all that they lie in."""
    if node is None or id(node) in seen or isinstance(node, yaml.ScalarNode):
        return
    seen.add(id(node))
    lines: dict[str, int] = {}
    for place, item in enumerate(node.value):
        key, value = item if isinstance(node, yaml.MappingNode) else (None, item)
        name = f"{prefix}{place}"
        if isinstance(key, yaml.ScalarNode):
            name, line = f"{prefix}{key.value}", key.start_mark.line + 1
            if (before := lines.get(key.value)) is not None:
                where = f"stands in line {before} already" if before != line else "stands in this line twice"
                yield f"line {line}: {name}: {where}; once would do"
            lines.setdefault(key.value, line)
        yield from _repeated(value, f"{name}.", seen)
