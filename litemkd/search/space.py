"""The search space: which settings are searched, within what, and under which condition.

A space is a YAML file of configuration keys and ranges, see docs/searching.md. All mistakes are told at once.
"""

from __future__ import annotations

import difflib
import graphlib
import random
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from pydantic import ValidationError

from litemkd.config import Config, digest_of, every_key, load_config
from litemkd.config.strict_yaml import as_yaml, read_mapping
from litemkd.errors import ConfigError
from litemkd.search.ranges import Choice, Numbers, Range, is_number, read_range, same

TRIES = 20  # random trials without which a value is not told to be impossible

# What a search may change: how the student learns. The longest beginning of a key decides.
SEARCHED = ("loss.", "student.", "episode.", "data.crop_scale", "data.jitter", "data.flip")
FIXED = {
    "seed": "a seed is no setting to choose by its luck",
    "episode.way": "val and test episodes have as many ways, so trials would answer different questions",
    "evaluation": "trials must be measured alike",
    "teacher": "all trials learn from one teacher",
    "data": "all trials see the same clips; data.crop_scale, data.jitter and data.flip are of training alone",
}
OWN = ("loss.terms.", "student.head.settings.", "student.backbone.settings.")
SAME = "it is the same for all trials"


@dataclass(frozen=True)
class Parameter:
    """A setting that is searched.

    Attributes:
        key: dotted key of the configuration; also its name in the study.
        range: its values.
        when: key of a choice -> its values with which this setting is searched. All must hold.
    """

    key: str
    range: Range
    when: Mapping[str, tuple[Any, ...]]

    def holds(self, values: Mapping[str, Any]) -> bool:
        """Whether it is searched in a trial of these values."""
        return all(
            key in values and any(same(values[key], one) for one in wanted) for key, wanted in self.when.items()
        )


@dataclass(frozen=True)
class Space:
    """The settings that are searched, those that conditions name before those that depend on them."""

    parameters: tuple[Parameter, ...]
    name: str = "space"

    def suggest(self, trial: optuna.Trial) -> dict[str, Any]:
        """Values of a trial by key; settings whose condition does not hold are left out."""
        values: dict[str, Any] = {}
        for parameter in self.parameters:
            if parameter.holds(values):
                values[parameter.key] = parameter.range.suggest(trial, parameter.key)
        return values

    def overrides(self, values: Mapping[str, Any]) -> list[str]:
        """The values as `key=value` for `load_config` and `--set`."""
        return [f"{key}={as_yaml(value)}" for key, value in values.items()]

    def values_of(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The values of a finished trial from its parameters as the study keeps them.

        Raises:
            ConfigError: the study holds a parameter that is not of this space.
        """
        ranges = {parameter.key: parameter.range for parameter in self.parameters}
        strange = [key for key in params if key not in ranges]
        if strange:
            raise ConfigError([f"{self.name}: {key}: in the study but not in the space" for key in strange])
        return {key: ranges[key].decode(params[key]) for key in ranges if key in params}

    def default(self, config: Config) -> dict[str, Any] | None:
        """The configuration's own settings, as `study.enqueue_trial` takes them, or None where none fits.

        A setting outside its range is left out, with those that depend on it; the sampler chooses it.
        """
        flat, values, params = every_key(config), dict[str, Any](), dict[str, Any]()
        for parameter in self.parameters:
            value = flat.get(parameter.key)
            if parameter.holds(values) and parameter.key in flat and value in parameter.range:
                values[parameter.key] = value
                params[parameter.key] = parameter.range.encode(value)
        return params or None

    @property
    def digest(self) -> str:
        """A short digest of keys, ranges and conditions, whatever their order in the file."""
        return digest_of(self.content())

    def content(self) -> dict[str, Any]:
        """Everything in plain values: by key its range and its condition."""
        return {
            one.key: [one.range.content(), {key: list(values) for key, values in one.when.items()}]
            for one in self.parameters
        }

    def check(self, file: Path | None, overrides: Sequence[str] = ()) -> None:
        """Try every choice and end of a range with an experiment.

        Raises:
            ConfigError: values that the experiment's configuration refused in every trial that was tried.
        """
        load_config(file, overrides)
        problems = []
        for parameter in self.parameters:
            for value in parameter.range.probes():
                refused = self._refused(parameter, value, file, overrides)
                if refused:
                    problems.append(
                        f"{self.name}: {parameter.key}: {as_yaml(value)} is never possible: {refused}"
                    )
        if problems:
            raise ConfigError(problems)

    def _refused(
        self, parameter: Parameter, value: Any, file: Path | None, overrides: Sequence[str]
    ) -> str | None:
        """What was wrong in the trial with the fewest mistakes, None when one had none."""
        rng = random.Random(0)
        mistakes = []
        for _ in range(TRIES):
            values = self._drawn(rng, {parameter.key: value})
            try:
                load_config(file, [*overrides, *self.overrides(values)])
            except ConfigError as error:
                mistakes.append((len(error.problems), "; ".join(error.problems)))
            else:
                return None
        return min(mistakes)[1]

    def _drawn(self, rng: random.Random, fixed: dict[str, Any]) -> dict[str, Any]:
        """Random values with some of them fixed, and with the conditions of these fulfilled."""
        for parameter in reversed(self.parameters):
            if parameter.key in fixed:
                fixed |= {key: rng.choice(wanted) for key, wanted in parameter.when.items() if key not in fixed}
        values: dict[str, Any] = {}
        for parameter in self.parameters:
            if parameter.holds(values):
                drawn = rng.choice(parameter.range.probes())
                values[parameter.key] = fixed.get(parameter.key, drawn)
        return values


def condition_words(when: Mapping[str, Iterable[Any]]) -> str:
    """A condition in words, empty without one."""
    return " and ".join(f"{key} = {' or '.join(map(as_yaml, one))}" for key, one in when.items())


def read_space(path: Path) -> Space:
    """The space in a YAML file.

    Raises:
        ConfigError: everything that is wrong with it, at once; each line names file and key.
    """
    problems: list[str] = []
    given = read_mapping(path, problems)
    if not given:
        problems.append(f"{path}: holds no settings; at least one key with a range would do")
    known = every_key(Config())
    ranges: dict[str, Range] = {}
    for key, spec in given.items():
        reason = _not_searched(str(key), known)
        found, wrong = read_range(spec)
        if found is not None and reason is None and str(key) in known:
            wrong += _refused_alone(str(key), found)
        problems += [f"{path}: {key}: {one}" for one in ([reason] if reason else []) + wrong]
        if found is not None:
            ranges[str(key)] = found
    conditions, wrong = _conditions(given, ranges)
    problems += [f"{path}: {one}" for one in wrong]
    if problems:
        raise ConfigError(problems)
    order = graphlib.TopologicalSorter({key: list(conditions[key]) for key in ranges}).static_order()
    return Space(tuple(Parameter(key, ranges[key], conditions[key]) for key in order), str(path))


def _not_searched(key: str, known: Collection[str]) -> str | None:
    """Why a key cannot be searched, None when it can."""

    def within(beginning: str) -> bool:
        return key == beginning.rstrip(".") or key.startswith(f"{beginning.rstrip('.')}.")

    beginnings = sorted((one for one in (*SEARCHED, *FIXED) if within(one)), key=len)
    if beginnings and beginnings[-1] in FIXED:
        return f"a search does not change it: {FIXED[beginnings[-1]]}"
    # What a class of the user's own can be set to is known with the experiment that names it: `check` tells.
    if key not in known and not key.startswith(OWN):
        inside = [one for one in known if one.startswith(f"{key}.")]
        if inside:
            return f"a section, not a setting; {inside[0]} would do"
        near = difflib.get_close_matches(key, known, n=1, cutoff=0.5) or [
            one for one in known if one.split(".")[-1] == key.split(".")[-1]
        ]
        return f"no such key; {f'did you mean `{near[0]}`?' if near else 'docs/config.md lists all'}"
    return None if beginnings else f"a search does not change it: {SAME}"


def _refused_alone(key: str, found: Range) -> list[str]:
    """What the configuration says against values, whatever the other settings are."""
    problems = []
    for value in found.probes():
        nested = value
        for part in reversed(key.split(".")):
            nested = {part: nested}
        try:
            read = every_key(Config.model_validate(nested))[key]
        except ValidationError as error:
            message = error.errors()[0]["msg"]
            problems.append(f"{as_yaml(value)} given; {message[:1].lower()}{message[1:]}")
        else:
            if not (same(read, value) or (is_number(read) and is_number(value) and read == value)):
                problems.append(f"{as_yaml(value)} given, which is read as {as_yaml(read)}; that would do")
    return list(dict.fromkeys(problems))


def _conditions(
    given: Mapping[Any, Any], ranges: Mapping[str, Range]
) -> tuple[dict[str, dict[str, tuple[Any, ...]]], list[str]]:
    """The conditions by key, and what is wrong with them."""
    names = [str(key) for key in given]
    conditions: dict[str, dict[str, tuple[Any, ...]]] = {name: {} for name in names}
    problems: list[str] = []
    for name, spec in zip(names, given.values(), strict=True):
        when = spec.get("when") if isinstance(spec, Mapping) else None
        if when is None:
            continue
        if not isinstance(when, Mapping) or not when:
            problems.append(
                f"{name}: when: {as_yaml(when)} given; {{key: value}} or {{key: [values]}} would do"
            )
            continue
        for parent, wanted in when.items():
            choice = ranges.get(str(parent))
            if isinstance(choice, Choice):
                values = [wanted] if wanted in choice or not isinstance(wanted, list) else wanted
                strange = [as_yaml(value) for value in values if value not in choice]
                if strange or not values:
                    given_values = ", ".join(strange) or "an empty list"
                    problems.append(f"{name}: when: {parent}: {given_values} given; {choice} would do")
                conditions[name][str(parent)] = tuple(values)
            elif isinstance(choice, Numbers):
                problems.append(f"{name}: when: {parent}: a range of numbers; a categorical key would do")
            elif str(parent) not in names:
                problems.append(f"{name}: when: {parent}: not in this space; {_choices(ranges)} would do")
    try:
        graphlib.TopologicalSorter({name: list(one) for name, one in conditions.items()}).prepare()
    except graphlib.CycleError as error:
        circle = error.args[1][::-1]
        problems.append(f"{circle[0]}: when: {' depends on '.join(circle)}: one of them must stand alone")
    return conditions, problems


def _choices(ranges: Mapping[str, Range]) -> str:
    return ", ".join(key for key, one in ranges.items() if isinstance(one, Choice)) or "a categorical key"
