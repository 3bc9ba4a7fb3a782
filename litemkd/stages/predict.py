"""predict: a student names clips in folders, from a few examples of each class in other folders."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from litemkd.config import Config
from litemkd.data.finding.loose import (
    Found,
    LooseClip,
    find_classes,
    find_queries,
    read_all,
    read_centre,
    refuse_unreadable,
)
from litemkd.errors import CheckpointError, DataError, some
from litemkd.evaluation.calibration import UNCALIBRATED
from litemkd.evaluation.embedding import CLIPS_AT_ONCE
from litemkd.evaluation.recognition import Recognition, shot_of
from litemkd.evaluation.unknown import NONE
from litemkd.export.runner import are_known, clips_are_data, open_recogniser
from litemkd.runtime.progress import Bar
from litemkd.stages.build import build_device, build_workers
from litemkd.stages.loading import TORCH, champion_of, exported_folder, load_recogniser
from litemkd.storage.files import write_text
from litemkd.tracking.tracing import span


@dataclass(frozen=True)
class Predictions:
    """What a student says of the queries.

    Attributes:
        source: the student.
        classes: W names, in the order of the columns.
        supports: of each class.
        queries: Q clips.
        probabilities: (Q, W).
        notes: what the user should know of the folders.
        known: (Q,) whether a query is of one of the classes; None where that was not asked or cannot be told.
    """

    source: str
    classes: tuple[str, ...]
    supports: tuple[int, ...]
    queries: tuple[LooseClip, ...]
    probabilities: np.ndarray = field(repr=False)
    notes: tuple[str, ...] = ()
    known: np.ndarray | None = field(default=None, repr=False)

    @property
    def predicted(self) -> list[str]:
        """The class of the highest probability for each query, or that it is none of these."""
        names = [self.classes[place] for place in self.probabilities.argmax(1)]
        known = [True] * len(names) if self.known is None else self.known.tolist()
        return [name if one else NONE for name, one in zip(names, known, strict=True)]

    @property
    def agreement(self) -> tuple[int, int] | None:
        """How many queries are named as the class folder they lie in, of how many in folders of such classes.

        None where no query lies in one.
        """
        claimed = [
            (clip.claimed, name)
            for clip, name in zip(self.queries, self.predicted, strict=True)
            if clip.claimed in self.classes
        ]
        return (sum(one == name for one, name in claimed), len(claimed)) if claimed else None


def predict_stage(
    config: Config,
    support: Path,
    query: Path,
    *,
    model: str | None = None,
    runtime: str = TORCH,
    force_choice: bool = False,
) -> Predictions:
    """Name the clips in `query`. Nothing is logged but, where it is wanted, a trace.

    Args:
        config: the device, workers that read clips, and the data set whose champion is taken without `model`.
        support: folder of class folders.
        query: folder of clips or of class folders, or one clip; see `litemkd.data.finding.loose`.
        runtime: what computes: `torch`, or what `model`, a folder that `litemkd export` has written, is for.
        model: see `litemkd.stages.loading.load_calibrated`.
        force_choice: name a class whatever a query shows.

    Raises:
        CheckpointError: no such folder, or a model that is not a student.
        DataError: folders that do not hold what they should, or clips that cannot be read, all of them named.
        TrackingError: no such registered model.
    """
    examples, asked = find_classes(support), find_queries(query)
    supports, queries = examples.clips, asked.clips
    classes = tuple(dict.fromkeys(str(clip.claimed) for clip in supports))
    if len(classes) < 2:
        raise DataError(
            f"{support} has one class folder, {classes[0]}; two or more would do, to choose between"
        )
    labels = np.array([classes.index(str(clip.claimed)) for clip in supports], np.int64)
    source = str(exported_folder(config, model, runtime)) if runtime != TORCH else model or champion_of(config)
    counts = Counter(clip.claimed for clip in supports)
    about = {"model": source, "supports": {str(one): count for one, count in counts.items()}}
    with span("predict", about | {"queries": [clip.name for clip in queries]}) as tell:
        if runtime == TORCH:
            found, told = _by_torch(config, source, supports, labels, queries)
        else:
            found, told = _by_runner(config, Path(source), runtime, supports, labels, queries)
        tell(
            {
                clip.name: {one: round(float(share), 4) for one, share in zip(classes, row, strict=True)}
                for clip, row in zip(queries, found.probabilities, strict=True)
            }
        )
    return Predictions(
        source,
        classes,
        tuple(counts[one] for one in classes),
        queries,
        found.probabilities,
        (
            *_notes(supports, queries, classes),
            *_passed_over({support: examples, query: asked}),
            *([] if told is None else [told]),
        ),
        None if force_choice else found.known,
    )


def _by_torch(
    config: Config, source: str, supports: Sequence[LooseClip], labels: np.ndarray, queries: Sequence[LooseClip]
) -> tuple[Recognition, str | None]:
    """What queries are by a student, and what to say of them."""
    recogniser = load_recogniser(source, build_device(config))

    def read(path: Path) -> np.ndarray:
        return read_centre(path, recogniser.frames, recogniser.short_side, recogniser.crop)

    clips = [*supports, *queries]
    with span("read and encode", {"clips": len(clips)}):
        features = torch.cat(_of_all(clips, read, recogniser.features, build_workers(config)))
    with span("match", {"classes": int(labels.max()) + 1, "queries": len(queries)}):
        found = recogniser.recognise(features[: len(supports)], labels, features[len(supports) :])
    return found, recogniser.note(labels)


def _by_runner(
    config: Config,
    folder: Path,
    runtime: str,
    supports: Sequence[LooseClip],
    labels: np.ndarray,
    queries: Sequence[LooseClip],
) -> tuple[Recognition, str | None]:
    """What queries are by an exported student, and what to say of them."""
    recogniser = open_recogniser(folder)
    if recogniser.about["runtime"] != runtime:
        raise CheckpointError(
            f"--runtime {runtime}: given for {folder}, which is for {recogniser.about['runtime']}"
        )

    def read(path: Path) -> np.ndarray:
        with clips_are_data():
            return recogniser.crops(path)

    parts = _of_all([*supports, *queries], read, recogniser.encode, build_workers(config))
    codes = tuple(np.concatenate(one) for one in zip(*parts, strict=True))
    places = [np.flatnonzero(labels == c) for c in range(int(labels.max()) + 1)]
    with clips_are_data():
        recogniser.learn_codes({str(c): tuple(x[rows] for x in codes) for c, rows in enumerate(places)})
        asked = tuple(x[len(labels) :] for x in codes)
        found = Recognition(recogniser.probabilities_of(asked), are_known(recogniser, asked, shot_of(labels)))
    return found, None if recogniser.about["calibration"] else UNCALIBRATED


Made = TypeVar("Made")


def _of_all(
    clips: Sequence[LooseClip],
    read: Callable[[Path], np.ndarray],
    make: Callable[[np.ndarray], Made],
    workers: int,
) -> list[Made]:
    """What is made of clips, read a few at a time; once one is unreadable, the others are only looked at."""
    parts: list[Made] = []
    problems: list[str] = []
    with ThreadPoolExecutor(workers) as pool, Bar(total=len(clips), desc="reading", unit="clip") as bar:
        for start in range(0, len(clips), CLIPS_AT_ONCE):
            part = clips[start : start + CLIPS_AT_ONCE]
            crops, wrong = read_all(part, read, pool)
            problems += wrong
            if not problems:
                parts.append(make(np.stack(crops)))
            bar.update(len(part))
    refuse_unreadable(problems, len(clips))
    return parts


def _passed_over(folders: Mapping[Path, Found]) -> list[str]:
    return [
        f"passed over in {folder}, neither a video nor a folder of pictures: {len(found.passed_over)}: "
        + ", ".join(found.passed_over)
        for folder, found in folders.items()
        if found.passed_over
    ]


def _notes(supports: Sequence[LooseClip], queries: Sequence[LooseClip], classes: tuple[str, ...]) -> list[str]:
    notes = []
    known = {clip.path.resolve() for clip in supports}
    both = [clip.name for clip in queries if clip.path.resolve() in known]
    if both:
        notes.append(f"{len(both)} queries are supports too, which makes them easy: {some(both)}")
    strange = sorted({clip.claimed for clip in queries if clip.claimed is not None} - set(classes))
    if strange:
        notes.append(f"queries lie in folders that are no class of the supports: {some(strange)}")
    return notes


def csv_table(predictions: Predictions) -> str:
    """Everything as CSV: query, its folder, the prediction, and a column of probabilities for each class."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["query", "folder", "predicted", *predictions.classes])
    for clip, name, row in zip(
        predictions.queries, predictions.predicted, predictions.probabilities, strict=True
    ):
        rows.writerow([clip.name, clip.claimed or "", name, *(f"{value:.6f}" for value in row)])
    return text.getvalue()


def write_csv(predictions: Predictions, path: Path) -> None:
    """Write `csv_table`, whole. DataError: the folder cannot be written to."""
    try:
        write_text(path, csv_table(predictions))
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror or error}); name another file") from error
