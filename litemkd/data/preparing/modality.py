"""Preparing: from recordings to T frames a clip of every modality, on disk.

A clip is written whole or not at all, so a second call does only what is missing. What the frames were made
with is noted beside them in `prepare.json`; frames without that note are the user's own and are never touched.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from litemkd.data.finding.folders import Listing, list_files, list_folders
from litemkd.data.frames import (
    BLANK,
    frame_entries,
    frame_files,
    frame_folder,
    frame_folder_path,
    sampled_entries,
)
from litemkd.data.importing import list_sources
from litemkd.data.preparing.estimating import Estimator, estimate_clips
from litemkd.data.preparing.making import Job, make_clips
from litemkd.errors import DataError
from litemkd.files import locked, write_text
from litemkd.modalities.methods import METHODS, NETWORKS, methods_of
from litemkd.modalities.skeleton import Bones
from litemkd.recordings.endings import VIDEO_SUFFIXES

NOTE = "prepare.json"


@dataclass(frozen=True)
class PrepareReport:
    """What preparing one modality did.

    Attributes:
        modality: rgb, flow, depth or skeleton.
        method: keep, video, or a key of `METHODS`.
        made: clips written now.
        kept: clips that were there already.
        skipped: (name, reason) of the clips that were asked for and are not there now.
        unlisted: clips at the source that were not asked for.
        seconds: time it took.
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
    seconds: float
    weights: str | None = None
    blank: tuple[str, ...] = ()
    sampled: tuple[str, ...] = ()
    passed_over: tuple[str, ...] = ()

    def without(self, bad: Sequence[tuple[str, str]]) -> PrepareReport:
        """The same, with clips skipped that turned out to be bad later; (name, reason) of each."""
        made = max(self.made - len(bad), 0)
        kept = self.kept - (len(bad) - (self.made - made))
        return replace(self, made=made, kept=kept, skipped=tuple(sorted({*self.skipped, *bad})))


def choose_method(
    dataset_dir: Path, source_dir: Path, modality: str, derive: Mapping[str, str], T: int = 8
) -> str:
    """How to come by the frames of a modality: by what is there, the most particular first.

    `keep` for frames that the user put there (or whose source is gone), `video` for recordings of the modality,
    else the entry of `derive` for it, a key of `METHODS`.

    Raises:
        DataError: nothing of that is there (all the ways are listed), or a derivation that does not apply.
    """
    folder = frame_folder(dataset_dir, modality, T)
    own = folder is not None and bool(list_folders(folder).paths)
    if own and folder is not None and not (folder / NOTE).is_file():
        return "keep"
    if _video_folder(source_dir, modality) is not None:
        return "video"
    method = derive.get(modality)
    if method is not None:
        if method not in methods_of(modality):
            would = " or ".join(methods_of(modality)) or "nothing: it needs videos or frames of its own"
            raise DataError(f"{modality} cannot be derived by {method!r}; what would do: {would}")
        has_videos = not METHODS[method].needs_videos or _video_folder(source_dir, "rgb") is not None
        if has_videos and _source_folder(source_dir, modality, method).is_dir():
            return method
    if own:
        return "keep"
    ways = [
        f"frames in {frame_folder_path(dataset_dir, modality, T)}/<class>/<video>/*.jpg, {T} or more a clip",
        f"recordings in {Path(source_dir) / _video_names(modality)[0]}/<class>/<video>.mp4",
    ]
    for name in methods_of(modality):
        needs = f" and data.weights.{name}" if name in NETWORKS else ""
        videos = f" and {Path(source_dir) / 'videos'}" if METHODS[name].needs_videos else ""
        ways.append(
            f"{Path(source_dir) / METHODS[name].source}{videos}, with data.derive.{modality}={name}{needs}"
        )
    raise DataError(f"there is no {modality} for {dataset_dir}; any of these would do:\n  " + "\n  ".join(ways))


def prepare_modality(
    dataset_dir: Path,
    source_dir: Path,
    modality: str,
    *,
    T: int,
    short_side: int,
    method: str,
    videos: Sequence[str] | None = None,
    workers: int | None = None,
    on_bad_clip: Literal["error", "skip"] = "error",
    progress: bool = True,
    remake: bool = False,
    layout: str | Bones | None = None,
    estimator: Estimator | None = None,
) -> PrepareReport:
    """Write `<dataset_dir>/<modality>_l<T>/<class>/<video>/*.jpg` for the clips that lack it.

    Args:
        dataset_dir: where the frames go.
        source_dir: holds `videos/`, `<modality>_videos/`, the folders of `METHODS`; only read. May be
            `dataset_dir`.
        modality: rgb, flow, depth or skeleton.
        T: frames a clip.
        short_side: of the frames, in pixels. Skeleton pictures of joints are squares of that side.
        method: keep, video or a key of `METHODS`; see `choose_method`.
        videos: "class/video" names that are wanted; None is all at the source.
        workers: processes, or threads that decode for a network; None is one for each CPU, 1 works in this
            process.
        on_bad_clip: what to do, when all others are made, with clips that cannot be: an error that lists them,
            or leave them out and say so in the report.
        progress: a progress bar, if standard error is a terminal.
        remake: throw away frames made with other settings and make them anew.
        layout: of the joints, a name known to `bones_for` or a list of bones; None goes by their number.
        estimator: the network, for a method of `NETWORKS`.

    Raises:
        CheckpointError: the network's weights are missing or damaged.
        DataError: bad clips; frames made with other settings; nothing to prepare; a folder not writable.
    """
    start = time.monotonic()
    if (method in NETWORKS) != (estimator is not None):
        raise ValueError(f"method {method} with estimator {estimator}: a network is for its own method alone")
    weights = None if estimator is None else estimator.identity()
    blank: tuple[str, ...] = ()
    sampled: list[str] = []
    if method == "keep":
        found = _kept(dataset_dir, modality, T)
        names, sampled, bad = _look_through(dataset_dir, modality, T, found, videos)
        made, kept = 0, len(names) - len(bad)
    else:
        source = _source_folder(source_dir, modality, method)
        found = list_sources(source, method)
        there = found.all()
        names = list(there) if videos is None else list(dict.fromkeys(videos))
        if not names:
            raise DataError(f"nothing to prepare: {source} holds no recordings in class folders")
        folder = frame_folder_path(dataset_dir, modality, T)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"cannot make the folder {folder}: {error.strerror}") from error
        with locked(folder / ".lock"):
            settings = {
                "method": method,
                "T": T,
                "short_side": short_side,
                "encoding": _encoding(source, method),
            }
            if weights is not None:
                settings["weights"] = weights
            _check_settings(folder, settings, remake)
            for half in folder.glob("*/.*"):  # what a killed call left
                shutil.rmtree(half, ignore_errors=True)
            targets = list_folders(folder)
            todo = [name for name in names if not _whole(targets.path(name), T)]
            kept = len(names) - len(todo)
            bad = [(n, _absent(source, n, there)) for n in todo if n not in there]
            raw = _raw_videos(source_dir, method)
            jobs = [
                Job(n, method, there[n], raw.get(n), targets.path(n), T, short_side, layout)
                for n in todo
                if n in there
            ]
            at_once, label = workers or os.cpu_count() or 1, f"preparing {modality}"
            if estimator is None:
                failed = make_clips(jobs, at_once, label, progress)
            else:
                failed = estimate_clips(jobs, estimator, at_once, label, progress)
            made, bad = len(jobs) - len(failed), sorted(bad + failed)
            blank = tuple(name for name in names if (targets.path(name) / BLANK).exists())
    if bad and (on_bad_clip == "error" or not made + kept):
        lines = "".join(f"\n  {name}: {reason}" for name, reason in bad)
        raise DataError(
            f"{len(bad)} of {len(bad) + made + kept} clips have no {modality}:{lines}\n"
            "mend them, take them out of the split lists, or leave them out with data.on_bad_clip=skip"
        )
    seconds = time.monotonic() - start
    return PrepareReport(
        modality,
        method,
        made,
        kept,
        tuple(bad),
        tuple(sorted(set(found.paths) - set(names))),
        seconds,
        weights,
        blank,
        tuple(sampled),
        tuple(f"{found.root.name}/{one}" for one in found.passed_over),
    )


def clips_there(dataset_dir: Path, source_dir: Path, modality: str, T: int) -> tuple[Path, list[Path]]:
    """The folder that `choose_method` would take, and the clips in it: recordings, or folders of frames.

    Raises:
        DataError: neither is there.
    """
    if choose_method(dataset_dir, source_dir, modality, {}, T) == "video":
        found = list_files(_source_folder(source_dir, modality, "video"), VIDEO_SUFFIXES)
        found.all()  # says what of it has one name
    else:
        found = _kept(dataset_dir, modality, T)
    return found.root, [path for paths in found.paths.values() for path in paths]


def _kept(dataset_dir: Path, modality: str, T: int) -> Listing:
    """The clips in the folder of frames."""
    folder = frame_folder(dataset_dir, modality, T)
    if folder is None:
        raise DataError(
            f"no {modality} frames to keep: no folder {frame_folder_path(dataset_dir, modality, T)}"
        )
    return list_folders(folder)


def _look_through(
    dataset_dir: Path, modality: str, T: int, found: Listing, videos: Sequence[str] | None
) -> tuple[list[str], list[str], list[tuple[str, str]]]:
    """Look through frames that are there: all clips, those of more than T frames, bad ones with the reasons."""
    names = sorted(found.paths) if videos is None else list(dict.fromkeys(videos))
    beside = frame_folder(dataset_dir, "rgb", T)
    rgb = None if modality == "rgb" or beside is None else list_folders(beside)
    sampled, bad = [], []
    for name in names:
        try:
            clip = found.path(name)
            sampled_entries(clip, T, None if rgb is None else rgb.path(name))
            if len(frame_entries(clip)) > T:
                sampled.append(name)
        except DataError as error:
            bad.append((name, str(error)))
    return names, sampled, bad


def _check_settings(folder: Path, settings: dict[str, Any], remake: bool) -> None:
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
        if differ == ["encoding"] and not remake:  # says what the pixels mean, does not change them
            write_text(note, json.dumps(settings, indent=1) + "\n")
            return
        if differ and not remake:
            words = "; ".join(f"{k}: {before[k]} then, {settings.get(k)} now" for k in differ)
            raise DataError(
                f"{folder} was made with other settings ({words}); delete it to make the frames anew, go back "
                "to those settings, or use another dataset folder"
            )
        if not differ and not remake:
            return
        for path in folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
    elif list_folders(folder).paths:
        raise DataError(
            f"{folder} holds frames that were not made here (no {NOTE}); they are left alone: move them"
        )
    write_text(note, json.dumps(settings, indent=1) + "\n")


def _encoding(source: Path, method: str) -> str:
    """What the pixels mean: as the method makes them, or as recordings' own `encoding.json` says."""
    if method in METHODS:
        return METHODS[method].encoding
    try:
        return str(json.loads((source / "encoding.json").read_text(encoding="utf-8"))["encoding"])
    except (OSError, ValueError, KeyError, TypeError):
        return "rgb"


def _video_names(modality: str) -> tuple[str, ...]:
    return ("videos", "rgb_videos") if modality == "rgb" else (f"{modality}_videos",)


def _video_folder(source_dir: Path, modality: str) -> Path | None:
    folders = [Path(source_dir) / name for name in _video_names(modality)]
    return next((folder for folder in folders if folder.is_dir()), None)


def _source_folder(source_dir: Path, modality: str, method: str) -> Path:
    if method == "video":
        return _video_folder(source_dir, modality) or Path(source_dir) / _video_names(modality)[0]
    if method not in methods_of(modality):
        would = ", ".join(["keep", "video", *methods_of(modality)])
        raise DataError(f"{modality} cannot be prepared by {method!r}; what would do: {would}")
    needs = METHODS[method].source
    if needs == "videos":
        return _video_folder(source_dir, "rgb") or Path(source_dir) / needs
    return Path(source_dir) / needs


def _raw_videos(source_dir: Path, method: str) -> dict[str, Path]:
    """The RGB videos of the clips, for methods that are made from something else and go by their times."""
    folder = _video_folder(source_dir, "rgb")
    if method not in METHODS or METHODS[method].source == "videos" or folder is None:
        return {}
    return list_files(folder, VIDEO_SUFFIXES).all()


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
