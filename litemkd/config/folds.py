"""Divisions of the classes as a configuration gives them: by name, or as folds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import PlainValidator

from litemkd.config.own import mistake


def apart(given: dict[str, tuple[str, ...]], where: str = "") -> dict[str, tuple[str, ...]]:
    """Checks that each part of a division has classes, and no class stands twice."""
    missing = [split for split in ("train", "val", "test") if not given.get(split)]
    if given and missing:
        raise mistake(
            f"{where}no classes for {' and '.join(missing)}; some for each of train, val and test would do"
        )
    counts = Counter(name for names in given.values() for name in names)
    if twice := [name for name, count in counts.items() if count > 1]:
        raise mistake(f"{where}named twice: {', '.join(twice)}; each class once would do")
    return given


def _folds(given: Any) -> Any:
    """Reads folds: a number, or a list of folders or of divisions by names of classes."""
    would = (
        "2 or more; or a list of folders of lists below splits/, or of {train: [...], val: [...], "
        "test: [...]}, would do"
    )
    if given is None or (isinstance(given, int) and not isinstance(given, bool) and given >= 2):
        return given
    if not isinstance(given, list | tuple) or len(given) < 2:
        raise mistake(would)
    if all(isinstance(one, str) for one in given):
        return tuple(given)
    for place, one in enumerate(given):
        kinds = one.values() if isinstance(one, Mapping) else [None]
        if not all(
            isinstance(names, list | tuple) and all(isinstance(n, str) for n in names) for names in kinds
        ):
            raise mistake(f"fold {place} is neither like the others nor lists of names by part; {would}")
        if strange := one.keys() - {"train", "val", "test"}:
            raise mistake(f"fold {place} has a part {min(strange)!r}; train, val and test would do")
        apart(one or {"train": ()}, f"fold {place}: ")
    return tuple({str(name): tuple(names) for name, names in one.items()} for one in given)


FoldClasses = dict[str, tuple[str, ...]]
Folds = Annotated[
    Any, PlainValidator(_folds, json_schema_input_type=int | tuple[str, ...] | tuple[FoldClasses, ...] | None)
]
