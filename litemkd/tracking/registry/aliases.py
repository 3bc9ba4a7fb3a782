"""Promotion in the registry: where the aliases `champion` and `lite` belong, moving them, and what was moved.

The rule is `promotion.choose`. A version that was promoted by hand is pinned, by a tag of the
registered model: the rule leaves the alias to it until the pin is taken away.

Where the aliases belong is a function of versions, pins and aliases alone. With a SQLite store one process at a
time promotes. On a server each reads again after its last move, and goes on until nothing is left to move: so
the process that ends last leaves the aliases where they belong, whatever the others did meanwhile.
"""

from __future__ import annotations

import contextlib
import functools
import json
import math
import random
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal, get_args

from mlflow import MlflowClient

from litemkd.errors import TrackingError, some
from litemkd.storage.files import locked
from litemkd.tracking import store
from litemkd.tracking.registry.history import find_registered, mapping_of, note
from litemkd.tracking.registry.promotion import MARGIN, Candidate, choose
from litemkd.tracking.registry.versions import Version, ask, get_version, list_versions
from litemkd.tracking.tags import FOLD

Alias = Literal["champion", "lite"]
ALIASES = get_args(Alias)
VAL_ACCURACY = "litemkd.val_accuracy"
COST = "litemkd.gmacs_per_episode"
PROTOCOL = "litemkd.protocol"
CHOSEN_ON = "litemkd.chosen_on"  # a tag of versions: `test` where checkpoint or settings were chosen on test
LONGEST_REASON = 1000  # characters
_PIN = "litemkd.pinned."
_TRIES = 12  # of promoting while others do, too


@dataclass(frozen=True)
class Move:
    """An alias that goes from one version to another.

    Attributes:
        before, after: None where no version has it.
        by: `rule`, or `hand`; then `reason` is the one that was given.
    """

    alias: str
    before: Version | None
    after: Version | None
    by: str
    reason: str

    @property
    def planned(self) -> str:
        """What will happen, in words."""
        ends = [f"version {one.version}{_figures(one)}" if one else "none" for one in (self.before, self.after)]
        return f"{self.alias}: {ends[0]} -> {ends[1]}, {self.reason}"

    @property
    def done(self) -> str:
        """What has happened, in words."""
        if self.after is None:
            number = None if self.before is None else self.before.version
            return f"version {number} is no longer {self.alias}: {self.reason}"
        before = f", before it version {self.before.version}{_figures(self.before)}" if self.before else ""
        return f"version {self.after.version}{_figures(self.after)} is now {self.alias}{before}"


@dataclass(frozen=True)
class Pin:
    """A choice by hand, which the rule does not touch."""

    alias: str
    version: int
    reason: str


@dataclass(frozen=True)
class Promotion:
    """Where the aliases stand.

    Attributes:
        champion: version number, None when no version has a val accuracy.
        lite: version number, None when no version near the champion has a cost.
        changes: what was moved, one sentence each; empty when nothing was.
        pinned: what a choice by hand keeps where it is, one sentence each.
    """

    champion: int | None
    lite: int | None
    changes: tuple[str, ...]
    pinned: tuple[str, ...] = ()

    @property
    def messages(self) -> tuple[str, ...]:
        """What a user should hear of it."""
        return self.changes + self.pinned


@dataclass(frozen=True)
class _State:
    name: str
    versions: Mapping[int, Version]
    aliases: Mapping[str, int]
    pins: Mapping[str, Pin]


def promote_by_hand(registered_name: str, version: int, alias: Alias, reason: str) -> Promotion:
    """Give an alias to a version and pin it there; the other alias follows the rule.

    Args:
        registered_name: see `model_name`.
        version: its number.
        alias: champion or lite.
        reason: kept with the pin, in the history and as a tag of the version.

    Raises:
        TrackingError: what `check_choice` refuses; or as `promote`.
    """
    return promote(registered_name, pin=check_choice(registered_name, version, alias, reason))


def unpin(registered_name: str) -> Promotion:
    """Take away what was chosen by hand, and promote by the rule."""
    return promote(registered_name, unpin=True)


def check_choice(registered_name: str, version: int, alias: Alias, reason: str) -> Pin:
    """What `promote_by_hand` would pin.

    Raises:
        TrackingError: no such version, one without an accuracy on val or chosen on test, or no reason.
    """
    found = get_version(registered_name, version)
    what = f"{registered_name} version {version}"
    words = " ".join(reason.split())
    if not words or len(words) > LONGEST_REASON:
        raise TrackingError(
            f"{what}: a reason of 1 to {LONGEST_REASON} characters would do; it is kept for others"
        )
    if _on_test(found):
        raise TrackingError(
            f"{what} was chosen on the test classes (tag {CHOSEN_ON}): its accuracies flatter it, and "
            "nothing is promoted by them; a version whose checkpoint and settings were chosen on val would do"
        )
    if not _is_measured(found):
        raise TrackingError(
            f"{what} has no accuracy on val (tag {VAL_ACCURACY}), so nobody knows whether it is any good; a "
            "version that was measured there would do (`import-weights --evaluate` measures imported weights)"
        )
    return Pin(alias, version, words)


def preview(
    registered_name: str, *, pin: Pin | None = None, unpin: bool = False
) -> tuple[list[Move], list[str]]:
    """What promoting would move now, and notes: what is pinned, and which versions do not compete and why."""
    state = _read(registered_name)
    if state is None:
        return [], []
    state = _as_if(state, pin, unpin=unpin)
    notes = [
        f"version {number} does not compete: chosen on test (tag {CHOSEN_ON})"
        for number, version in sorted(state.versions.items())
        if _on_test(version)
    ]
    folds = [str(number) for number, version in sorted(state.versions.items()) if FOLD in version.tags]
    if folds:
        notes.append(f"versions of folds do not compete, each is of other classes: {some(folds)}")
    return _plan(state), [*_pin_notes(state), *notes]


def current_aliases(registered_name: str) -> dict[str, int]:
    """The versions that have an alias, by alias; a search for versions does not tell."""
    state = _read(registered_name)
    return {} if state is None else dict(state.aliases)


def promote(name: str, *, pin: Pin | None = None, unpin: bool = False) -> Promotion:
    """Set or take away pins, then move aliases until they are where they belong.

    With no val accuracy anywhere nothing is touched.

    Raises:
        TrackingError: the registry refused, or others promote without end.
    """
    if not store.exists():
        return Promotion(None, None, ())
    client = store.connect()
    changes: list[str] = []
    failed: TrackingError | None = None
    with _alone():
        if unpin:
            for alias in ALIASES:
                ask(functools.partial(client.delete_registered_model_tag, name, _PIN + alias))
        for turn in range(_TRIES):
            state = _read(name)
            if state is None:
                return Promotion(None, None, ())
            if pin is not None and turn == 0:
                _write_pin(client, state, pin)
                state = _as_if(state, pin, unpin=False)
            moves = _plan(state)
            if not moves:
                stand = state.aliases
                return Promotion(
                    stand.get("champion"), stand.get("lite"), tuple(changes), tuple(_pin_notes(state))
                )
            if turn:
                time.sleep(random.uniform(0, 0.05 * turn))  # processes that undo one another drift apart
            try:
                for move in moves:
                    _apply(client, name, move)
                    changes.append(f"{name}: {move.done}")
                failed = None
            except TrackingError as error:  # another process did the same just now, or the store is broken
                if failed is not None and str(failed) == str(error):
                    raise
                failed = error
    raise TrackingError(f"{name}: other processes keep moving its aliases; try again when they are done")


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """One process at a time on this SQLite store; several on a server."""
    path = store.store_file()
    if path is None:
        yield
        return
    try:
        with locked(path.with_name(f"{path.name}.promote.lock")):
            yield
    except OSError as error:
        raise TrackingError(f"{path.parent}: cannot be written to ({error.strerror or error})") from error


def _read(name: str) -> _State | None:
    if not store.exists():
        return None
    found = find_registered(store.connect(), name)
    if found is None:
        return None
    versions = {one.version: one for one in list_versions(name)}
    pins = (_pin(alias, found.tags.get(_PIN + alias)) for alias in ALIASES)
    return _State(
        name,
        versions,
        {alias: int(number) for alias, number in found.aliases.items()},
        {pin.alias: pin for pin in pins if pin is not None and _is_measured(versions.get(pin.version))},
    )


def _as_if(state: _State, pin: Pin | None, *, unpin: bool) -> _State:
    kept = {} if unpin else state.pins
    return replace(state, pins=kept if pin is None else {**kept, pin.alias: pin})


def _plan(state: _State) -> list[Move]:
    """The moves that are left, the champion's first."""
    by_hand = state.pins.get("champion")
    champion, lite = choose(
        [_candidate(one) for one in state.versions.values() if FOLD not in one.tags or _is_pinned(state, one)],
        champion=state.aliases.get("champion"),
        lite=state.aliases.get("lite"),
        pinned=None if by_hand is None else by_hand.version,
    )
    wanted: dict[str, int | None] = {} if champion is None else {"champion": champion, "lite": lite}
    wanted |= {alias: pin.version for alias, pin in state.pins.items()}
    moves = []
    for alias, number in wanted.items():
        now = state.aliases.get(alias)
        if number != now:
            pin = state.pins.get(alias)
            why = _why(alias, number) if pin is None else f"by hand: {pin.reason}"
            before, after = (None if one is None else state.versions.get(one) for one in (now, number))
            moves.append(Move(alias, before, after, "rule" if pin is None else "hand", why))
    return moves


def _why(alias: str, number: int | None) -> str:
    if number is None:
        return "no version near the champion has a known cost"
    return "the best on val" if alias == "champion" else f"the cheapest within {MARGIN:g} point of the champion"


def _apply(client: MlflowClient, name: str, move: Move) -> None:
    if move.after is None:
        ask(lambda: client.delete_registered_model_alias(name, move.alias))
    else:
        number = str(move.after.version)
        ask(lambda: client.set_registered_model_alias(name, move.alias, number))
    before, after = (None if one is None else one.version for one in (move.before, move.after))
    note(client, name, move.alias, before, after, move.by, move.reason)


def _write_pin(client: MlflowClient, state: _State, pin: Pin) -> None:
    """Note a choice by hand, on the version too; if the alias is there already, this is all that happens."""
    words = json.dumps({"version": pin.version, "reason": pin.reason}, ensure_ascii=False)
    ask(lambda: client.set_registered_model_tag(state.name, _PIN + pin.alias, words))
    key = f"litemkd.{pin.alias}_by_hand"
    ask(lambda: client.set_model_version_tag(state.name, str(pin.version), key, pin.reason))
    if state.aliases.get(pin.alias) == pin.version:
        note(client, state.name, pin.alias, pin.version, pin.version, "hand", f"by hand: {pin.reason}")


def _pin(alias: str, value: str | None) -> Pin | None:
    about = {} if value is None else mapping_of(value)
    version = about.get("version")
    return Pin(alias, version, str(about.get("reason", ""))) if isinstance(version, int) else None


def _pin_notes(state: _State) -> list[str]:
    notes = []
    by_rule = {move.alias: move.after for move in _plan(_as_if(state, None, unpin=True))}
    for alias, pin in state.pins.items():
        note = f"{state.name}: {alias} is pinned to version {pin.version}, chosen by hand ({pin.reason})"
        other = by_rule.get(alias)
        if other is not None and other.version != pin.version:
            note += (
                f"; by the rule it would be version {other.version}{_figures(other)}: litemkd register --unpin"
            )
        notes.append(note)
    return notes


def _figures(version: Version) -> str:
    accuracy, cost = version.tags.get(VAL_ACCURACY), version.tags.get(COST)
    facts = [f"val {accuracy} %" if accuracy else "", f"{cost} GMACs an episode" if cost else ""]
    shown = ", ".join(fact for fact in facts if fact)
    return f" ({shown})" if shown else ""


def _on_test(version: Version) -> bool:
    return version.tags.get(CHOSEN_ON, "").strip().lower() == "test"


def _is_pinned(state: _State, version: Version) -> bool:
    return any(pin.version == version.version for pin in state.pins.values())


def _candidate(version: Version) -> Candidate:
    """What the rule sees of a version; one that was chosen on test counts as not measured."""
    tags = version.tags
    accuracy = None if _on_test(version) else _number(tags.get(VAL_ACCURACY))
    return Candidate(version.version, accuracy, _number(tags.get(COST)), tags.get(PROTOCOL))


def _is_measured(version: Version | None) -> bool:
    accuracy = None if version is None else _candidate(version).val_accuracy
    return accuracy is not None and math.isfinite(accuracy)


def _number(word: str | None) -> float | None:
    try:
        return None if word is None else float(word)
    except ValueError:
        return None
