"""What a setting may be in a search: a range of numbers or a choice."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any, TypeGuard

import optuna

from litemkd.config.strict_yaml import as_yaml

LARGEST = 1e300
MOST_STEPS = 10**9
FORMS = "{float: [low, high]}, {int: [low, high]} or {categorical: [...]}"
FIELDS = {"float": ("log", "step"), "int": ("log", "step"), "categorical": ()}


@dataclass(frozen=True)
class Numbers:
    """Numbers from `low` to `high`, both included.

    Attributes:
        kind: `float` or `int`.
        low, high: the ends.
        log: drawn evenly in the logarithm.
        step: distance of neighbours, from `low` on; None for all numbers of that kind.
    """

    kind: str
    low: float
    high: float
    log: bool = False
    step: float | None = None

    def suggest(self, trial: optuna.Trial, name: str) -> float:
        """A number for this trial."""
        if self.kind == "int":
            step = 1 if self.step is None else int(self.step)
            return trial.suggest_int(name, int(self.low), int(self.high), step=step, log=self.log)
        return trial.suggest_float(name, self.low, self.high, step=self.step, log=self.log)

    def __contains__(self, value: object) -> bool:
        if not is_number(value) or not self.low <= value <= self.high:
            return False
        step = self.step or (1 if self.kind == "int" else None)
        steps = 0.0 if step is None else (value - self.low) / step
        return abs(steps - round(steps)) < 1e-8

    def encode(self, value: Any) -> Any:
        """The number as the study keeps it."""
        return int(value) if self.kind == "int" else float(value)

    def decode(self, param: Any) -> Any:
        """The number of what the study keeps."""
        return param

    def probes(self) -> list[Any]:
        """Numbers to try the configuration with: both ends, and of floats one that is no whole number."""
        if self.kind == "int":
            return [int(self.low), int(self.high)]
        between = self.low + (self.step if self.step is not None else (self.high - self.low) / math.e)
        return list(dict.fromkeys([self.low, self.high, min(between, self.high)]))

    def content(self) -> dict[str, Any]:
        """Everything about it in plain values, for digests."""
        return asdict(self)

    def __str__(self) -> str:
        more = [f"step {_figure(self.step)}"] if self.step is not None else []
        more += ["log"] if self.log else []
        return ", ".join([f"{_figure(self.low)} to {_figure(self.high)}", *more])

    @property
    def words(self) -> str:
        """All about it in one line."""
        return f"{self.kind} {self}"


@dataclass(frozen=True)
class Choice:
    """One of several values: text, numbers, true or false, null, or lists of these."""

    values: tuple[Any, ...]

    def suggest(self, trial: optuna.Trial, name: str) -> Any:
        """A value for this trial."""
        return self.decode(trial.suggest_categorical(name, [self.encode(value) for value in self.values]))

    def __contains__(self, value: object) -> bool:
        return any(same(value, one) for one in self.values)

    def encode(self, value: Any) -> Any:
        """The value as the study keeps it: a list as JSON text."""
        return json.dumps(value) if isinstance(value, list) else value

    def decode(self, param: Any) -> Any:
        """The value of what the study keeps."""
        return next((value for value in self.values if same(self.encode(value), param)), param)

    def probes(self) -> list[Any]:
        """Values to try the configuration with: all of them."""
        return list(self.values)

    def content(self) -> dict[str, Any]:
        """Everything about it in plain values, for digests."""
        return {"kind": "categorical", "values": list(self.values)}

    def __str__(self) -> str:
        return " | ".join(as_yaml(value) for value in self.values)

    @property
    def words(self) -> str:
        """All about it in one line."""
        return f"one of {self}"


Range = Numbers | Choice


def range_of(plain: Mapping[str, Any]) -> Range:
    """The range of its plain values, as `content` gives them."""
    return Choice(tuple(plain["values"])) if plain["kind"] == "categorical" else Numbers(**plain)


def _figure(number: float) -> str:
    """A number as short as it can be and still be that one."""
    return short if float(short := f"{number:g}") == number else repr(number)


def is_number(value: object) -> TypeGuard[float]:
    """Whether this is a finite number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LARGEST


def same(one: Any, other: Any) -> bool:
    """Whether two values are the same; true is not 1."""
    return isinstance(one, bool) == isinstance(other, bool) and one == other


def read_range(given: Any) -> tuple[Range | None, list[str]]:
    """The range that a file gives, `when` left aside, None where there is none; and what is wrong with it."""
    if not isinstance(given, Mapping):
        return None, [f"{as_yaml(given)} given; {FORMS} would do"]
    kinds = [kind for kind in FIELDS if kind in given]
    if len(kinds) != 1:
        listed = " and ".join(kinds) or ", ".join(str(key) for key in given if key != "when") or "nothing"
        near = [] if kinds else [hit for key in given for hit in difflib.get_close_matches(str(key), FIELDS, 1)]
        hint = f"did you mean `{near[0]}`?" if near else f"one of {FORMS} would do"
        return None, [f"{listed} given; {hint}"]
    kind = kinds[0]
    known = (kind, *FIELDS[kind], "when")
    problems = [
        f"{key}: no such field of {kind}; {', '.join(known)} would do" for key in given if key not in known
    ]
    if kind == "categorical":
        values, wrong = _choice(given[kind])
        return values, problems + wrong
    numbers, wrong = _numbers(kind, given)
    return numbers, problems + wrong


def _choice(given: Any) -> tuple[Choice | None, list[str]]:
    if not isinstance(given, list) or not given:
        return None, [f"categorical: {as_yaml(given)} given; a list of at least one value would do"]
    wrong = [
        f"categorical: {as_yaml(value)} given; text, a number, true, false, null or a list of these would do"
        for value in given
        if not all(_is_plain(item) for item in (value if isinstance(value, list) else [value]))
    ]
    if wrong:
        return None, wrong
    choice = Choice(tuple(given))
    kept = [choice.encode(value) for value in given]
    again = [as_yaml(value) for place, value in enumerate(given) if kept[place] in kept[:place]]
    if again:
        return None, [
            f"categorical: {', '.join(again)} given twice; once would do (1 is the same as true here)"
        ]
    return choice, []


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, str | bool) or is_number(value)


def _numbers(kind: str, given: Mapping[str, Any]) -> tuple[Numbers | None, list[str]]:
    ends, log, step = given[kind], given.get("log", False), given.get("step")
    if not isinstance(ends, list) or len(ends) != 2:
        return None, [f"{kind}: {as_yaml(ends)} given; two numbers, [low, high], would do"]
    fits = _is_whole if kind == "int" else is_number
    noun = "whole number" if kind == "int" else "number"
    problems = [f"{kind}: {as_yaml(end)} given; a {noun} would do" for end in ends if not fits(end)]
    if not isinstance(log, bool):
        problems.append(f"log: {as_yaml(log)} given; true or false would do")
    if step is not None and not (fits(step) and step > 0):
        problems.append(f"step: {as_yaml(step)} given; a {noun} above 0 would do")
    if problems:
        return None, problems
    to = int if kind == "int" else float
    low, high = map(to, ends)
    step = None if step is None else to(step)
    if low > high:
        return None, [f"{kind}: [{low:g}, {high:g}] given; the smaller number must come first"]
    if log and step is not None:
        problems.append(f"step: {step:g} given with log: true; one of the two would do")
    if log and low <= 0:
        problems.append(f"log: true given with low = {low:g}; low above 0, or log: false, would do")
    if step is not None:
        steps = (Decimal(str(high)) - Decimal(str(low))) / Decimal(str(step))
        if steps > MOST_STEPS:
            problems.append(f"step: {step:g} given, too small for {low:g} to {high:g}; none would do")
        elif steps % 1:
            last = Decimal(str(low)) + steps // 1 * Decimal(str(step))
            problems.append(
                f"step: {step:g} given, which does not lead from {low:g} to {high:g}; high = {last:g} would do"
            )
    return (None, problems) if problems else (Numbers(kind, low, high, log, step), [])


def _is_whole(value: object) -> TypeGuard[float]:
    return is_number(value) and value == int(value)
