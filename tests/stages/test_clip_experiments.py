"""The experiments with a CLIP teacher, from frames of each data set to trained students.

Data is made up: a few clips of the real classes, in the layout of prepared frames and with lists as they are
published. A small network stands for CLIP's, the students are those of the files; weights are random.
"""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from litemkd.config import flatten, load_config
from tests.data.trees import DATA_SETS, facts
from tests.helpers import usual_first
from tests.job import ROOT, Home

STUDENTS = ("mobilenet_v3_small", "mobilenet_v4", "lite0")
TINY = "{name: conv4, weights: none, pooling: mean}"
SIDE, CLIPS, CLASSES, FRAMES = 32, 2, 5, 8
_TRAIN = "episodes=1 accumulate=1 batch=1 validations=1 milestones=[] warmup=0"
SMALL = [
    *(f"threads=1 data.workers=1 data.short_side={SIDE} data.crop={SIDE} data.on_missing=skip").split(),
    "episode.shot=1",
    "episode.queries=1",
    "evaluation={shots: [1], val_episodes: 2, test_episodes: 4}",
    "student.backbone.weights=none",
    *(f"{one}.width=16" for one in ("student", "teacher.expert")),
    *(f"{one}.head.width=16" for one in ("student", "teacher", "teacher.expert")),
    *(f"{one}.train.{word}" for one in ("student", "teacher", "teacher.expert") for word in _TRAIN.split()),
    *(f"{one}.train.schedule=constant" for one in ("student", "teacher")),
    "teacher.fusion={layers: 1, feed_forward: 16}",
]


def frames_of(dataset: str, folder: Path) -> None:
    """`<modality>_l8/<class>/<clip>/<frame>.jpg` of three modalities, and lists where a data set has them."""
    known = facts(dataset)
    rng = np.random.default_rng(0)
    pictures = []
    for number in range(FRAMES):
        pictures.append(folder / f"{number}.jpg")
        folder.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(pictures[-1]), rng.integers(0, 255, (SIDE, SIDE + 8, 3), np.uint8))
    for split, about in known.splits.items():
        names = list(about.names)[:CLASSES] or [f"Pushing {split} to {one}" for one in range(CLASSES)]
        listed = [(one, f"clip_{place}_{clip}") for place, one in enumerate(names) for clip in range(CLIPS)]
        for place, (one, clip) in enumerate(listed):
            for shift, modality in enumerate(("rgb", "flow", "depth")):
                above = folder / f"{modality}_l8" / one / clip
                above.mkdir(parents=True)
                for number in range(FRAMES):
                    os.link(pictures[(place + shift + number) % FRAMES], above / f"{number + 1}.jpg")
        if known.files:
            file = folder / "splits" / known.lists / f"{split}{known.files}"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("".join(f"{one}/{clip}\n" for one, clip in listed), encoding="utf-8")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(tmp_path_factory.mktemp("clip"))


def file_of(dataset: str, student: str) -> Path:
    return ROOT / "experiments" / dataset / f"clip_{student}.yaml"


EVERY = [(dataset, student) for dataset in DATA_SETS for student in STUDENTS]


@pytest.mark.parametrize(("dataset", "student"), usual_first([("ssv2_full", "lite0")], EVERY))
def test_from_frames_to_a_student(home: Home, dataset: str, student: str) -> None:
    if not (home.folder / "data" / dataset).is_dir():
        frames_of(dataset, home.folder / "data" / dataset)
    file = file_of(dataset, student)
    words = [*SMALL, f"teacher.expert.backbone={TINY}"]
    result = home.run(
        "distill", "--no-baseline", *(word for one in words for word in ("--set", one)), config=file
    )
    assert (result.exit_code, result.exception) == (0, None), result.output
    runs = home.runs(dataset=dataset)
    assert [run.data.tags["litemkd.stage"] for run in runs].count("expert") == 3
    backbone = load_config(file).student.backbone.name
    students = [run for run in runs if run.data.tags["litemkd.stage"] == "student"]
    (made,) = [run for run in students if run.data.params["student.backbone.name"] == backbone]
    assert 0 <= made.data.metrics["test/accuracy"] <= 100


@pytest.mark.parametrize("dataset", DATA_SETS)
def test_the_others_differ_from_those_in_their_student_alone(dataset: str) -> None:
    published = flatten(load_config(ROOT / "experiments" / dataset / "mobilenet_v3_small.yaml"))
    for student in STUDENTS:
        here = flatten(load_config(file_of(dataset, student)))
        other = {key for key, value in here.items() if published[key] != value}
        expected = {key for key in other if key.startswith("teacher.expert.")}
        if student != "mobilenet_v3_small":
            expected.add("student.backbone.name")
        if student == "lite0":
            expected.add("student.backbone.weights")
        assert other == expected
        for key in ("name", "weights", "settings"):
            first = flatten(load_config(file_of("ucf101", student)))
            assert here.get(f"student.backbone.{key}") == first.get(f"student.backbone.{key}")
        assert here["teacher.expert.backbone.name"] == "timm:vit_base_patch16_clip_224.openai"
        assert here["teacher.modalities"] == ["rgb", "flow", "depth"]


def test_there_is_one_for_every_student_and_data_set() -> None:
    found = {path.relative_to(ROOT / "experiments") for path in (ROOT / "experiments").rglob("clip_*.yaml")}
    assert found == {Path(dataset) / f"clip_{student}.yaml" for dataset in DATA_SETS for student in STUDENTS}
