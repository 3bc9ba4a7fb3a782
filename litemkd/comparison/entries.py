"""Runs as a comparison sees them: which of them count, what each was tested on, and what it reached."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from litemkd.evaluation.intervals import Interval
from litemkd.tracking import FOLD, RunRecord

# What a test accuracy depends on beside the student: words -> parameter. The digest of the data is added.
PROTOCOL = {
    "ways": "episode.way",
    "frames": "data.frames",
    "queries a class": "evaluation.queries",
    "test episodes": "evaluation.test_episodes",
    "seed of the episodes": "evaluation.seed",
}
DATA = "data digest"
DIGEST_TAG = "litemkd.data_digest"

# Parameters that make a teacher another one, and a student; of a student those of `_TAUGHT` count only where a
# teacher took part.
_CLIPS = r"episode\.|data\.(frames|short_side|crop|flip|crop_scale|jitter)$"
_TEACHER = re.compile(rf"teacher\.|{_CLIPS}")
_STUDENT = re.compile(rf"student\.|loss\.|teacher\.|{_CLIPS}")
_TAUGHT = re.compile(r"loss\.|teacher\.")
# How it was computed, or a name for values that are given beside it.
_INCIDENTAL = re.compile(r"\.(clips_at_once|checkpoint_activations|compile|preset)$")
# Metrics that stand in a comparison beside those of the cost.
_SPEEDS = ("train_episodes_per_second", "gpu_busy_percent", "waiting_for_data_percent")
_BESIDE = ("test/ece", *(f"speed/{name}" for name in _SPEEDS))
_SHOT = re.compile(r"test/accuracy_(\d+)shot")
_WORDS_OF_DIGEST = re.compile(r", data (\S+)$")  # runs from before the tag have it in their protocol alone


@dataclass(frozen=True)
class LeftOut:
    """A run that does not count, and why."""

    run_id: str
    name: str
    reason: str


@dataclass(frozen=True)
class Entry:
    """A finished run that was tested.

    Attributes:
        distilled: `yes`, `no`, or `–` where the run does not say.
        seed: of the training.
        fold: which division of the classes it is of; empty where there is one.
        settings: what makes the student what it is: two runs that share it differ by their seed alone.
        protocol: what accuracies must share to stand in one column, by name in words, with the data's digest.
        accuracy: per cent, by number of shots, with the interval over the test episodes.
        cost: metrics `cost/…` without the prefix, `ece`, how far its probabilities are off, and how fast its
            training went.
    """

    record: RunRecord = field(repr=False)
    dataset: str
    distilled: str
    seed: str
    settings: Mapping[str, str] = field(repr=False)
    protocol: Mapping[str, str]
    accuracy: Mapping[int, Interval]
    cost: Mapping[str, float] = field(repr=False)
    fold: str = ""

    @property
    def run_id(self) -> str:
        """MLflow's id."""
        return self.record.run_id

    def value(self, key: str) -> str | None:
        """A grouping key: `distilled`, a tag (`head` is `litemkd.head`), or a parameter; None if it has none.

        A student that learnt from labels alone has no `loss.…` and no `teacher.…`.
        """
        if key == "distilled":
            return self.distilled
        tags, params = self.record.tags, self.record.params
        if self.distilled == "no" and _TAUGHT.match(key):
            return None
        return next((found[name] for found, name in _places(tags, params, key) if name in found), None)


def _places(
    tags: Mapping[str, str], params: Mapping[str, str], key: str
) -> tuple[tuple[Mapping[str, str], str], ...]:
    return (tags, f"litemkd.{key}"), (tags, key), (params, key)


def read_entries(records: Iterable[RunRecord]) -> tuple[list[Entry], list[LeftOut]]:
    """The runs that count, in their order, and the others."""
    entries: list[Entry] = []
    left: list[LeftOut] = []
    for record in records:
        found = _entry(record)
        if isinstance(found, Entry):
            entries.append(found)
        else:
            left.append(LeftOut(record.run_id, record.name, found))
    return entries, left


def _entry(record: RunRecord) -> Entry | str:
    """The entry, or why there is none."""
    params = record.params
    if record.status != "FINISHED":
        return f"not finished: {record.status}"
    shots = shots_of(params)
    accuracy = _accuracies(record.metrics, shots)
    if not accuracy:
        return "no test accuracy recorded"
    protocol = {words: params.get(key, "") for words, key in PROTOCOL.items()} | {DATA: _digest(record.tags)}
    if missing := [words for words, value in protocol.items() if not value]:
        return f"does not say: {', '.join(missing)}"
    if "seed" not in params:
        return "does not say: seed"
    distilled = {"true": "yes", "false": "no"}.get(record.tags.get("litemkd.distilled", ""), "–")
    return Entry(
        record,
        record.tags.get("litemkd.dataset") or record.experiment.removeprefix("litemkd/"),
        distilled,
        params["seed"],
        _settings(record, distilled, shots),
        protocol,
        accuracy,
        {
            key.partition("/")[2]: value
            for key, value in record.metrics.items()
            if (key.startswith("cost/") or key in _BESIDE) and math.isfinite(value)
        },
        record.tags.get(FOLD, ""),
    )


def shots_of(params: Mapping[str, str]) -> tuple[int, ...]:
    """Numbers of shots a run is tested with, the main one first; empty where it does not say."""
    return tuple(int(number) for number in re.findall(r"\d+", params.get("evaluation.shots", "")))


def _accuracies(metrics: Mapping[str, float], shots: tuple[int, ...]) -> dict[int, Interval]:
    nothing = float("nan")
    found = {
        int(match[1]): Interval(value, metrics.get(f"test/accuracy_ci95_{match[1]}shot", nothing))
        for key, value in metrics.items()
        if (match := _SHOT.fullmatch(key)) and math.isfinite(value)
    }
    if not found and shots and math.isfinite(metrics.get("test/accuracy", nothing)):
        found = {shots[0]: Interval(metrics["test/accuracy"], metrics.get("test/accuracy_ci95", nothing))}
    return found


def _digest(tags: Mapping[str, str]) -> str:
    if FOLD in tags:  # what is one of several folds is compared with the others
        return f"{tags.get('litemkd.folds_digest', '')} (folds)"
    words = _WORDS_OF_DIGEST.search(tags.get("litemkd.protocol", ""))
    return tags.get(DIGEST_TAG) or (words[1] if words else "")


def _settings(record: RunRecord, distilled: str, shots: tuple[int, ...]) -> dict[str, str]:
    params, tags = record.params, record.tags
    makes = _TEACHER if record.stage == "teacher" else _STUDENT
    settings = {
        key: value
        for key, value in params.items()
        if _is_setting(key, makes) and (distilled != "no" or not _TAUGHT.match(key))
    }
    # Checkpoints are chosen with the first number of shots, on so many episodes.
    settings["evaluation.shots"] = str(shots[0]) if shots else ""
    settings["evaluation.val_episodes"] = params.get("evaluation.val_episodes", "")
    settings |= {key: tags.get(f"litemkd.{key}", "") for key in ("backbone", "head", "model")}
    return dict(sorted(settings.items())) | {"distilled": distilled}


@functools.cache  # every run has the same keys
def _is_setting(key: str, makes: re.Pattern[str]) -> bool:
    return bool(makes.match(key) and not _INCIDENTAL.search(key))


def of_student(settings: Mapping[str, str]) -> dict[str, str]:
    """The settings that a distilled student shares with the one on labels alone that it is laid beside."""
    return {key: value for key, value in settings.items() if not _TAUGHT.match(key) and key != "distilled"}
