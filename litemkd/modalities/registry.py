"""The modalities by name: those of the package, those that packages offer, and those of an experiment.

A record is loaded when it is asked for: names alone cost nothing.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from litemkd.errors import ConfigError
from litemkd.extending.outside import Wanted, offered

if TYPE_CHECKING:
    import numpy as np

    from litemkd.modalities.record import Modality, Way

GROUP = "litemkd.modalities"  # of entry points
_SIGNED = "flow"  # recordings of any modality may say that they are encoded as it is
PACKAGE = {
    "rgb": "litemkd.modalities.rgb:Rgb",
    "flow": "litemkd.modalities.flow:Flow",
    "depth": "litemkd.modalities.depth:Depth",
    "skeleton": "litemkd.modalities.skeleton:Skeleton",
    "joints": "litemkd.modalities.joints:Joints",
    "infrared": "litemkd.modalities.infrared:Infrared",
    "rgb_difference": "litemkd.modalities.rgb_difference:RgbDifference",
    "audio": "litemkd.modalities.audio:Audio",
}
ARRAYS = frozenset({"joints", "audio"})  # those of the package that are arrays by frame


def known_names(own: Iterable[str] = ()) -> tuple[str, ...]:
    """Names of all modalities: the package's, installed packages', and an experiment's `own`."""
    return tuple(dict.fromkeys((*PACKAGE, *offered(GROUP), *own)))


def modality(name: str, use: str | None = None, **settings: Any) -> Modality:
    """The record of a modality.

    Args:
        name: one of `known_names`, or any for a `use`.
        use: what `find_modality` finds.
        settings: of its class.

    Raises:
        ValueError: what is wrong with the class, and what would do.
    """
    if use is None and name in PACKAGE:
        module, _, known = PACKAGE[name].partition(":")
        record: Modality = getattr(importlib.import_module(module), known)(name)
        return record
    found = find_modality(use or name)
    try:
        record = found(name, **settings)
    except Exception as error:
        if found.__module__.startswith("litemkd."):
            raise
        raise ValueError(f"it cannot be made: {type(error).__name__}: {error}") from error
    record.settings = settings
    return record


def find_modality(use: str) -> type[Modality]:
    """The class of a modality: `module:Class`, one of the package's, or one that an installed package offers.

    Raises:
        ValueError: what is wrong with it, and what would do.
    """
    from litemkd.modalities.record import Modality

    wanted = Wanted(
        "modality", Modality, "litemkd.modalities.record.Modality", GROUP, "my_package:Edges", PACKAGE
    )
    found: type[Modality] = wanted.find(use)
    if found.kind not in ("frames", "arrays"):
        raise ValueError(f"its kind is {found.kind!r}, which nothing carries; frames or arrays would do")
    if found.kind == "arrays" and found.ways:
        raise ValueError("it has ways to make arrays, which are only read, from files; none would do")
    if found.mirror is not Modality.mirror and found.encoding == Modality.encoding:
        raise ValueError("it has a mirror of its own, so its frames are no plain ones; an `encoding` would do")
    if found.usual and found.usual not in [way.name for way in found.ways]:
        raise ValueError(f"usual = {found.usual!r} is none of its ways; {_words(found.ways)} would do")
    return found


Own = Mapping[str, Mapping[str, Any]]  # classes of an experiment by name: what to `use`, and its settings


def modalities(own: Own) -> dict[str, Modality]:
    """All records by name; `own` are those of an experiment.

    Raises:
        ConfigError: one that an installed package offers does not do.
    """
    found = {}
    for name in known_names(own):
        try:
            found[name] = modality(name, **own.get(name, {}))
        except ValueError as error:
            raise ConfigError([f"the modality {name} that an installed package offers: {error}"]) from error
    return found


def networks_of(own: Own) -> tuple[str, ...]:
    """Names of all ways that need weights."""
    ways = (way for record in modalities(own).values() for way in record.ways)
    return tuple(way.name for way in ways if hasattr(way, "network"))


def signed(record: Modality, encoding: str) -> bool:
    """Whether mirroring frames of an encoding does more than turn them; flow's is known under any name."""
    return record.mirrored(encoding) or modality(_SIGNED).mirrored(encoding)


def mirror_of(record: Modality) -> Callable[[np.ndarray], None]:
    """What mirrors frames for which `signed` holds."""
    return (record if record.mirrored(record.encoding) else modality(_SIGNED)).mirror


def address(record: Modality) -> str | None:
    """How a record that is not the package's is found again, None for those that are."""
    where = f"{type(record).__module__}:{type(record).__qualname__}"
    return None if PACKAGE.get(record.name) == where else where


def identity(record: Modality) -> str | None:
    """That address, with the settings where it has some: what its arrays and frames are known by."""
    told = address(record)
    return f"{told} {json.dumps(record.settings, sort_keys=True)}" if record.settings else told


def parse_derive(words: str, known: Mapping[str, Modality]) -> tuple[dict[str, str], list[str]]:
    """What `flow,depth=adabins` asks for: the way by modality; and what is wrong, a line a mistake."""
    chosen: dict[str, str] = {}
    problems = []
    derived = {name: record for name, record in known.items() if record.ways}
    for word in filter(None, (word.strip() for word in words.split(","))):
        name, equals, way = (part.strip() for part in word.partition("="))
        record = derived.get(name)
        if record is None:
            problems.append(f"--derive {word}: {name!r} is not derived; {', '.join(derived)} would do")
        elif equals and record.way(way) is None:
            problems.append(f"--derive {word}: {name} is not made by {way!r}; {_words(record.ways)} would do")
        elif name in chosen:
            problems.append(f"--derive {word}: {name} stands there twice; once would do")
        else:
            chosen[name] = way or record.usual or record.ways[0].name
    return chosen, problems


def _words(ways: Iterable[Way]) -> str:
    return ", ".join(way.name for way in ways)
