"""Which clips a data set has, and which split each is in: lists that are there, published ones, or made ones.

Lists that the user put into `splits/`, or edited there, are only read. Those written here (from published
classes, copied from `--lists`, made from a seed) have a note beside them, and are made anew when `--videos` or
`--lists` are given.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from litemkd.data.episodes import EpisodeSampler
from litemkd.data.finding.catalogue import Catalogue, find_videos, link_videos
from litemkd.data.names import name_of
from litemkd.data.published import Published, class_key, published
from litemkd.data.splits import Split, make_split, make_splits, name_splits, read_splits, write_splits
from litemkd.errors import DataError, some
from litemkd.storage.files import whole_folder, write_text

NOTE = "made_by_litemkd.json"
# What a data set's own folder holds beside the archive that may have been unpacked there.
_OWN: tuple[str, ...] = (
    "*videos",
    "*_l[0-9]*",
    "l[0-9]*",
    "splits",
    "packs",
    "feature",
    "embeddings",
    "folds",
    "data_card.*",
)


@dataclass(frozen=True)
class ListSettings:
    """Which lists are asked for, and of which data set.

    Attributes:
        dataset: its name.
        folder: of everything that is made of it.
        source: the folder that it is made from.
        videos: a folder of recordings as they came, to be found there; or None.
        lists: a folder of published lists, to be checked and copied; or None.
        splits: name of the folder of lists, where it is not the data set's.
        classes: of each split, by name, of lists that are made.
        split_seed, shares: of lists that are made without: by class, dealt out to the splits.
        on_missing, on_unlisted_class: `error` or `skip`.
        episodes: that are to be drawn of each split: (W, K, queries of each class).
        clips: finds what lies in the data set's own folders.
        recordings: folders beside `videos` that hold recordings of modalities.
    """

    dataset: str
    folder: Path
    source: Path
    videos: Path | None
    lists: Path | None
    splits: str | None
    classes: Mapping[str, Sequence[str]]
    split_seed: int
    shares: Mapping[str, float]
    on_missing: str
    on_unlisted_class: str
    episodes: Mapping[str, Sequence[tuple[int, int, int]]]
    clips: Callable[[], Catalogue]
    recordings: Collection[str]


@dataclass(frozen=True)
class Lists:
    """The splits of a data set and where they come from.

    Attributes:
        splits: train, val and test, without clips that are known to be missing.
        folder: of the lists.
        origin: how they came about: `from` (yours, classes, lists, names, seed) and what belongs to it.
        published: what the data set is published to hold, if that is known.
        differences: from what is published, in words.
        missing_of: listed clips that are not there, by split.
        unlisted: class folders that stand in no list.
        passed_over: what is no video in the folder of `data.videos`.
        everything: of one of several folds, the videos of all; empty of others.
        division: of one of several folds, a digest of all.
    """

    splits: dict[str, Split]
    folder: Path
    origin: dict[str, Any]
    published: Published | None = None
    differences: tuple[str, ...] = ()
    missing_of: dict[str, tuple[str, ...]] = field(default_factory=dict)
    unlisted: tuple[str, ...] = ()
    passed_over: tuple[str, ...] = ()
    everything: tuple[str, ...] = ()
    division: str = ""

    @property
    def missing(self) -> tuple[str, ...]:
        """All listed clips that are not there."""
        return tuple(video for videos in self.missing_of.values() for video in videos)

    @property
    def words(self) -> str:
        """Where the lists come from."""
        fold = f"fold {self.origin['fold']} of {self.origin['of']}" if "fold" in self.origin else ""
        if self.origin["from"] == "folds":
            seed = f"classes dealt out from seed {self.origin.get('seed')}"
            return f"{fold}, {seed if 'seed' in self.origin else 'as data.folds names it'}"
        other = f", division {self.origin['division']}" if "division" in self.origin else ""
        return f"{fold}, {self._words}{other}" if fold else f"{self._words}{other}"

    @property
    def _words(self) -> str:
        return {
            "yours": f"lists in {self.folder}",
            "classes": f"published classes ({self.origin.get('published')}), all their videos",
            "lists": f"published lists in {self.origin.get('folder')}",
            "names": "classes named in data.classes",
            "seed": f"classes dealt out from seed {self.origin.get('seed')}",
        }[self.origin["from"]]

    @property
    def remarks(self) -> list[str]:
        """Lines for the user."""
        lines = [f"splits: {self.words}" + (f"; in {self.folder}" if self.origin["from"] != "yours" else "")]
        if self.published is not None and self.differences:
            lines.append(f"not as published ({self.published.lists}):")
            lines += [f"  {line}" for line in self.differences]
        if self.missing:
            lines.append(f"left out, listed and not there: {_clips(self.missing)}: {some(self.missing)}")
        if self.unlisted:
            folders = f"{len(self.unlisted)} class folder{'s' * (len(self.unlisted) != 1)}"
            lines.append(f"left out, in no list: {folders}: {some(self.unlisted)}")
        return lines


def ready_lists(wanted: ListSettings) -> Lists:
    """Read or make the lists of the data set; with `data.videos`, lay out its videos as links.

    Raises:
        DataError: no lists, and none can be made; counts other than the published ones or listed clips that
            are not there (unless `data.on_missing` is skip); class folders in no list
            (`data.on_unlisted_class`); too few classes or clips for the episodes. Nothing is written then.
    """
    known, links = published(wanted.dataset), wanted.folder / "videos"
    linked = wanted.videos is not None and wanted.videos.resolve() != links.resolve()
    found = None
    if wanted.videos is not None and linked:
        own = [path for pattern in (*_OWN, *wanted.recordings) for path in wanted.folder.glob(pattern)]
        found = find_videos(wanted.videos, flat=known is not None and known.flat, leave_out=own)
    folder = split_folder(wanted)
    if wanted.classes and folder.is_dir() and _note(folder) is None:
        raise DataError(
            f"data.classes: classes are named there, and {folder} holds lists of yours: one of both would do"
        )
    if wanted.lists is None and folder.is_dir() and _stands(folder, wanted, renewed=found is not None):
        note = _note(folder) or {"from": "yours"}
        missing = {name: tuple(videos) for name, videos in note.pop("missing", {}).items()}
        unlisted, others = (tuple(note.pop(key, ())) for key in ("unlisted", "passed_over"))
        lists = Lists(read_splits(folder), folder, note, known, (), missing, unlisted, others)
        new = False
    else:
        _need_lists(wanted, known, folder)
        there = found or wanted.clips()
        splits, origin = _new(wanted, known, there)
        lists = Lists(splits, _target(wanted, known), origin, known)
        found, new = there, True
    paths: dict[str, Path] = {}
    if found is not None:
        lists, paths = _located(lists, found, rename=not linked)
    if known is not None:
        lists = replace(lists, differences=tuple(known.differences(lists.splits)))
    _refuse(wanted, lists, found, new)
    for split in lists.splits.values():
        check_episodes(wanted, split, lists)
    if new:
        _refuse_other(lists)
    if linked:
        link_videos(links, paths)
    if new or (found is not None and lists.origin["from"] == "lists"):
        write_lists(lists)
    return lists


def check_episodes(wanted: ListSettings, split: Split, lists: Lists) -> None:
    """Check that the wanted episodes can be drawn from a split.

    Raises:
        DataError: too few classes, or too few clips in some.
    """
    for way, shot, queries in wanted.episodes[split.name]:
        try:
            EpisodeSampler(split, way=way, shot=shot, queries=queries, seed=0)
        except DataError as error:
            if lists.origin["from"] != "seed":
                raise
            raise DataError(
                f"{error}; the split was made by the software ({lists.words}): other shares of the classes "
                "(data.make_splits), smaller episodes, more data, or lists of your own (--lists DIR) would do"
            ) from None


def split_folder(wanted: ListSettings) -> Path:
    """The folder of the lists: the first that is there, by the names it may have; else where it would be."""
    known = published(wanted.dataset)
    names = [wanted.splits] if wanted.splits else [wanted.dataset, *([known.lists] if known else [])]
    for base in (wanted.folder, wanted.source):
        for name in names:
            if (folder := base / "splits" / name).is_dir():
                return folder
    return wanted.source / "splits" / names[0]


def _target(wanted: ListSettings, known: Published | None) -> Path:
    name = wanted.splits or (known.lists if known is not None else wanted.dataset)
    return wanted.folder / "splits" / name


def _note(folder: Path) -> dict[str, Any] | None:
    """How lists that were written here came about; None for the user's own, and for ours that were edited."""
    try:
        note = json.loads((folder / NOTE).read_text(encoding="utf-8"))
        return note if note.pop("digest") == _digest(folder) and "from" in note else None
    except (OSError, ValueError, AttributeError, KeyError):
        return None


def _digest(folder: Path) -> str:
    """A digest of the lists in a folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.txt")):
        digest.update(f"{path.name}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def _stands(folder: Path, wanted: ListSettings, renewed: bool) -> bool:
    """Whether lists are read as they are. What is not the user's own follows the videos and the settings."""
    note = _note(folder)
    if note is None or note["from"] == "lists":
        return True
    return not renewed and (note["from"] == "classes" or note.items() >= _made_note(wanted).items())


def _made_note(wanted: ListSettings) -> dict[str, Any]:
    """What is noted beside lists that are made of the classes that are there."""
    if wanted.classes:
        return {"from": "names", "classes": {name: sorted(classes) for name, classes in wanted.classes.items()}}
    return {"from": "seed", "seed": wanted.split_seed, "fractions": dict(wanted.shares)}


def _need_lists(wanted: ListSettings, known: Published | None, folder: Path) -> None:
    """Refuse to make lists where particular ones are asked for, by name or by the data set."""
    if wanted.lists is not None:
        return
    if wanted.splits is not None and not folder.is_dir():
        read_splits(folder)  # says that there is no such folder
    if known is not None and not known.whole_classes:
        raise DataError(
            f"{wanted.dataset} needs its published lists, {known.lists}: {{train,val,test}}{known.files}; "
            f"name their folder with --lists DIR, or put them into {_target(wanted, known)}"
        )


def _new(
    wanted: ListSettings, known: Published | None, there: Catalogue
) -> tuple[dict[str, Split], dict[str, Any]]:
    if wanted.lists is not None:
        return read_splits(wanted.lists), {"from": "lists", "folder": str(wanted.lists)}
    if known is not None:
        spelling = known.spelling()
        clips = there.all({key: one for key, (_, one) in spelling.items()})
        of = {one: name for name, one in spelling.values()}
        return {
            name: make_split(name, [clip for clip in clips if of[clip.partition("/")[0]] == name])
            for name in known.splits
        }, {"from": "classes", "published": known.lists}
    names = list(there.all())
    if wanted.classes:
        return name_splits(names, wanted.classes), _made_note(wanted)
    return make_splits(names, wanted.shares, wanted.split_seed), _made_note(wanted)


def _located(lists: Lists, found: Catalogue, rename: bool) -> tuple[Lists, dict[str, Path]]:
    """The lists without what is not there, and where each clip is.

    Args:
        lists: as they stand.
        found: what is there.
        rename: give clips the names they have on disk, which are looked up there by these names.
    """
    _refuse_spellings(lists)
    paths: dict[str, Path] = {}
    missing: dict[str, tuple[str, ...]] = {}
    splits = {}
    for name, split in lists.splits.items():
        kept = []
        # What was missing before is looked for again: it may have come since.
        for video in (*split.videos, *lists.missing_of.get(name, ())):
            path = found.find(video)
            if path is None:
                missing[name] = (*missing.get(name, ()), video)
                continue
            kept.append(name_of(path) if rename else video)
            paths[kept[-1]] = path
        splits[name] = make_split(name, kept)
    unlisted = found.not_of(one for split in lists.splits.values() for one in split.classes)
    others = found.passed_over
    return replace(lists, splits=splits, missing_of=missing, unlisted=unlisted, passed_over=others), paths


def _refuse_spellings(lists: Lists) -> None:
    """Refuse lists that spell one class in two ways: its clips would be found for both."""
    spellings: dict[str, str] = {}
    for one in (one for split in lists.splits.values() for one in split.classes):
        other = spellings.setdefault(class_key(one), one)
        if other != one:
            raise DataError(
                f"the lists spell a class in two ways, {other!r} and {one!r}; one of them, everywhere, would do"
            )


def _refuse(wanted: ListSettings, lists: Lists, found: Catalogue | None, new: bool) -> None:
    """Stop where what is there is not what was published or listed, unless that is to be passed over."""
    if found is None:
        return
    if wanted.on_missing == "error":
        lines = list(lists.differences) if new else []
        if lists.missing:
            lines.append(f"listed and not there: {_clips(lists.missing)}: {some(lists.missing)}")
        if lines:
            known = lists.published if new else None
            what = f"published for {known.dataset} ({known.lists})" if known else f"listed in {lists.folder}"
            told = "".join(f"\n  {line}" for line in lines)
            raise DataError(
                f"{found.root} does not hold what is {what}:{told}\ncomplete it and prepare again, or go on "
                "with what is there: --set data.on_missing=skip"
            )
    if lists.unlisted and wanted.on_unlisted_class == "error":
        raise DataError(
            f"{found.root} has class folders that stand in no list: {some(lists.unlisted)}; add their clips "
            "to a list, correct the folders' names, or leave them out with --set data.on_unlisted_class=skip"
        )


def _refuse_other(lists: Lists) -> None:
    """Refuse to write lists over the user's own, unless they are the same."""
    own = lists.folder.is_dir() and _note(lists.folder) is None
    if own and read_splits(lists.folder) != lists.splits:
        raise DataError(
            f"{lists.folder} holds other lists, and they were not written here: move them away, or leave out "
            "--lists to use them"
        )


def write_lists(lists: Lists) -> None:
    """Write lists and their note, unless the same ones are there as the user's own."""
    if lists.folder.is_dir() and _note(lists.folder) is None:
        return
    # What was left out stays on the card when a later call only reads the lists.
    note = {**lists.origin, "missing": lists.missing_of, "unlisted": lists.unlisted}
    note |= {"passed_over": lists.passed_over}
    there = lists.folder.is_dir() and _note(lists.folder) == json.loads(json.dumps(note))
    if there and read_splits(lists.folder) == lists.splits:
        return  # nothing is pulled away from under others that read it
    with whole_folder(lists.folder) as beside:
        write_splits(beside, lists.splits)
        note = {**note, "digest": _digest(beside)}
        write_text(beside / NOTE, json.dumps(note, indent=1, ensure_ascii=False) + "\n")


def _clips(names: Collection[str]) -> str:
    return f"{len(names)} clip{'s' * (len(names) != 1)}"


def published_counts(known: Published | None) -> Mapping[str, Any]:
    """Counts of a card, empty for a data set that is not a published one."""
    if known is None:
        return {}
    return {name: {"classes": one.classes, "videos": one.videos} for name, one in known.splits.items()}
