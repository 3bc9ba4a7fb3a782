"""Finding arrays by frame at a data source: each clip's file, and the video that it goes with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from litemkd.data.finding.folders import list_files
from litemkd.data.preparing.modality import Place, PrepareReport
from litemkd.errors import DataError
from litemkd.modalities.record import Modality
from litemkd.recordings.endings import VIDEO_SUFFIXES

METHOD = "arrays"  # of a report


@dataclass(frozen=True)
class FoundArrays:
    """What is at the source of a modality of arrays.

    Attributes:
        files: "class/video" -> its .npy file (where it would be, for one that is not there) and its video.
        unlisted: clips that were not asked for.
        passed_over: what is no clip, by its path.
    """

    files: dict[str, tuple[Path, Path | None]]
    unlisted: tuple[str, ...]
    passed_over: tuple[str, ...]

    def report(self, modality: Modality, packed: int, bad: Sequence[tuple[str, str]]) -> PrepareReport:
        """What preparing it did: clips in its pack, and (name, reason) of those that are not."""
        return PrepareReport(
            modality.name,
            METHOD,
            made=0,
            kept=packed,
            skipped=tuple(bad),
            unlisted=self.unlisted,
            passed_over=self.passed_over,
        )


def find_arrays(place: Place, modality: Modality, videos: Sequence[str]) -> FoundArrays:
    """The files of these clips.

    Raises:
        DataError: no folder of arrays; two files of one name.
    """
    folder, beside = Path(place.source_dir) / (modality.source or modality.name), place.videos()
    if modality.source == "videos" and beside is not None:
        folder = beside
    if not folder.is_dir():
        what = "recordings" if modality.source == "videos" else "arrays (frames, ...),"
        raise DataError(
            f"there is no {modality.name}: no folder {folder}; {folder}/<class>/<clip>{modality.suffixes[0]}, "
            f"{what} would do"
        )
    found = list_files(folder, modality.suffixes)
    there = found.all()
    raw = {} if beside is None else list_files(beside, VIDEO_SUFFIXES).all()
    return FoundArrays(
        {name: (there.get(name, folder / f"{name}{modality.suffixes[0]}"), raw.get(name)) for name in videos},
        tuple(sorted(set(there) - set(videos))),
        tuple(f"{folder.name}/{one}" for one in found.passed_over),
    )
