"""prepare: raw videos -> frames of every modality -> packs. A second call does only what is missing."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from PIL.Image import Image

from litemkd.config import Config, digest_of
from litemkd.data.finding.catalogue import Catalogue
from litemkd.data.finding.zips import find_zip, unpack_frames
from litemkd.data.folds import Folds, divided, ready_folds
from litemkd.data.lists import (
    Lists,
    ListSettings,
    check_episodes,
    published_counts,
    ready_lists,
    split_folder,
)
from litemkd.data.packs.arrays import ArrayPack, build_array_pack
from litemkd.data.packs.pack import ClipsError, FramePack, Making, build_pack
from litemkd.data.preparing.arrays import METHOD as ARRAYS
from litemkd.data.preparing.arrays import find_arrays
from litemkd.data.preparing.modality import PrepareReport, choose_method, clips_there, prepare_modality
from litemkd.data.splits import Split, class_of
from litemkd.data.toy import ToySettings, make_toy
from litemkd.errors import ConfigError, DataError, some
from litemkd.modalities.record import Estimated, Estimator, Modality
from litemkd.modalities.registry import modalities, parse_derive
from litemkd.report.card import card_markdown
from litemkd.report.contact import contact_sheet
from litemkd.runtime.distributed import Group, main_first
from litemkd.stages.build import build_device, build_place, build_workers, refuse_other_arrays
from litemkd.storage.files import write_text

Pack = FramePack | ArrayPack
SHOWN = 8  # frames of arrays on a contact sheet
_NAMED = 20  # files that are passed over, before "and n more"


@dataclass(frozen=True)
class Prepared:
    """A data set ready for training.

    Attributes:
        splits: train, val and test.
        packs: decoded frames, or arrays by frame, by modality.
        digest: of lists and frames; two runs with one digest saw the same data.
        student_digest: of lists and RGB frames, all that a student sees, whoever teaches it.
        reports: what was made and skipped, by modality.
        lists: where the splits come from.
        source: where the clips come from.
        folds_digest: of a fold, of the lists of all folds and RGB frames; empty without folds.
    """

    splits: dict[str, Split]
    packs: dict[str, Pack]
    digest: str
    student_digest: str
    reports: dict[str, PrepareReport] = field(default_factory=dict)
    lists: Lists | None = None
    source: str = ""
    folds_digest: str = ""

    def digest_for(self, kind: Literal["teacher", "student"]) -> str:
        """The digest of what models of a kind see."""
        return self.digest if kind == "teacher" else self.student_digest

    @property
    def remarks(self) -> list[str]:
        """Lines for the user: where the splits come from, and what was left out."""
        lines = list(self.lists.remarks) if self.lists is not None else []
        for name, report in self.reports.items():
            if report.skipped:
                clips = some([clip for clip, _ in report.skipped])
                lines.append(f"left out, no {name} (data.on_bad_clip=skip): {len(report.skipped)}: {clips}")
            if report.sampled:
                clips = some(report.sampled)
                lines.append(
                    f"{_frames(self.packs[name])} frames taken of more ({name}): {len(report.sampled)}: {clips}"
                )
            if report.blank:
                lines.append(f"black in every frame of {name}: {len(report.blank)}: {some(report.blank)}")
        if others := self.passed_over:
            more = " (all are in data_card.json)" * (len(others) > _NAMED)
            lines.append(f"passed over, no clips by their endings: {len(others)}: {some(others, _NAMED)}{more}")
        return lines

    @property
    def passed_over(self) -> tuple[str, ...]:
        """What lies at the sources and is no clip, by its path."""
        found = list(self.lists.passed_over) if self.lists is not None else []
        return tuple(dict.fromkeys([*found, *(one for r in self.reports.values() for one in r.passed_over)]))

    @property
    def skipped(self) -> int:
        """How many clips were left out because they are bad in some modality."""
        return len({clip for report in self.reports.values() for clip, _ in report.skipped})

    def card(self) -> dict[str, Any]:
        """The data card: what there is, how it was made, and what was left out and why."""
        lists = self.lists
        return {
            "digest": self.digest,
            "student_digest": self.student_digest,
            "source": self.source,
            "lists": lists.words if lists else "",
            "published": dict(published_counts(lists.published)) if lists else {},
            "differences": list(lists.differences) if lists else [],
            "splits": {
                name: {
                    "classes": len(split.classes),
                    "videos": len(split.videos),
                    "names": list(split.classes),
                    "videos_of_class": dict(Counter(class_of(video) for video in split.videos)),
                }
                for name, split in self.splits.items()
            },
            "modalities": {
                name: {
                    "digest": pack.digest,
                    "clips": len(pack.names),
                    "frames": _frames(pack),
                    "sizes": pack.sizes(),
                    "method": self.reports[name].method if name in self.reports else "",
                    "weights": self.reports[name].weights if name in self.reports else None,
                    **self._own_way(name, pack),
                }
                for name, pack in self.packs.items()
            },
            "missing": list(lists.missing) if lists else [],
            "unlisted_classes": list(lists.unlisted) if lists else [],
            "skipped": {
                name: [{"clip": clip, "reason": reason} for clip, reason in report.skipped]
                for name, report in self.reports.items()
            },
            "blank": {name: list(report.blank) for name, report in self.reports.items()},
            "sampled": {name: list(report.sampled) for name, report in self.reports.items()},
            "passed_over": list(self.passed_over),
        }

    def _own_way(self, name: str, pack: Pack) -> dict[str, str]:
        method = self.reports[name].method if name in self.reports else ""
        way = pack.record.way(method) if pack.own else None
        return {} if way is None else {"made": way.about}

    def summary(self) -> str:
        """What was done for each modality, and each clip that was left out with the reason, in lines."""
        return summary(self.reports)

    def contact_sheet(self, clips: int = 3) -> Image:
        """Some clips in all modalities, see `litemkd.report.contact`; evenly chosen from all lists."""
        shared = set.intersection(*(set(pack.names) for pack in self.packs.values()))
        videos = [video for split in self.splits.values() for video in split.videos if video in shared]
        chosen = dict.fromkeys(videos[i * len(videos) // clips] for i in range(min(clips, len(videos))))
        return contact_sheet(
            {
                video: {
                    name: pack.record.shown(_some_frames(pack, int(pack.rows([video])[0])))
                    for name, pack in self.packs.items()
                }
                for video in chosen
            }
        )


def summary(reports: Mapping[str, PrepareReport]) -> str:
    """What was done for each modality, and each clip that was left out with the reason, in lines."""
    lines = []
    for name, report in reports.items():
        told = {"keep": "frames that were there", "video": "recordings", ARRAYS: "arrays that were there"}
        how = told.get(report.method, report.method)
        how += f" (weights {report.weights})" if report.weights else ""
        counts = f"{report.made} made, {report.kept} kept, {len(report.skipped)} left out"
        lines.append(f"{name}: {how}: {counts}")
        lines += [f"  {clip}: {reason}" for clip, reason in report.skipped]
    return "\n".join(lines)


def _frames(pack: Pack) -> int | str:
    """T, or of arrays how many frames clips have."""
    return pack.T if isinstance(pack, FramePack) else pack.frames


def _some_frames(pack: Pack, row: int) -> np.ndarray:
    return pack.clip(row) if isinstance(pack, FramePack) else pack.taken(row, SHOWN)


def list_settings(config: Config) -> ListSettings:
    """Which lists a configuration asks for."""
    data, e, way = config.data, config.evaluation, config.episode.way
    held_out = [(way, shot, e.queries) for shot in e.shots]
    return ListSettings(
        dataset=data.dataset,
        folder=config.dataset_dir,
        source=config.source_dir,
        videos=data.videos,
        lists=data.lists,
        splits=data.splits,
        classes={str(name): classes for name, classes in data.classes.items()},
        split_seed=data.split_seed,
        shares={str(name): share for name, share in data.make_splits.items()},
        on_missing=data.on_missing,
        on_unlisted_class=data.on_unlisted_class,
        episodes={
            "train": [(way, config.episode.shot, config.episode.queries)],
            "val": held_out,
            "test": held_out,
        },
        clips=lambda: Catalogue(*clips_there(build_place(config), config.modality("rgb"))),
        recordings={way.source for record in modalities(data.own_modalities).values() for way in record.ways},
    )


def with_derived(config: Config, words: str) -> tuple[Config, tuple[str, ...]]:
    """The configuration with `data.derive` changed by words such as `flow=raft,depth`, and the modalities they
    name.

    Raises:
        ConfigError: everything that is wrong with the words, at once.
    """
    chosen, problems = parse_derive(words, modalities(config.data.own_modalities))
    if problems:
        raise ConfigError(problems)
    data = config.data.model_copy(update={"derive": {**config.data.derive, **chosen}})
    return config.model_copy(update={"data": data}), tuple(chosen)


@dataclass(frozen=True)
class _Plan:
    """What is to be made, and how.

    Attributes:
        wanted, lists: what lists were asked for, and what they are.
        videos: all clips of them, those of all folds.
        records: of the modalities.
        methods: how the frames of those that are pictures are come by.
        estimators: the networks that some of these ways take.
    """

    wanted: ListSettings
    lists: Lists
    videos: list[str]
    records: dict[str, Modality]
    methods: dict[str, str]
    estimators: dict[str, Estimator]

    def frames(self, config: Config, name: str, videos: Sequence[str], *, part: bool = False) -> PrepareReport:
        """Make the frames of one modality of these clips."""
        return prepare_modality(
            build_place(config),
            self.records[name],
            self.methods[name],
            videos=videos,
            workers=build_workers(config),
            on_bad_clip=config.data.on_bad_clip,
            estimator=self.estimators.get(name),
            part=part,
        )


def prepare_part(config: Config, also: Sequence[str], shard: Group) -> dict[str, PrepareReport]:
    """Make the frames of one part of the clips, while others make those of other parts; by modality.

    Each clip is whole or not there; what is missing in the end, `prepare` makes.

    Args:
        config: the configuration.
        also: see `prepare`.
        shard: which part of how many.

    Raises:
        CheckpointError, ConfigError, DataError: as `prepare`.
    """
    plan = main_first(_plan)(config, also)
    videos = [plan.videos[place] for place in shard.share(len(plan.videos))]
    return {name: plan.frames(config, name, videos, part=True) for name in plan.methods if videos}


@main_first
def prepare(config: Config, also: Sequence[str] = (), *, verify: bool = False) -> Prepared:
    """Make what is missing of the data set and open it.

    Args:
        config: the configuration.
        also: modalities to make beside those in use. They change neither the lists nor the digest: those are of
            what training sees.
        verify: read packs that are there through; one that was changed on disk is told, and built anew.

    Raises:
        CheckpointError: weights of a network that makes a modality are missing or damaged.
        ConfigError: no weights were given for it; or `data.videos` or `data.lists` beside what rules them out.
        DataError: the folder, the lists or clips are missing or broken.
    """
    data, plan = config.data, _plan(config, also)
    wanted, lists, splits, videos = plan.wanted, plan.lists, plan.lists.splits, plan.videos
    reports, dropped = {}, set()
    arrays: dict[str, ArrayPack] = {}
    for modality, record in plan.records.items():
        if modality in plan.methods:
            reports[modality] = plan.frames(config, modality, videos)
        else:
            arrays[modality], reports[modality] = _arrays(config, record, videos, verify)
        if modality in config.modalities:
            dropped |= {name for name, _ in reports[modality].skipped}
        if data.on_unlisted_class == "error":
            _refuse_unlisted(config, modality, reports[modality], videos)
    # A clip that is bad in one modality is left out of all, so that every model sees the same data.
    splits = _left(wanted, lists, dropped, reports)
    videos = [video for video in videos if video not in dropped]
    packs: dict[str, Pack] = {
        modality: arrays.get(modality)
        or build_pack(
            config.dataset_dir,
            record,
            T=data.frames,
            videos=_without(videos, reports[modality]),
            short_side=data.short_side,
            workers=build_workers(config),
            how=Making(data.pack, data.on_bad_clip == "skip", verify),
        )
        for modality, record in plan.records.items()
    }
    frames = {name: pack for name, pack in packs.items() if isinstance(pack, FramePack)}
    for modality, pack in frames.items():  # damaged frames of one's own are met only when they are read
        reports[modality] = reports[modality].without(pack.bad)
        if modality in config.modalities:
            dropped |= {name for name, _ in pack.bad}
    splits = _left(wanted, lists, dropped, reports)
    names = hashlib.sha256("\n".join(f"{s.name} {v}" for s in splits.values() for v in s.videos).encode())
    digest = digest_of(names.hexdigest(), {name: packs[name].digest for name in config.modalities})
    seen = digest_of(names.hexdigest(), {"rgb": packs["rgb"].digest})
    folds = digest_of(lists.division, {"rgb": packs["rgb"].digest}) if lists.division else ""
    source = str(data.videos or config.source_dir)
    prepared = Prepared(splits, packs, digest, seen, reports, lists, source, folds)
    _write_card(config, prepared.card())
    return prepared


def _plan(config: Config, also: Sequence[str]) -> _Plan:
    """What `prepare` has to make; lists are made, and zip files unpacked."""
    data = config.data
    _refuse_both(config)
    if data.folds is not None and data.fold is None:
        raise ConfigError(
            [
                f"data.folds: {data.fold_count} folds given, and not which of them this is of; "
                f"--fold 0 to {data.fold_count - 1} (data.fold), or --fold all where it is taken, would do"
            ]
        )
    if data.dataset == "toy" and data.source is None:
        make_toy(config.dataset_dir, ToySettings(**dict(data.toy)), workers=build_workers(config))
    if data.videos is None and not data.frames_zip and not config.source_dir.is_dir():
        raise DataError(
            f"{config.source_dir}: no such folder; put the data set there, or name its folder with "
            "--data-root DIR or --set data.source=DIR; `litemkd prepare --videos DIR` takes one as "
            "it was downloaded"
        )
    for modality in config.modalities:
        if config.modality(modality).kind == "frames":
            _unpack(config, modality)
    wanted = list_settings(config)
    lists = ready_lists(wanted) if data.fold is None else ready_folds(wanted, Folds(data.folds, data.fold))
    lists = divided(wanted, lists, data.division)
    # What is made of clips is made of those of all folds, which share it.
    videos = [*lists.everything] or [video for split in lists.splits.values() for video in split.videos]
    records = {name: config.modality(name) for name in dict.fromkeys((*config.modalities, *also))}
    pictures = {name: record for name, record in records.items() if record.kind == "frames"}
    methods = {
        name: choose_method(build_place(config), record, data.derive) for name, record in pictures.items()
    }
    estimators = _estimators(config, pictures, methods)
    return _Plan(wanted, lists, videos, records, methods, estimators)


def _arrays(
    config: Config, record: Modality, videos: Sequence[str], verify: bool
) -> tuple[ArrayPack, PrepareReport]:
    """The pack of a modality of arrays, and what there was to it.

    Raises:
        ConfigError: its expert looks at arrays of another shape.
        DataError: bad clips, all of them, where they are not to be left out.
    """
    found = find_arrays(build_place(config), record, videos)
    pack = build_array_pack(config.dataset_dir, record, found.files, config.data.frames, verify)
    if pack.bad and config.data.on_bad_clip == "error":
        raise ClipsError(pack.bad, len(videos))
    if record.name in config.teacher.modalities:
        refuse_other_arrays(config.teacher, record.name, config.data.frames, pack.shape)
    return pack, found.report(record, len(pack), pack.bad)


def _estimators(
    config: Config, records: Mapping[str, Modality], methods: Mapping[str, str]
) -> dict[str, Estimator]:
    """The networks that make modalities. Before hours of work on others, their weights are looked for."""
    estimators = {}
    for name, record in records.items():
        way = record.way(methods[name])
        if isinstance(way, Estimated):
            estimators[name] = way.build(config.data.weights.get(way.name), build_device(config))
    for estimator in estimators.values():
        estimator.identity()
    return estimators


def _left(
    wanted: ListSettings, lists: Lists, dropped: Collection[str], reports: Mapping[str, PrepareReport]
) -> dict[str, Split]:
    """The splits without clips that are bad in some modality.

    Raises:
        DataError: what is left is too little for the episodes, or nothing of a class.
    """
    splits = {name: split.without(dropped) for name, split in lists.splits.items()}
    if not dropped:
        return splits
    try:
        for name, split in splits.items():
            if gone := sorted(set(lists.splits[name].classes) - set(split.classes)):
                raise DataError(f"split {name} has no clip left of {len(gone)} classes: {some(gone)}")
            check_episodes(wanted, split, lists)
    except DataError as error:
        reasons = {clip: why for report in reports.values() for clip, why in report.skipped if clip in dropped}
        lines = "".join(f"\n  {clip}: {why}" for clip, why in list(reasons.items())[:20])
        raise DataError(
            f"{error}; {len(dropped)} bad clips were left out (data.on_bad_clip=skip):{lines}\n"
            "mend them, or take their classes out of the lists"
        ) from None
    return splits


def _without(videos: list[str], report: PrepareReport) -> list[str]:
    bad = {name for name, _ in report.skipped}
    return [video for video in videos if video not in bad]


def _refuse_both(config: Config) -> None:
    data = config.data
    if data.videos is not None and data.source is not None:
        raise ConfigError(
            [
                f"data.videos: {str(data.videos)!r} given beside data.source; one of them would do. With "
                f"data.videos, recordings of other modalities belong in {config.dataset_dir}"
            ]
        )
    if data.dataset == "toy" and not (data.videos is None and data.lists is None):
        raise ConfigError(
            [
                "data.videos, data.lists: given, but the toy data set makes its own; name yours with "
                "--dataset NAME"
            ]
        )


def _unpack(config: Config, modality: str) -> None:
    """Unpack the zip file of a modality's frames, if there is one."""
    data = config.data
    archive = data.frames_zip.get(modality) or find_zip(
        [config.dataset_dir, config.source_dir], modality, data.frames
    )
    if archive is not None:
        unpack_frames(archive, config.dataset_dir, modality, data.frames)


def _write_card(config: Config, card: dict[str, Any]) -> None:
    """Write the card into the data set's folder, unless it says just that already."""
    title = f"{config.data.dataset}: what is prepared"
    texts = {"data_card.json": json.dumps(card, indent=1) + "\n", "data_card.md": card_markdown(card, title)}
    for name, text in texts.items():
        path = config.made_dir / name
        if not path.is_file() or path.read_text(encoding="utf-8", errors="replace") != text:
            write_text(path, text)


def _refuse_unlisted(config: Config, modality: str, report: PrepareReport, videos: Sequence[str]) -> None:
    listed = {class_of(video) for video in videos}
    strange = sorted({class_of(video) for video in report.unlisted} - listed)
    if strange:
        raise DataError(
            f"{config.source_dir}: {modality} has class folders that stand in no list of "
            f"{split_folder(list_settings(config))}: {some(strange)}; add their clips to a list, correct the "
            "folders' names, or leave them out with --set data.on_unlisted_class=skip"
        )
