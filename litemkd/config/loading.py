"""Reading a configuration: a YAML file and what it is based on, then overrides; all mistakes at once.

Naming a loss by `loss.preset` starts the section anew: what files below say of the loss is dropped, what is
said beside or above the preset overrides it.
"""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from litemkd.config.checks import impossible
from litemkd.config.sections import Config, flatten
from litemkd.config.shipped import EXPERIMENTS
from litemkd.config.strict_yaml import read_mapping, read_yaml
from litemkd.errors import ConfigError

PRESET = ("loss", "preset")
# A few lines of YAML can stand for a value of gigabytes when it is written out.
_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxother = 3, 500, 500


def load_config(file: Path | None, overrides: Iterable[str] = ()) -> Config:
    """The configuration of a file and `key=value` overrides.

    A file may name another one under `base`, relative to itself or by the name of an experiment that comes with
    litemkd; its own keys override that one's.

    Raises:
        ConfigError: everything that is wrong with file and overrides, at once.
    """
    problems: list[str] = []
    try:
        return _load(file, overrides, problems)
    except RecursionError:
        raise ConfigError([*problems, f"{file}: nested too deeply, or in itself"]) from None


def _load(file: Path | None, overrides: Iterable[str], problems: list[str]) -> Config:
    values = _read(file, problems) if file is not None else {}
    above: dict[str, Any] = {}
    for override in overrides:
        _override(above, override, problems)
    values = _merge(values, above)
    try:
        config = Config.model_validate(values)
    except ValidationError as error:
        problems += [_explain(item) for item in error.errors()]
        raise ConfigError(problems) from None
    problems += impossible(config)
    if problems:
        raise ConfigError(problems)
    return config


def _read(file: Path, problems: list[str], seen: tuple[Path, ...] = ()) -> dict[str, Any]:
    values = read_mapping(file, problems)
    base = values.pop("base", None)
    if base is None:
        return values
    try:
        below = EXPERIMENTS.find(str(base), file.parent).resolve()
    except ConfigError as error:
        problems += [f"{file}: base: {problem}" for problem in error.problems]
        return values
    except (OSError, RuntimeError, ValueError) as error:
        problems.append(f"{file}: base: {base!r} is no path ({error})")
        return values
    if below in seen:
        problems.append(f"{file}: base: {base} leads back to this file")
        return values
    return _merge(_read(below, problems, (*seen, file.resolve())), values)


def _merge(below: dict[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    section, name = PRESET
    if isinstance(above.get(section), Mapping) and above[section].get(name) is not None:
        merged.pop(section, None)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, dict) and isinstance(value, Mapping) else value
    return merged


def _override(values: dict[str, Any], override: str, problems: list[str]) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        problems.append(
            f"override `{override}`: not of the form key=value, for instance student.train.lr=0.001"
        )
        return
    try:
        value = read_yaml(text, problems, f"override `{override}`: ")
    except (ValueError, yaml.YAMLError):
        value = text
    place = values
    *parents, last = key.strip().split(".")
    for parent in parents:
        below = place.get(parent)
        place[parent] = place = dict(below) if isinstance(below, dict) else {}
    place[last] = value


def _explain(item: Any) -> str:
    path = [str(part) for part in item["loc"] if part != "[key]"]  # of a mapping's key itself
    key = ".".join(path)
    if item["type"] == "extra_forbidden":
        own = item.get("ctx", {}).get("known", ())  # of a class of the user's own
        known = [*flatten(Config()), *_keys(Config, ""), *(".".join([*path[:-1], one]) for one in own)]
        near = difflib.get_close_matches(key, known, n=1, cutoff=0.5) or [
            name for name in known if name.split(".")[-1] == path[-1]
        ]
        hint = f"did you mean `{near[0]}`?" if near else f"known here: {', '.join(_siblings(path))}"
        return f"{key}: no such key; {hint}"
    given = item.get("input")
    return f"{key}: {_SHORT.repr(given)} given; {item['msg'][:1].lower() + item['msg'][1:]}"


def _keys(model: type[BaseModel], prefix: str) -> Iterable[str]:
    for name, field in model.model_fields.items():
        yield f"{prefix}{name}"
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _keys(field.annotation, f"{prefix}{name}.")


def _siblings(path: Sequence[str]) -> list[str]:
    model: type[BaseModel] = Config
    for part in path[:-1]:
        annotation = model.model_fields[part].annotation if part in model.model_fields else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            break
        model = annotation
    return list(model.model_fields)
