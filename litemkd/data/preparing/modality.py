"""Preparing: from recordings to T frames a clip of every modality, on disk.

A clip is written whole or not at all, so a second call does only what is missing. What the frames were made
with is noted beside them in `prepare.json`; frames without that note are the user's own and are never touched.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from litemkd.data.finding.folders import Listing, list_files, list_folders, rgb_beside
from litemkd.data.frames import (
    BLANK,
    frame_entries,
    frame_files,
    frame_folder,
    frame_folder_path,
    sampled_entries,
)
from litemkd.data.preparing.estimating import estimate_clips
from litemkd.data.preparing.making import Job, make_clips
from litemkd.errors import DataError
from litemkd.modalities.record import PLAIN, RECORDED, Estimated, Estimator, Modality, Way
from litemkd.modalities.registry import modality as record_of
from litemkd.recordings.endings import VIDEO_SUFFIXES
from litemkd.storage.files import locked, write_text

NOTE = "prepare.json"


@dataclass(frozen=True)
class Place:
    """Where the clips of a data set come from and go to, and which frames are taken of them.

    Attributes:
        dataset_dir: holds `<modality>_l<T>/`, where frames go.
        source_dir: holds `videos/`, `<modality>_videos/`, the folders of modalities' ways; only read. May be
            `dataset_dir`.
        T: frames a clip.
        short_side: of the frames, in pixels.
    """

    dataset_dir: Path
    source_dir: Path
    T: int = 8
    short_side: int = 256

    def folder(self, modality: Modality) -> Path | None:
        """Where the frames of a modality are, None where there are none."""
        return frame_folder(self.dataset_dir, modality.name, self.T)

    def target(self, modality: Modality) -> Path:
        """Where the frames of a modality are written."""
        return frame_folder_path(self.dataset_dir, modality.name, self.T)

    def recordings(self, modality: Modality) -> Path | None:
        """Where recordings of a modality are, None where there are none."""
        folders = [Path(self.source_dir) / name for name in modality.recordings]
        return next((folder for folder in folders if folder.is_dir()), None)

    def videos(self) -> Path | None:
        """Where the RGB videos are, None where there are none."""
        return self.recordings(record_of("rgb"))

    def source(self, modality: Modality, way: Way) -> Path:
        """The folder that a way reads, whether or not it is there."""
        if way is RECORDED:
            return self.recordings(modality) or Path(self.source_dir) / modality.recordings[0]
        there = self.videos() if way.source == "videos" else None
        return there or Path(self.source_dir) / way.source


@dataclass(frozen=True)
class PrepareReport:
    """What preparing one modality did.

    Attributes:
        modality: its name.
        method: keep, video, or the name of a way.
        made: clips written now.
        kept: clips that were there already.
        skipped: (name, reason) of the clips that were asked for and are not there now.
        unlisted: clips at the source that were not asked for.
        weights: what the network's were, if one made it.
        blank: clips that are there and black in all frames, as a skeleton is where nobody was found.
        sampled: clips of the user's that have more frames than are taken.
        passed_over: files and folders at the source that are no clips, by their paths.
    """

    modality: str
    method: str
    made: int
    kept: int
    skipped: tuple[tuple[str, str], ...]
    unlisted: tuple[str, ...]
    weights: str | None = None
    blank: tuple[str, ...] = ()
    sampled: tuple[str, ...] = ()
    passed_over: tuple[str, ...] = ()

    def without(self, bad: Sequence[tuple[str, str]]) -> PrepareReport:
        """The same, with clips skipped that turned out to be bad later; (name, reason) of each."""
        made = max(self.made - len(bad), 0)
        kept = self.kept - (len(bad) - (self.made - made))
        return replace(self, made=made, kept=kept, skipped=tuple(sorted({*self.skipped, *bad})))


def choose_method(place: Place, modality: Modality, derive: Mapping[str, str]) -> str:
    """How to come by the frames of a modality: by what is there, the most particular first.

    `keep` for frames that the user put there (or whose source is gone), `video` for recordings of the modality,
    else the way that `derive` names for it, or that its record takes unasked.

    Raises:
        DataError: nothing of that is there (all the ways are listed), or a derivation that does not apply.
    """
    folder = place.folder(modality)
    own = folder is not None and bool(list_folders(folder).paths)
    if own and folder is not None and not (folder / NOTE).is_file():
        return "keep"
    if place.recordings(modality) is not None:
        return RECORDED.name
    method = derive.get(modality.name, modality.unasked)
    if method is not None:
        way = modality.way(method)
        if way is None:
            would = " or ".join(one.name for one in modality.ways)
            would = would or "nothing: it needs videos or frames of its own"
            raise DataError(f"{modality.name} cannot be derived by {method!r}; what would do: {would}")
        has_videos = not way.needs_videos or place.videos() is not None
        if has_videos and place.source(modality, way).is_dir():
            return method
    if own:
        return "keep"
    ways = [
        f"frames in {place.target(modality)}/<class>/<video>/*.jpg, {place.T} or more a clip",
        f"recordings in {place.source(modality, RECORDED)}/<class>/<video>.mp4",
    ]
    for way in modality.ways:
        asked = f", with data.derive.{modality.name}={way.name}" if way.name != modality.unasked else ""
        weights = f" and data.weights.{way.name}" if isinstance(way, Estimated) else ""
        videos = f" and {Path(place.source_dir) / 'videos'}" if way.needs_videos else ""
        ways.append(f"{Path(place.source_dir) / way.source}{videos}{asked}{weights}")
    raise DataError(
        f"there is no {modality.name} for {place.dataset_dir}; any of these would do:\n  " + "\n  ".join(ways)
    )


def prepare_modality(
    place: Place,
    modality: Modality,
    method: str,
    *,
    videos: Sequence[str] | None = None,
    workers: int | None = None,
    on_bad_clip: Literal["error", "skip"] = "error",
    estimator: Estimator | None = None,
    part: bool = False,
) -> PrepareReport:
    """Write `<dataset_dir>/<modality>_l<T>/<class>/<video>/*.jpg` for the clips that lack it.

    Args:
        place: where clips come from and go to. Skeleton pictures of joints are squares of its short side.
        modality: what to make.
        method: keep, video or the name of a way; see `choose_method`.
        videos: "class/video" names that are wanted; None is all at the source.
        workers: processes, or threads that decode for a network; None is one for each CPU, 1 works in this
            process.
        on_bad_clip: what to do, when all others are made, with clips that cannot be: an error that lists them,
            or leave them out and say so in the report.
        estimator: the network, for a way that needs one.
        part: others make other clips of it now, so nothing of theirs is waited for or taken away.

    Raises:
        CheckpointError: the network's weights are missing or damaged.
        DataError: bad clips; frames made with other settings; nothing to prepare; a folder not writable.
    """
    weights = None if estimator is None else estimator.identity()
    blank: tuple[str, ...] = ()
    sampled: list[str] = []
    if method == "keep":
        found = _kept(place, modality)
        names, sampled, bad = _look_through(place, modality, found, videos)
        made, kept = 0, len(names) - len(bad)
    else:
        way = _way(modality, method)
        if isinstance(way, Estimated) != (estimator is not None):
            raise ValueError(f"method {method} with estimator {estimator}: a network is for its own way alone")
        source = place.source(modality, way)
        found = list_files(source, way.suffixes, or_folders=way.folders)
        there = found.all()
        names = list(there) if videos is None else list(dict.fromkeys(videos))
        if not names:
            raise DataError(f"nothing to prepare: {source} holds no recordings in class folders")
        folder = place.target(modality)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"cannot make the folder {folder}: {error.strerror}") from error
        with locked(folder / ".lock", shared=part):
            settings = {"method": method, "T": place.T, "short_side": place.short_side}
            settings["encoding"] = _recorded_encoding(source) if way is RECORDED else modality.encoding
            if weights is not None:
                settings["weights"] = weights
            with locked(folder / ".note.lock"):
                _check_settings(folder, settings)
            for half in () if part else folder.glob("*/.*"):  # what a killed call left
                shutil.rmtree(half, ignore_errors=True)
            targets = list_folders(folder)
            todo = [name for name in names if not _whole(targets.path(name), place.T)]
            kept = len(names) - len(todo)
            bad = [(n, _absent(source, n, there)) for n in todo if n not in there]
            beside = place.videos() if way.source != "videos" else None
            raw = list_files(beside, VIDEO_SUFFIXES).all() if beside is not None else {}
            jobs = [
                Job(n, way, there[n], raw.get(n), targets.path(n), place.T, place.short_side)
                for n in todo
                if n in there
            ]
            at_once, label = workers or os.cpu_count() or 1, f"preparing {modality.name}"
            if estimator is None:
                failed = make_clips(jobs, at_once, label)
            else:
                failed = estimate_clips(jobs, estimator, at_once, label)
            made, bad = len(jobs) - len(failed), sorted(bad + failed)
            blank = tuple(name for name in names if (targets.path(name) / BLANK).exists())
    if bad and (on_bad_clip == "error" or not made + kept):
        lines = "".join(f"\n  {name}: {reason}" for name, reason in bad)
        raise DataError(
            f"{len(bad)} of {len(bad) + made + kept} clips have no {modality.name}:{lines}\n"
            "mend them, take them out of the split lists, or leave them out with data.on_bad_clip=skip"
        )
    return PrepareReport(
        modality.name,
        method,
        made,
        kept,
        tuple(bad),
        tuple(sorted(set(found.paths) - set(names))),
        weights,
        blank,
        tuple(sampled),
        tuple(f"{found.root.name}/{one}" for one in found.passed_over),
    )


def clips_there(place: Place, modality: Modality) -> tuple[Path, list[Path]]:
    """The folder that `choose_method` would take, and the clips in it: recordings, or folders of frames.

    Raises:
        DataError: neither is there.
    """
    if choose_method(place, modality, {}) == RECORDED.name:
        found = list_files(place.source(modality, RECORDED), VIDEO_SUFFIXES)
        found.all()  # says what of it has one name
    else:
        found = _kept(place, modality)
    return found.root, [path for paths in found.paths.values() for path in paths]


def _kept(place: Place, modality: Modality) -> Listing:
    """The clips in the folder of frames."""
    folder = place.folder(modality)
    if folder is None:
        raise DataError(f"no {modality.name} frames to keep: no folder {place.target(modality)}")
    return list_folders(folder)


def _look_through(
    place: Place, modality: Modality, found: Listing, videos: Sequence[str] | None
) -> tuple[list[str], list[str], list[tuple[str, str]]]:
    """Look through frames that are there: all clips, those of more than T frames, bad ones with the reasons."""
    names = sorted(found.paths) if videos is None else list(dict.fromkeys(videos))
    rgb = rgb_beside(place.dataset_dir, modality.name, place.T)
    sampled, bad = [], []
    for name in names:
        try:
            clip = found.path(name)
            sampled_entries(clip, place.T, None if rgb is None else rgb.path(name))
            if len(frame_entries(clip)) > place.T:
                sampled.append(name)
        except DataError as error:
            bad.append((name, str(error)))
    return names, sampled, bad


def _check_settings(folder: Path, settings: dict[str, Any]) -> None:
    """Note the settings beside the frames; refuse to mix frames made with different ones."""
    note = folder / NOTE
    if note.is_file():
        try:
            before = {"weights": None, **json.loads(note.read_text(encoding="utf-8"))}
            differ = [k for k, v in {"weights": None, **settings}.items() if before[k] != v]
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{note} is damaged ({error!r}); delete {folder} to make the frames anew"
            ) from error
        if differ == ["encoding"]:  # says what the pixels mean, does not change them
            write_text(note, json.dumps(settings, indent=1) + "\n")
            return
        if differ:
            words = "; ".join(f"{k}: {before[k]} then, {settings.get(k)} now" for k in differ)
            raise DataError(
                f"{folder} was made with other settings ({words}); delete it to make the frames anew, go back "
                "to those settings, or use another dataset folder"
            )
        return
    if list_folders(folder).paths:
        raise DataError(
            f"{folder} holds frames that were not made here (no {NOTE}); they are left alone: move them"
        )
    write_text(note, json.dumps(settings, indent=1) + "\n")


def _way(modality: Modality, method: str) -> Way:
    way = RECORDED if method == RECORDED.name else modality.way(method)
    if way is None:
        would = ", ".join(["keep", RECORDED.name, *(one.name for one in modality.ways)])
        raise DataError(f"{modality.name} cannot be prepared by {method!r}; what would do: {would}")
    return way


def _recorded_encoding(source: Path) -> str:
    """What the pixels of recordings mean, as an `encoding.json` beside them says."""
    try:
        return str(json.loads((source / "encoding.json").read_text(encoding="utf-8"))["encoding"])
    except (OSError, ValueError, KeyError, TypeError):
        return PLAIN


def _absent(source: Path, name: str, found: Mapping[str, Path]) -> str:
    """What to say of a listed clip that is not at the source."""
    near = next((other for other in found if other.casefold() == name.casefold()), None)
    return f"there is no {source / name}.*" + (f"; {near} is there, in other letters" if near else "")


def _whole(clip_folder: Path, T: int) -> bool:
    try:
        frame_files(clip_folder, T)
    except DataError:
        return False
    return True
