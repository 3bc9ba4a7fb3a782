"""What all trials of a study have in common: noted by who begins it, and checked by who goes on with it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import optuna

from litemkd.errors import ConfigError
from litemkd.search.ranges import range_of
from litemkd.search.space import Space, condition_words

SPACE = "--space"  # the term that is the digest of the search space
_TERMS, _SPACE = "terms", "space"  # what a study notes


def agree(study: optuna.Study, terms: Mapping[str, str], space: Space) -> None:
    """Note what all trials of a study share, or check that it is what was noted.

    Args:
        study: new, or begun before.
        terms: settings and options by name; under `SPACE` the digest of the search space.
        space: the search space, which is noted whole.

    Raises:
        ConfigError: it is not; every difference is told, also those within the space.
    """
    noted, content = study.user_attrs.get(_TERMS), space.content()
    if noted is None or (noted.get(SPACE) == terms[SPACE] and _SPACE not in study.user_attrs):
        study.set_user_attr(_SPACE, content)
    if noted is None:
        study.set_user_attr(_TERMS, dict(terms))
        return
    differences: list[str] = []
    for key, value in terms.items():
        if noted.get(key) == value:
            continue
        if key != SPACE:
            differences.append(f"with {key} {noted.get(key)!r}, now {value!r}")
        elif (before := study.user_attrs.get(_SPACE)) is None:
            differences.append(
                "with another search space, and by an earlier version of litemkd, which did not note what was "
                "in it: what differs cannot be told"
            )
        else:
            differences += _differences(before, content)
    if differences:
        raise ConfigError(
            [
                f"--study: {study.study_name!r} was begun {words}; give it a new name, or go on as it was begun"
                for words in differences
            ]
        )


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """How two spaces differ, each as `Space.content` gives it; words that follow `was begun`."""
    for key in dict.fromkeys([*before, *now]):
        if key not in before:
            yield f"without {key} in its space, now {_words(now[key])}"
        elif key not in now:
            yield f"with {key} in its space, {_words(before[key])}, now without it"
        else:
            (old, when), (new, then) = before[key], now[key]
            if _same(old) != _same(new):
                yield f"with {key} searched as {range_of(old).words}, now as {range_of(new).words}"
            if _same(when) != _same(then):
                yield f"with {key} searched {_when(when)}, now {_when(then)}"


def _same(value: Any) -> str:
    return json.dumps(value, sort_keys=True)  # in which true is not 1


def _when(condition: Mapping[str, Any]) -> str:
    return f"when {condition_words(condition)}" if condition else "always"


def _words(plain: tuple[Any, Mapping[str, Any]]) -> str:
    found, condition = plain
    return range_of(found).words + (f" {_when(condition)}" if condition else "")
