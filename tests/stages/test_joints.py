"""Joints as numbers, from files to a teacher that is registered, loaded and counted."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from litemkd.config import Config, load_config
from litemkd.errors import ConfigError, DataError
from litemkd.modalities.joints import Joints
from litemkd.stages.build import TeacherBundle, build_expert, load_model
from litemkd.stages.cost import teacher_cost
from litemkd.stages.prepare import prepare
from litemkd.tracking import download
from tests.job import SMOKE, Home, copy_data

FILE = f"""
base: {SMOKE}
data: {{toy: {{clips_per_class: 3, frames: 6, size: 32}}, frames: 4, short_side: 32, crop: 32, flip: true}}
episode: {{shot: 1, queries: 1, way: 2}}
evaluation: {{shots: [1], val_episodes: 4, test_episodes: 4}}
loss: {{support: 0}}
teacher:
  modalities: [rgb, joints]
  streams:
    joints: {{use: joints, width: 12, steps: 10}}
"""


def write_joints(home: Home, joints: int = 20) -> list[Path]:
    """Somebody's joints beside each of the toy's videos, at twice their rate."""
    files = []
    for place, video in enumerate(sorted((home.data / "videos").glob("*/*.mp4"))):
        rng = np.random.default_rng(place)
        values = rng.normal(size=(1, joints, 4)) + 0.1 * rng.normal(size=(12, joints, 4)).cumsum(0) + 3.0
        values[..., 3] = 1.0
        files.append(home.folder / "source/skeleton_joints" / video.parent.name / f"{video.stem}.npy")
        files[-1].parent.mkdir(parents=True, exist_ok=True)
        np.save(files[-1], values.astype(np.float32))
    return files


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """The toy data."""
    home = Home(tmp_path_factory.mktemp("prepared"))
    file = home.folder / "rgb.yaml"
    file.write_text(FILE[: FILE.index("teacher:")] + "teacher: {modalities: [rgb]}\n")
    done = home.run("prepare", config=file)
    assert done.exit_code == 0, done.output
    return home


@pytest.fixture
def home(prepared: Home, tmp_path: Path) -> Home:
    """The toy data, with an experiment file whose teacher sees joints."""
    (tmp_path / "joints.yaml").write_text(FILE)
    home = Home(tmp_path)
    copy_data(prepared.data, home.data)
    shutil.copy2(prepared.folder / "mlflow.db", tmp_path)
    # The toy's own joints are of no layout, and made anew where they are missing.
    for name in ("videos", "splits"):
        copy_data(home.data / name, tmp_path / "source" / name)
    return home


def small(home: Home) -> Path:
    return home.folder / "joints.yaml"


def config_of(home: Home, *words: str) -> Config:
    return load_config(
        small(home),
        [
            f"data.root={home.folder / 'data'}",
            f"data.source={home.folder / 'source'}",
            "data.workers=1",
            *words,
        ],
    )


def test_a_teacher_of_joints(home: Home) -> None:
    write_joints(home)
    sheet = home.folder / "sheet.png"
    done = home.run("prepare", "--set", "data.source=source", "--contact-sheet", str(sheet), config=small(home))
    assert done.exit_code == 0, done.output
    assert "joints: arrays that were there: 0 made, 156 kept, 0 left out" in done.output
    assert sheet.is_file()
    card = json.loads((home.data / "data_card.json").read_text())
    assert card["modalities"]["joints"]["sizes"] == {"20 x 4": 156}
    assert card["modalities"]["joints"]["frames"] == "12"
    assert "arrays by frame" in (home.data / "data_card.md").read_text()

    done = home.run("teacher", "--set", "data.source=source", config=small(home))
    assert done.exit_code == 0, done.output
    features = sorted((home.data / "feature/joints").glob("*/*/*.npy"))
    assert len(features) == 156
    assert np.load(features[0]).shape == (4, 12)
    with home.entered():
        bundle = load_model(download("litemkd-toy-teacher", 1))
    assert isinstance(bundle, TeacherBundle)
    found = np.load(
        home.folder
        / "source/skeleton_joints"
        / features[0].parent.parent.name
        / f"{features[0].parent.name}.npy"
    )
    from litemkd.data.packs.arrays import resampled

    clip = torch.from_numpy(resampled(Joints("joints").whole(found), 10))[None]
    with torch.inference_mode():
        made = bundle.experts["joints"].features(clip)[0].numpy()
    assert np.allclose(made, np.load(features[0]), atol=1e-5)
    run = next(run for run in home.runs() if run.data.tags["litemkd.stage"] == "teacher")
    assert run.data.params["teacher.streams.joints.layout"] == "kinect20"
    assert run.data.metrics["cost/gmacs_per_episode"] > 0


def test_the_expert_s_work_is_counted(home: Home) -> None:
    config = config_of(home, "teacher.modalities=[joints]", "teacher.fusion.layers=0")
    cost = teacher_cost(config, latency=True)
    expert = build_expert(config.teacher, "joints", 4, 0)
    weights = sum(x.numel() for x in expert.backbone.parameters()) / 1e6
    assert cost["cost/params_m"] >= weights
    assert cost["cost/latency_ms_per_video"] > 0
    # The graph's matrices, 3 J x J of 12 channels for 10 steps, are a part of it: 144,000 MACs a video.
    assert cost["cost/gmacs_per_episode"] > 2 * 2 * 144e3 / 1e9


def test_joints_of_another_layout_are_refused_before_anything_is_trained(home: Home) -> None:
    write_joints(home, joints=25)
    with pytest.raises(ConfigError) as caught:
        prepare(config_of(home))
    assert caught.value.problems == [
        "teacher.streams.joints: joints looks at frames of 20 x 4, and the data has 25 x 4; "
        "layout: ntu25 would do"
    ]
    assert prepare(config_of(home, "teacher.streams.joints.layout=ntu25")).packs["joints"].names


def test_clips_without_joints_are_told_or_left_out_of_all(home: Home) -> None:
    files = write_joints(home)
    with pytest.raises(ConfigError) as refused:
        prepare(config_of(home, "teacher.streams.joints.steps=3"))
    assert refused.value.problems == ["teacher.streams.joints.steps: 3 given; data.frames = 4 or more would do"]
    files[0].unlink()
    np.save(files[5], np.zeros((12, 20, 4)))
    with pytest.raises(DataError) as caught:
        prepare(config_of(home))
    text = str(caught.value)
    assert "2 of 156 clips cannot be packed" in text
    assert f"there is no {files[0]}" in text
    assert f"{files[5]}: no body: the hips (joint 6 of kinect20) are found in none of the 12 frames" in text
    left = prepare(config_of(home, "data.on_bad_clip=skip"))
    assert left.skipped == 2
    assert sum(len(split.videos) for split in left.splits.values()) == 154
    assert any("left out, no joints (data.on_bad_clip=skip): 2" in line for line in left.remarks)


def test_there_are_no_joints(home: Home) -> None:
    with pytest.raises(DataError, match=r"there is no joints: no folder .*skeleton_joints; .*<clip>\.npy"):
        prepare(config_of(home))
