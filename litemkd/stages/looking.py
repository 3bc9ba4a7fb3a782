"""A student looked at closely: the sections of its report, each made of what an evaluation has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from litemkd.data.features import FUSED, feature_folder, read_features
from litemkd.errors import ConfigError, DataError
from litemkd.evaluation.accuracy import Evaluation, evaluate
from litemkd.evaluation.embedding import backbone_features, student_classifier
from litemkd.evaluation.looks import COUNTED, flat_map, look_at, mistaken, spread_out, telling
from litemkd.models.folding import fold_norms
from litemkd.models.student import Student
from litemkd.report.page import (
    Page,
    Section,
    Strip,
    classes_section,
    episode_section,
    frame_pictures,
    map_section,
    mistakes_section,
    page_html,
    result_section,
)
from litemkd.stages.loading import champion_of, load_fitting
from litemkd.stages.setup import Setup
from litemkd.storage.array_cache import ArrayCache
from litemkd.tracking import Run

CLASSES, CLIPS = 24, 2  # on a contact sheet, of each
MISTAKES = 12
REPORT = "report.html"  # among a run's artifacts
PARTS = ("classes", "episode", "mistakes", "map")  # what `litemkd show` shows


def log_report(
    run: Run,
    setup: Setup,
    student: Student,
    tests: Mapping[int, Evaluation],
    title: str,
    *,
    always: bool = False,
) -> str:
    """Log the report of a student in eval mode on the test classes, unless `evaluation.report` is off.

    Args:
        run: takes it.
        setup: the data set and the episodes.
        student: in eval mode, on the device.
        tests: its results by number of shots; the first one is reported.
        title: what it is.
        always: whatever the setting says.

    Returns:
        The page, empty where there is none.
    """
    if not (always or setup.config.evaluation.report):
        return ""
    main = next(iter(tests.values()))
    look = Looking(setup, student, main)
    sections = [
        result_section(main, setup.config.episode.way),
        look.episodes(telling(main)),
        look.mistakes(),
        look.map(),
        look.classes(),
    ]
    text = page_html(Page(title, _facts(setup), sections))
    run.log_text(text, REPORT)
    return text


def show_stage(
    setup: Setup, *, model: str | None, parts: Sequence[str], episode: int | None = None
) -> tuple[str, str]:
    """Some parts of a report, without a run.

    Args:
        setup: the data set and the episodes.
        model: as of `evaluate`; the champion when None.
        parts: of `PARTS`; of "classes" alone no model is needed.
        episode: whose queries are shown; None takes one that is named rightly and one that is not.

    Returns:
        What is shown, and the page.

    Raises:
        CheckpointError: the model is not a student for these clips.
        ConfigError: no such episode.
        TrackingError: no such registered model.
    """
    e = setup.config.evaluation
    if episode is not None and episode >= e.test_episodes:
        raise ConfigError([f"--episode: {episode} given; 0 to {e.test_episodes - 1} would do"])
    if set(parts) == {"classes"}:
        title = f"{setup.config.data.dataset}, the test classes"
        return title, page_html(Page(title, _facts(setup), [Looking(setup, None, None).classes()]))
    source = model or champion_of(setup.config)
    student = load_fitting(source, setup.config)[0].to(setup.device).eval()
    cache = ArrayCache(setup.config.dataset_dir / "embeddings")
    classify = student_classifier(student, setup.clips("rgb", "test"), cache=cache)
    sampler = setup.fixed_episodes("test", e.shots[0])
    seen = evaluate(classify, sampler, range(min(COUNTED, e.test_episodes)), progress="looking, test")
    look = Looking(setup, student, seen)
    queries = setup.config.episode.way * e.queries
    chosen = telling(seen) if episode is None else [(episode, query) for query in range(queries)]
    made = {
        "classes": look.classes,
        "episode": lambda: look.episodes(chosen),
        "mistakes": look.mistakes,
        "map": look.map,
    }
    return source, page_html(Page(source, _facts(setup), [made[part]() for part in dict.fromkeys(parts)]))


class Looking:
    """What is looked at: the test clips, a student, and what it said of the test episodes.

    Args:
        setup: the data set and the episodes.
        student: in eval mode, on the device.
        seen: its answers to the first episodes.
    """

    def __init__(self, setup: Setup, student: Student | None, seen: Evaluation | None) -> None:
        self.setup, self._student, self._seen = setup, student, seen
        self.clips = setup.pictures("rgb", "test")
        self.split = self.clips.split

    @property
    def student(self) -> Student:
        """The student. ValueError: there is none."""
        if self._student is None:
            raise ValueError("no student to look at")
        return self._student

    @property
    def seen(self) -> Evaluation:
        """Its answers. ValueError: there are none."""
        if self._seen is None:
            raise ValueError("no evaluation to look at")
        return self._seen

    def classes(self) -> Section:
        """Some clips of the test classes."""
        shown = {}
        for place, name in list(enumerate(self.split.classes))[:CLASSES]:
            videos = np.flatnonzero(self.split.labels == place)[:CLIPS]
            names = [self.split.videos[one].partition("/")[2] for one in videos]
            shown[name] = list(zip(names, self.clips.pixels(videos), strict=True))
        return classes_section(shown)

    def episodes(self, chosen: Sequence[tuple[int, int]]) -> Section:
        """Queries of episodes, each by the episode's number and its own."""
        sampler = self.setup.fixed_episodes("test", self.setup.config.evaluation.shots[0])
        looks = [look_at(self.student, self.clips, sampler, *one) for one in chosen]
        return episode_section(
            [
                (
                    self.split.videos[one.query],
                    one,
                    self.clips.pixels(np.array([one.query]))[0],
                    self.clips.pixels(one.support),
                )
                for one in looks
            ]
        )

    def mistakes(self) -> Section:
        """The clips that are named wrongly most often."""
        sampler = self.setup.fixed_episodes("test", self.seen.shot)
        strips = []
        for one in mistaken(self.seen, sampler, MISTAKES):
            words = f"wrong in {one.wrong} of {one.asked}, mostly taken for {one.instead}"
            frames = frame_pictures(self.clips.pixels(np.array([one.video]))[0])
            strips.append(Strip(frames, self.split.videos[one.video], words))
        return mistakes_section(strips)

    def map(self) -> Section:
        """Maps of the test clips, by what the student, the teacher and each modality make of them."""
        rows = spread_out(len(self.split.videos))
        student, cache = self.student, ArrayCache(self.setup.config.dataset_dir / "embeddings")
        backbone = backbone_features(fold_norms(student.backbone), self.clips, cache)
        with torch.inference_mode():
            part = torch.from_numpy(np.ascontiguousarray(backbone[rows])).to(self.clips.device)
            branches = student.branch_features(part).values()
            seen = torch.cat([student.per_frame(one) for one in branches], dim=-1)
        others, missing = self._on_disk(rows)
        lack = ", ".join(missing)
        remark = f" Without {lack}: the features of these clips are not on disk." if missing else ""
        found = {"student": seen.cpu().numpy(), **others}
        places = {name: flat_map(features) for name, features in found.items()}
        return map_section(places, self.split.labels[rows], self.split.classes, remark)

    def _on_disk(self, rows: np.ndarray) -> tuple[dict[str, np.ndarray], list[str]]:
        """Features (V, T, D) on disk, of the teacher and its modalities; and which of them are not there."""
        config = self.setup.config
        videos = [self.split.videos[row] for row in rows]
        folders = {"teacher": config.made_dir / "feature" / FUSED}
        for modality in config.teacher.modalities:
            folders[f"expert {modality}"] = feature_folder(config.made_dir, modality)
        found, missing = {}, []
        for name, folder in folders.items():
            try:
                found[name] = read_features(folder, videos, config.data.frames)
            except DataError:  # none, or those of other clips or another number of frames
                missing.append(name)
        return found, missing


def _facts(setup: Setup) -> list[str]:
    data, e = setup.config.data, setup.config.evaluation
    split = setup.data.splits["test"]
    return [
        f"Data set {data.dataset}: {len(split.videos)} test clips of {len(split.classes)} classes that were "
        f"not there in training; {data.frames} frames of {data.crop} pixels.",
        f"Episodes of seed {e.seed}. {setup.protocol()}",
    ]
