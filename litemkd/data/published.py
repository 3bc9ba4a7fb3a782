"""The published few-shot splits of the field, as facts: names of lists, classes, counts (`published.yaml`).

UCF101 and HMDB51 use every video of a class, so the classes are the split. Of Kinetics-100 and
Something-Something V2 the published lists of videos are needed, and are checked against the counts here.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from importlib.resources import files

import yaml

from litemkd.data.names import composed
from litemkd.data.splits import SPLITS, Split, class_of
from litemkd.errors import some


@dataclass(frozen=True)
class PublishedSplit:
    """What one split is published to hold.

    Attributes:
        classes: how many.
        videos: how many.
        names: of the classes, where they are known.
    """

    classes: int
    videos: int
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Published:
    """The published splits of a data set.

    Attributes:
        dataset: its name, as `data.dataset` has it.
        lists: name of the published lists, and of their folder below `splits/`.
        files: what their names end in, after train, val or test.
        whole_classes: every video of a class is used, so that no list is needed.
        flat: the videos come in one folder; which class each is of stands in the lists only.
        least: videos that every class has, at least; 0 is not known.
        splits: train, val and test.
    """

    dataset: str
    lists: str
    files: str
    whole_classes: bool
    flat: bool
    least: int
    splits: dict[str, PublishedSplit]

    def spelling(self) -> dict[str, tuple[str, str]]:
        """(split, class as published) by `class_key`, of the classes that are known by name."""
        return {class_key(one): (name, one) for name, split in self.splits.items() for one in split.names}

    def differences(self, splits: Mapping[str, Split]) -> list[str]:
        """In words, split by split: counts and classes that are not the published ones."""
        told = []
        for name, split in splits.items():
            wanted = self.splits[name]
            found = (len(split.classes), len(split.videos))
            lines = self._of_classes(wanted, split)
            if found != (wanted.classes, wanted.videos):
                told.append(
                    f"{name}: {found[0]} of {wanted.classes} classes, {found[1]} of {wanted.videos} videos"
                )
                told += [f"  {line}" for line in lines]
            elif lines:
                told += [f"{name}:", *(f"  {line}" for line in lines)]
        return told

    def _of_classes(self, wanted: PublishedSplit, split: Split) -> list[str]:
        lines = []
        if wanted.names:
            there, known = ({class_key(one) for one in names} for names in (split.classes, wanted.names))
            if absent := [one for one in wanted.names if class_key(one) not in there]:
                lines.append(f"{_classes(absent)} missing: {some(absent)}")
            if strange := [one for one in split.classes if class_key(one) not in known]:
                lines.append(f"{_classes(strange)} not of the published ones: {some(strange)}")
        if self.least:
            counts = dict.fromkeys(split.classes, 0)
            for video in split.videos:
                counts[class_of(video)] += 1
            if few := [f"{one} ({count})" for one, count in counts.items() if count < self.least]:
                lines.append(f"{_classes(few)} with fewer than the {self.least} videos all have: {some(few)}")
        off = len(split.videos) - wanted.videos
        if off:
            lines.append(f"{abs(off)} {_noun(off)} {'more than published' if off > 0 else 'missing'}")
        return lines


def class_key(name: str) -> str:
    """What is the same in all spellings of a class: lower case, composed letters, one space for spaces and
    underscores.
    """
    return composed(re.sub(r"[\s_]+", " ", composed(name)).strip().casefold())


def published(dataset: str) -> Published | None:
    """The published splits of a data set, None if none are known."""
    return _all().get(dataset)


@functools.cache
def _all() -> dict[str, Published]:
    facts = yaml.safe_load(files("litemkd.data").joinpath("published.yaml").read_text(encoding="utf-8"))
    return {
        dataset: Published(
            dataset,
            about["lists"],
            about["files"],
            about.get("whole_classes", False),
            about.get("flat", False),
            about.get("least", 0),
            {name: _split(about[name]) for name in SPLITS},
        )
        for dataset, about in facts.items()
    }


def _split(about: Mapping[str, object]) -> PublishedSplit:
    classes, videos = about["classes"], about["videos"]
    assert isinstance(videos, int)
    if isinstance(classes, int):
        return PublishedSplit(classes, videos)
    assert isinstance(classes, list)
    return PublishedSplit(len(classes), videos, tuple(classes))


def _classes(names: Collection[str]) -> str:
    return f"{len(names)} class{'es' * (len(names) != 1)}"


def _noun(count: int) -> str:
    return f"video{'s' * (abs(count) != 1)}"
