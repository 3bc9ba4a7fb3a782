"""Which clips a data set has, and which split each is in: lists that are there, published ones, or made ones.

Lists that the user put into `splits/`, or edited there, are only read. Those written here (from published
classes, copied from `--lists`, made from a seed) have a note beside them, and are made anew when `--videos` or
`--lists` are given.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from litemkd.config import Config
from litemkd.data.episodes import EpisodeSampler
from litemkd.data.finding.catalogue import Catalogue, find_videos, link_videos
from litemkd.data.names import name_of
from litemkd.data.preparing.modality import clips_there
from litemkd.data.published import Published, class_key, published
from litemkd.data.splits import Split, make_split, make_splits, read_splits, write_splits
from litemkd.errors import DataError, some
from litemkd.files import whole_folder, write_text
from litemkd.modalities.registry import modalities
from litemkd.stages.build import build_place

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
    "data_card.*",
)


def _own(config: Config) -> set[str]:
    ways = (way for record in modalities(config.data.own_modalities).values() for way in record.ways)
    return {*_OWN, *(way.source for way in ways)}


@dataclass(frozen=True)
class Lists:
    """The splits of a data set and where they come from.

    Attributes:
        splits: train, val and test, without clips that are known to be missing.
        folder: of the lists.
        origin: how they came about: `from` (yours, classes, lists, seed) and what belongs to it.
        published: what the data set is published to hold, if that is known.
        differences: from what is published, in words.
        missing_of: listed clips that are not there, by split.
        unlisted: class folders that stand in no list.
        passed_over: what is no video in the folder of `data.videos`.
    """

    splits: dict[str, Split]
    folder: Path
    origin: dict[str, Any]
    published: Published | None = None
    differences: tuple[str, ...] = ()
    missing_of: dict[str, tuple[str, ...]] = field(default_factory=dict)
    unlisted: tuple[str, ...] = ()
    passed_over: tuple[str, ...] = ()

    @property
    def missing(self) -> tuple[str, ...]:
        """All listed clips that are not there."""
        return tuple(video for videos in self.missing_of.values() for video in videos)

    @property
    def words(self) -> str:
        """Where the lists come from."""
        return {
            "yours": f"lists in {self.folder}",
            "classes": f"published classes ({self.origin.get('published')}), all their videos",
            "lists": f"published lists in {self.origin.get('folder')}",
            "seed": f"classes dealt out from seed {self.origin.get('seed')}",
        }[self.origin["from"]]

    @property
    def told(self) -> list[str]:
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


def ready_lists(config: Config) -> Lists:
    """Read or make the lists of the data set; with `data.videos`, lay out its videos as links.

    Raises:
        DataError: no lists, and none can be made; counts other than the published ones or listed clips that
            are not there (unless `data.on_missing` is skip); class folders in no list
            (`data.on_unlisted_class`); too few classes or clips for the episodes. Nothing is written then.
    """
    data, known = config.data, published(config.data.dataset)
    links = config.dataset_dir / "videos"
    linked = data.videos is not None and data.videos.resolve() != links.resolve()
    found = None
    if data.videos is not None and linked:
        own = [path for pattern in _own(config) for path in config.dataset_dir.glob(pattern)]
        found = find_videos(data.videos, flat=known is not None and known.flat, leave_out=own)
    folder = split_folder(config)
    if data.lists is None and folder.is_dir() and _stands(folder, config, renewed=found is not None):
        note = _note(folder) or {"from": "yours"}
        missing = {name: tuple(videos) for name, videos in note.pop("missing", {}).items()}
        unlisted, others = (tuple(note.pop(key, ())) for key in ("unlisted", "passed_over"))
        lists = Lists(read_splits(folder), folder, note, known, (), missing, unlisted, others)
        new = False
    else:
        _need_lists(config, known, folder)
        there = found or Catalogue(*clips_there(build_place(config), config.modality("rgb")))
        splits, origin = _new(config, known, there)
        lists = Lists(splits, _target(config, known), origin, known)
        found, new = there, True
    paths: dict[str, Path] = {}
    if found is not None:
        lists, paths = _located(lists, found, rename=not linked)
    if known is not None:
        lists = replace(lists, differences=tuple(known.differences(lists.splits)))
    _refuse(config, lists, found, new)
    for split in lists.splits.values():
        check_episodes(config, split, lists)
    if new:
        _refuse_other(lists)
    if linked:
        link_videos(links, paths)
    if new or (found is not None and lists.origin["from"] == "lists"):
        _write(lists)
    return lists


def check_episodes(config: Config, split: Split, lists: Lists) -> None:
    """Check that the configured episodes can be drawn from a split.

    Raises:
        DataError: too few classes, or too few clips in some.
    """
    e = config.episode if split.name == "train" else config.evaluation
    shots = (config.episode.shot,) if split.name == "train" else config.evaluation.shots
    for shot in shots:
        try:
            EpisodeSampler(split, way=config.episode.way, shot=shot, queries=e.queries, seed=0)
        except DataError as error:
            if lists.origin["from"] != "seed":
                raise
            raise DataError(
                f"{error}; the split was made by the software ({lists.words}): other shares of the classes "
                "(data.make_splits), smaller episodes, more data, or lists of your own (--lists DIR) would do"
            ) from None


def split_folder(config: Config) -> Path:
    """The folder of the lists: the first that is there, by the names it may have; else where it would be."""
    known = published(config.data.dataset)
    names = (
        [config.data.splits] if config.data.splits else [config.data.dataset, *([known.lists] if known else [])]
    )
    for base in (config.dataset_dir, config.source_dir):
        for name in names:
            if (folder := base / "splits" / name).is_dir():
                return folder
    return config.source_dir / "splits" / names[0]


def _target(config: Config, known: Published | None) -> Path:
    name = config.data.splits or (known.lists if known is not None else config.data.dataset)
    return config.dataset_dir / "splits" / name


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


def _stands(folder: Path, config: Config, renewed: bool) -> bool:
    """Whether lists are read as they are. What is not the user's own follows the videos and the settings."""
    note = _note(folder)
    if note is None or note["from"] == "lists":
        return True
    return not renewed and (note["from"] != "seed" or note.items() >= _seed_note(config).items())


def _seed_note(config: Config) -> dict[str, Any]:
    return {"from": "seed", "seed": config.data.split_seed, "fractions": dict(config.data.make_splits)}


def _need_lists(config: Config, known: Published | None, folder: Path) -> None:
    """Refuse to make lists where particular ones are asked for, by name or by the data set."""
    data = config.data
    if data.lists is not None:
        return
    if data.splits is not None and not folder.is_dir():
        read_splits(folder)  # says that there is no such folder
    if known is not None and not known.whole_classes:
        raise DataError(
            f"{data.dataset} needs its published lists, {known.lists}: {{train,val,test}}{known.files}; "
            f"name their folder with --lists DIR, or put them into {_target(config, known)}"
        )


def _new(config: Config, known: Published | None, there: Catalogue) -> tuple[dict[str, Split], dict[str, Any]]:
    data = config.data
    if data.lists is not None:
        return read_splits(data.lists), {"from": "lists", "folder": str(data.lists)}
    if known is not None:
        spelling = known.spelling()
        clips = there.all({key: one for key, (_, one) in spelling.items()})
        of = {one: name for name, one in spelling.values()}
        return {
            name: make_split(name, [clip for clip in clips if of[clip.partition("/")[0]] == name])
            for name in known.splits
        }, {"from": "classes", "published": known.lists}
    shares = {str(name): share for name, share in data.make_splits.items()}
    return make_splits(list(there.all()), shares, data.split_seed), _seed_note(config)


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


def _refuse(config: Config, lists: Lists, found: Catalogue | None, new: bool) -> None:
    """Stop where what is there is not what was published or listed, unless that is to be passed over."""
    if found is None:
        return
    if config.data.on_missing == "error":
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
    if lists.unlisted and config.data.on_unlisted_class == "error":
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


def _write(lists: Lists) -> None:
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
