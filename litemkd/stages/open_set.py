"""How well a student tells queries of no class of their episode, on test: other classes, or clips of none."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from litemkd.data.episodes import fixed_episodes
from litemkd.data.finding.loose import find_queries, read_all, read_centre, refuse_unreadable
from litemkd.data.packs.arrays import Source
from litemkd.data.splits import Split
from litemkd.evaluation.accuracy import evaluate
from litemkd.evaluation.calibration import Calibration
from litemkd.evaluation.embedding import student_classifier
from litemkd.evaluation.unknown import SCORES, OpenSet, auroc, false_positives, stranger_logits
from litemkd.models.student import Student
from litemkd.stages.build import build_workers
from litemkd.stages.setup import Setup
from litemkd.tracking import Run

EPISODES = 2000  # at most: AUROC is then known to a point


class WithStrangers:
    """The clips of a split, and behind them others of no class.

    Args:
        clips: of the split.
        strangers: crops (N, T, crop, crop, 3) uint8.
        names: of these.
    """

    def __init__(self, clips: Source, strangers: np.ndarray, names: list[str]) -> None:
        self.clips, self.strangers = clips, strangers
        split = clips.split
        none = np.full(len(names), -1)
        self.split = Split(
            split.name, (*split.videos, *names), split.classes, np.concatenate([split.labels, none])
        )

    def __getattr__(self, name: str) -> object:
        return getattr(self.clips, name)

    def centred(self, videos: np.ndarray) -> Tensor:
        """Centre crops of rows: (V, T, 3, h, w) in [0, 1]."""
        own, count = [], len(self.clips.split.videos)
        for row in videos:
            if row < count:
                own.append(self.clips.centred(np.array([row])))
            else:
                crop = torch.from_numpy(self.strangers[row - count]).to(self.clips.device)
                own.append(crop.permute(0, 3, 1, 2)[None].float().div(255))
        return torch.cat(own)


def measure_open_set(
    setup: Setup,
    run: Run,
    student: Student,
    calibration: Calibration | None,
    folder: Path | None,
    tell: Callable[[str], object],
) -> None:
    """Log `test/auroc_…`, `test/fpr95_…`, and what the model's threshold keeps and refuses, by number of shots.

    Args:
        setup: its test episodes; with other classes as strangers they have a class less where they have all.
        run: takes metrics.
        student: in eval mode.
        calibration: has temperature, score and threshold; without one the score is the greatest logit.
        folder: of clips of no class; None for those of the split's other classes.
        tell: takes a line for each number of shots.

    Raises:
        DataError: an unreadable folder or clip, or a split of two classes.
    """
    e, clips = setup.config.evaluation, setup.clips("rgb", "test")
    split, strangers = setup.data.splits["test"], None
    way = setup.config.episode.way
    if folder is not None:
        whole = with_strangers(setup, clips, folder)
        strangers, clips = np.flatnonzero(whole.split.labels < 0), whole  # type: ignore[assignment]
    elif way >= len(split.classes) > 2:
        way = len(split.classes) - 1
    classify = student_classifier(student, clips)
    metrics: dict[str, float] = {}
    for place, shot in enumerate(e.shots):
        sampler = fixed_episodes(split, way, shot, e.queries, e.seed)
        numbers, label = range(min(EPISODES, e.test_episodes)), f"open set, test, {way}-way {shot}-shot"
        seen = OpenSet(
            evaluate(classify, sampler, numbers, progress=label).logits,
            stranger_logits(classify, sampler, numbers, strangers=strangers, progress=f"{label}, strangers"),
        )
        found = _measured(seen, calibration, shot)
        for suffix in (f"_{shot}shot", *([""] if place == 0 else [])):
            metrics |= {f"test/{name}{suffix}": value for name, value in found.items()}
        words = ", ".join(f"{_WORDS[name]} {value:.1f} %" for name, value in found.items())
        tell(f"open set, {way}-way {shot}-shot, {len(numbers)} test episodes: {words}")
    run.log_metrics(metrics, 0)
    run.set_tags({"open_set_way": str(way), "open_set": "other classes" if folder is None else folder.name})


_WORDS = {
    "auroc": "AUROC",
    "fpr95": "strangers that pass where 95 % of the others do",
    "known_kept": "at the model's threshold kept of the classes",
    "unknown_refused": "refused of strangers",
}


def _measured(seen: OpenSet, calibration: Calibration | None, shot: int) -> dict[str, float]:
    """Per cent, by the names of `_WORDS`."""
    score, warmth = next(iter(SCORES)), 1.0
    if calibration is not None:
        warmth = calibration.nearest(seen.known.shape[-1], shot).temperature
        score = calibration.score or score
    known, unknown = seen.scores(score, warmth)
    found = {"auroc": auroc(known, unknown), "fpr95": false_positives(known, unknown)}
    kept, passed = (
        None if calibration is None else calibration.known(x, shot) for x in (seen.known, seen.unknown)
    )
    if kept is not None and passed is not None:
        found |= {"known_kept": float(100 * kept.mean()), "unknown_refused": float(100 * (~passed).mean())}
    return found


def with_strangers(setup: Setup, clips: Source, folder: Path) -> WithStrangers:
    """The clips of a split and those in a folder. DataError: one that cannot be read."""
    data, found = setup.config.data, find_queries(folder).clips

    def read(path: Path) -> np.ndarray:
        return read_centre(path, data.frames, data.short_side, data.crop)

    with ThreadPoolExecutor(build_workers(setup.config)) as pool:
        crops, problems = read_all(found, read, pool)
    refuse_unreadable(problems, len(found))
    return WithStrangers(clips, np.stack(crops), [f"stranger/{clip.name}" for clip in found])
