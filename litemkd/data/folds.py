"""Folds over classes: classes dealt out to train, val and test k times, so that every class is tested once.

What holds for one division of the classes may not hold for another one. All folds are written as lists, which
are only read where the user edited them.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from litemkd.data.lists import Lists, ListSettings, check_episodes, ready_lists, write_lists
from litemkd.data.splits import SPLITS, Split, class_of, name_splits, read_splits
from litemkd.errors import DataError

Classes = Mapping[str, Sequence[str]]  # of train, val and test, by name


@dataclass(frozen=True)
class Folds:
    """The folds of a data set.

    Attributes:
        given: how many, or the folds themselves: folders of lists below `splits/`, or classes by name.
        chosen: the number of the fold that is asked for, from 0.
    """

    given: int | Sequence[str | Classes]
    chosen: int

    @property
    def count(self) -> int:
        """K."""
        return self.given if isinstance(self.given, int) else len(self.given)


def deal(
    classes: Sequence[str], k: int, *, way: int, val_share: float, seed: int
) -> list[dict[str, tuple[str, ...]]]:
    """Classes of train, val and test of k folds.

    The classes stand in a circle, in an order that chance decides. The test classes of a fold are one of k arcs
    of it, of equal length or one more; val are the classes after it.

    Args:
        classes: their names; their order does not matter.
        k: folds.
        way: W: each part gets at least so many.
        val_share: of the classes that are not tested in a fold, for val.
        seed: of the order.

    Raises:
        DataError: too few classes for k folds.
    """
    # Here and not at the top: seeding loads torch, which the processes that decode videos do without.
    from litemkd.runtime.seeding import numpy_generator

    names, count = sorted(classes), len(set(classes))

    def parts_of(k: int) -> tuple[int, int, int]:
        """The fewest classes of train, val and test of a fold."""
        rest = count - -(-count // k)
        val = max(way, round(val_share * rest))
        return rest - val, val, count // k

    if min(parts_of(k)) < way:
        fit = [str(n) for n in range(2, count // way + 1) if min(parts_of(n)) >= way]
        would = f"{' or '.join(fit)} folds" if fit else f"{3 * way} classes or more, or smaller episodes,"
        raise DataError(
            f"data.folds: {k} given, and {count} classes; for {way}-way episodes train, val and test need "
            f"{way} each: {would} would do"
        )
    _, val, _ = parts_of(k)
    order = [names[i] for i in numpy_generator(seed, "folds").permutation(count)]
    ends = [fold * count // k for fold in range(k + 1)]
    folds = []
    for start, end in itertools.pairwise(ends):
        others = order[end:] + order[:start]
        parts = {"train": others[val:], "val": others[:val], "test": order[start:end]}
        folds.append({name: tuple(sorted(part)) for name, part in parts.items()})
    return folds


def ready_folds(wanted: ListSettings, folds: Folds) -> Lists:
    """The lists of one fold, all of them being written; see `ready_lists`.

    The classes that are dealt out are those of the lists that are there, those named in `data.classes`, or all.

    Raises:
        DataError: as `ready_lists`; too few classes; a class that some fold does not have.
    """
    if not isinstance(folds.given, int) and all(isinstance(one, str) for one in folds.given):
        every = [_lists_in(wanted, str(name), folds, place) for place, name in enumerate(folds.given)]
    else:
        every = _made(wanted, folds)
    for lists in every:
        for split in lists.splits.values():
            check_episodes(wanted, split, lists)
    for lists in every:
        write_lists(lists)
    read = [replace(one, splits=read_splits(one.folder)) for one in every]
    videos = sorted({video for one in read for split in one.splits.values() for video in split.videos})
    return replace(read[folds.chosen], everything=tuple(videos), division=_digest([one.splits for one in read]))


def divided(wanted: ListSettings, lists: Lists, number: int) -> Lists:
    """Lists with others of the classes that are not tested for val; number 0 are the lists as they are.

    The classes of train and val stand in a circle, those of val first, the others in an order that chance
    decides. Val of division n are as many, from the n-th such piece on. They are written as lists.

    Raises:
        DataError: there are not so many.
    """
    if not number:
        return lists
    from litemkd.runtime.seeding import numpy_generator

    train, val = lists.splits["train"], lists.splits["val"]
    size, count = len(val.classes), len(train.classes) + len(val.classes)
    if number >= -(-count // size):
        raise DataError(
            f"data.division: {number} given; of {count} classes that are not tested {size} are val; "
            f"0 to {-(-count // size) - 1} would do"
        )
    order = numpy_generator(wanted.split_seed, "divisions").permutation(len(train.classes))
    circle = [*val.classes, *(train.classes[i] for i in order)]
    circle = circle[number * size :] + circle[: number * size]
    parts = {"val": circle[:size], "train": circle[size:], "test": lists.splits["test"].classes}
    ordered = [video for split in lists.splits.values() for video in split.videos]
    name = lists.folder.name if not lists.everything else f"{lists.folder.parent.name}_{lists.folder.name}"
    made = replace(
        lists,
        splits=name_splits(ordered, parts, "data.division"),
        folder=wanted.folder / "splits" / f"{name}_division{number}",
        origin={**lists.origin, "division": number},
        differences=(),
        everything=lists.everything or tuple(ordered),
    )
    for split in made.splits.values():
        check_episodes(wanted, split, made)
    write_lists(made)
    return made


def _lists_in(wanted: ListSettings, name: str, folds: Folds, place: int) -> Lists:
    """The lists of a fold that lie in a folder of their own."""
    found = ready_lists(replace(wanted, splits=name, classes={}, episodes={split: [] for split in SPLITS}))
    return replace(found, origin={**found.origin, "fold": place, "of": folds.count})


def _made(wanted: ListSettings, folds: Folds) -> list[Lists]:
    """The lists of folds that are dealt out, or named class by class."""
    given = folds.given
    named = wanted.classes if isinstance(given, int) else {}
    base = ready_lists(replace(wanted, episodes={name: [] for name in SPLITS}, classes=named))
    videos = sorted(video for split in base.splits.values() for video in split.videos)
    about: dict[str, object]
    if isinstance(given, int):
        shares, way = wanted.shares, max(way for episodes in wanted.episodes.values() for way, _, _ in episodes)
        share = shares["val"] / (shares["train"] + shares["val"])
        classes = sorted({class_of(video) for video in videos})
        divisions: Sequence[Classes] = deal(classes, given, way=way, val_share=share, seed=wanted.split_seed)
        about, name = {"seed": wanted.split_seed}, f"{given}folds_seed{wanted.split_seed}"
    else:
        divisions, about = [dict(one) for one in given if isinstance(one, Mapping)], {}
        name = f"folds_{hashlib.sha256(json.dumps(divisions, sort_keys=True).encode()).hexdigest()[:8]}"
    return [
        replace(
            base,
            splits=name_splits(videos, classes, f"data.folds.{place}"),
            folder=wanted.folder / "splits" / f"{wanted.splits or wanted.dataset}_{name}" / str(place),
            origin={"from": "folds", "fold": place, "of": folds.count, **about},
            differences=(),
        )
        for place, classes in enumerate(divisions)
    ]


def _digest(folds: Sequence[Mapping[str, Split]]) -> str:
    """A digest of what all folds hold."""
    names = [
        [f"{split.name} {video}" for split in splits.values() for video in split.videos] for splits in folds
    ]
    return hashlib.sha256(json.dumps(names).encode()).hexdigest()
