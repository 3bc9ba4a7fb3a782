"""Split lists: which videos are for training, validation and test, by class.

The classes of the three splits never overlap: that is what few-shot learning on *new* classes means. A list is
a text file of lines `class/video`, as in the published splits (`trainlist03.txt` and so on).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from litemkd.data.names import clean_name
from litemkd.errors import DataError, some
from litemkd.extending.outside import near
from litemkd.storage.files import write_text

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Split:
    """The videos of one split.

    Attributes:
        name: train, val or test.
        videos: "class/video" without extension, in the order of the list.
        classes: sorted.
        labels: (V,) int64, the place of each video's class in `classes`; read-only.
    """

    name: str
    videos: tuple[str, ...]
    classes: tuple[str, ...]
    labels: np.ndarray = field(compare=False, repr=False)

    def without(self, videos: Collection[str]) -> Split:
        """The split with these videos left out, and the classes that only they stood for."""
        gone = set(videos)
        return make_split(self.name, (video for video in self.videos if video not in gone))


def make_split(name: str, videos: Iterable[str]) -> Split:
    """A split of "class/video" names that are already clean."""
    listed = tuple(videos)
    classes = tuple(sorted({class_of(video) for video in listed}))
    place = {one: i for i, one in enumerate(classes)}
    labels = np.array([place[class_of(video)] for video in listed], np.int64)
    labels.flags.writeable = False
    return Split(name, listed, classes, labels)


def class_of(video: str) -> str:
    """The class in "class/video"."""
    return video.partition("/")[0]


def read_splits(folder: Path) -> dict[str, Split]:
    """The splits in a folder of lists.

    For each of train, val and test the file is `<split>list03.txt`, else the only `<split>list*.txt`, else
    `<split>.txt`. Byte-order marks, Windows line ends and blank lines do no harm.

    Returns:
        {"train": ..., "val": ..., "test": ...}.

    Raises:
        DataError: a missing folder or list, an empty list, a malformed or repeated line (with file and line),
            or classes that stand in more than one split (all of them named).
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(
            f"no split folder {folder}; it should hold trainlist03.txt, vallist03.txt, testlist03.txt"
        )
    splits = {name: _read_list(_find_list(folder, name), name) for name in SPLITS}
    _check_disjoint(splits, f"the lists in {folder}")
    return splits


def _find_list(folder: Path, name: str) -> Path:
    usual = folder / f"{name}list03.txt"
    if usual.is_file():
        return usual
    found = sorted(folder.glob(f"{name}list*.txt"))
    if len(found) > 1:
        raise DataError(
            f"{folder} has several lists for {name} and none is {usual.name}: "
            f"{', '.join(path.name for path in found)}; keep one"
        )
    if not found and (folder / f"{name}.txt").is_file():
        found = [folder / f"{name}.txt"]
    if not found:
        raise DataError(f"{folder} has no list for {name}: none of {usual.name}, {name}list*.txt, {name}.txt")
    return found[0]


def _read_list(path: Path, name: str) -> Split:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path} as UTF-8 text: {error}") from error
    first_line: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            video = clean_name(line)
        except DataError as error:
            raise DataError(f"{path}:{number}: {error}") from None
        if video in first_line:
            raise DataError(
                f"{path}:{number}: {video} is already on line {first_line[video]}; a video counts once"
            )
        first_line[video] = number
    if not first_line:
        raise DataError(f"{path} lists no video; lines of the form class/video are needed")
    return make_split(name, first_line)


def _check_disjoint(splits: Mapping[str, Split], where: str) -> None:
    owners: dict[str, list[str]] = {}
    for name, split in splits.items():
        for one in split.classes:
            owners.setdefault(one, []).append(name)
    shared = [f"{one} ({' and '.join(names)})" for one, names in sorted(owners.items()) if len(names) > 1]
    if shared:
        raise DataError(
            f"{where} share {len(shared)} {'class' if len(shared) == 1 else 'classes'}: {', '.join(shared)}; "
            "a class may stand in one split only"
        )


def make_splits(videos: Sequence[str], fractions: Mapping[str, float], seed: int) -> dict[str, Split]:
    """Splits for data that comes without lists: whole classes are dealt out at random.

    Args:
        videos: "class/video" names.
        fractions: share of the classes for train, val and test; they add up to 1. Each gets one class at least.
        seed: decides which class goes where; the same seed gives the same splits for any order of `videos`.

    Raises:
        DataError: fractions that are not three positive shares of 1, or fewer than three classes.
    """
    # Here and not at the top: seeding loads torch, which the processes that decode videos do without.
    from litemkd.runtime.seeding import numpy_generator

    shares = dict(fractions)
    if set(shares) != set(SPLITS) or min(shares.values()) <= 0 or not math.isclose(sum(shares.values()), 1.0):
        raise DataError(
            f"split fractions are {shares}; train, val and test above 0 that add up to 1 are needed"
        )
    names = sorted(videos)
    classes = sorted({class_of(video) for video in names})
    if len(classes) < len(SPLITS):
        raise DataError(
            f"{len(classes)} classes cannot be divided into train, val and test; 3 or more are needed"
        )
    # Largest remainder on what is left after one class each.
    wanted = {name: max(shares[name] * len(classes) - 1.0, 0.0) for name in SPLITS}
    spare = len(classes) - len(SPLITS)
    scale = spare / sum(wanted.values()) if sum(wanted.values()) else 0.0
    counts = {name: 1 + int(wanted[name] * scale + 1e-9) for name in SPLITS}
    rest = sorted(SPLITS, key=lambda name: counts[name] - 1 - wanted[name] * scale)
    for i in range(len(classes) - sum(counts.values())):
        counts[rest[i % len(rest)]] += 1
    order = numpy_generator(seed, "make_splits").permutation(len(classes))
    splits, start = {}, 0
    for name in SPLITS:
        chosen = {classes[i] for i in order[start : start + counts[name]]}
        splits[name] = make_split(name, [video for video in names if class_of(video) in chosen])
        start += counts[name]
    return splits


def name_splits(
    videos: Sequence[str], classes: Mapping[str, Collection[str]], key: str = "data.classes"
) -> dict[str, Split]:
    """Splits of the classes that are named for each.

    Args:
        videos: "class/video" names; those of other classes are in no split.
        classes: of train, val and test.
        key: where they are named, for messages.

    Raises:
        DataError: a class without videos.
    """
    there = {class_of(video) for video in videos}
    for name, wanted in classes.items():
        if missing := sorted(set(wanted) - there):
            raise DataError(f"{key}.{name}: no videos of {some(missing)}; {near(missing[0], sorted(there))}")
    return {
        name: make_split(name, sorted(video for video in videos if class_of(video) in classes[name]))
        for name in SPLITS
    }


def write_splits(folder: Path, splits: Mapping[str, Split]) -> None:
    """Write `<name>list03.txt` for each split; `read_splits` gives the same back.

    Raises:
        DataError: classes in more than one split; nothing is written then.
    """
    _check_disjoint(splits, "the splits to write")
    folder = Path(folder)
    for name, split in splits.items():
        write_text(folder / f"{name}list03.txt", "".join(f"{video}\n" for video in split.videos))


def check_enough(split: Split, shot: int, queries: int, way: int) -> None:
    """Check that episodes can be drawn from a split.

    Raises:
        DataError: fewer classes than `way`, or classes with fewer videos than shot + queries (each is named).
    """
    problems = []
    if len(split.classes) < way:
        problems.append(f"it has {len(split.classes)} classes, {way}-way episodes need {way}")
    counts = Counter(split.labels.tolist())
    few = [f"{one} ({counts[i]})" for i, one in enumerate(split.classes) if counts[i] < shot + queries]
    if few:
        problems.append(
            f"{len(few)} {'class has' if len(few) == 1 else 'classes have'} fewer than {shot + queries} videos "
            f"({shot} for support, {queries} for query): {', '.join(few)}"
        )
    if problems:
        raise DataError(f"split {split.name} is too small: {'; '.join(problems)}")
