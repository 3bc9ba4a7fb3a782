"""A few steps on real recordings, MSR-Action3D: depth clips as the visible stream, flow and skeletons derived.

Needs the folder that LITEMKD_TEST_DATA names, with `msr_action3d/` in it; skipped without.
"""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path

import pytest

from litemkd.data.splits import SPLITS
from tests.job import ROOT, Home

FOLDER = Path(os.environ.get("LITEMKD_TEST_DATA") or "/nonexistent") / "msr_action3d"
pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(not FOLDER.is_dir(), reason="LITEMKD_TEST_DATA names no folder with msr_action3d/"),
]
CLIPS = 4  # of each class
SETTINGS = (
    "data.short_side=64 data.crop=56 episode.way=5 episode.shot=1 episode.queries=1 evaluation.shots=[1] "
    "evaluation.val_episodes=10 evaluation.test_episodes=20 student.backbone.name=conv4 "
    "student.backbone.weights=none student.train.episodes=4 student.train.accumulate=2 student.train.batch=2 "
    "student.train.validations=2 student.train.warmup=0 student.train.schedule=constant "
    "student.train.milestones=[] student.train.recalibrate=0 teacher.modalities=[rgb,flow,skeleton]"
)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """The recordings, with lists of the first clips of each class that have joints."""
    folder = tmp_path / "source"
    folder.mkdir()
    for name in ("videos", "skeleton_joints"):
        (folder / name).symlink_to(FOLDER / name)
    lists = folder / "splits" / "msr"
    lists.mkdir(parents=True)
    for split in SPLITS:
        by_class: dict[str, list[str]] = defaultdict(list)
        for line in (FOLDER / "splits" / "msr_fewshot" / f"{split}list03.txt").read_text().split():
            name = Path(line).with_suffix("").as_posix()
            if (FOLDER / "skeleton_joints" / f"{name}.npy").is_file():
                by_class[name.partition("/")[0]].append(name)
        lines = [name for names in by_class.values() for name in names[:CLIPS]]
        (lists / f"{split}list03.txt").write_text("\n".join(lines) + "\n")
    return folder


def test_preparing_and_a_few_steps(source: Path, tmp_path: Path) -> None:
    home = Home(tmp_path)
    words = ["--overrides", f"data.dataset=msr data.splits=msr data.source={source} {SETTINGS}"]
    config = ROOT / "experiments" / "msr_action3d" / "default.yaml"
    prepared = home.run("prepare", *words, config=config)
    assert prepared.exit_code == 0, prepared.output
    assert f"videos train {10 * CLIPS}, val {5 * CLIPS}, test {5 * CLIPS}" in prepared.stdout
    for modality in ("rgb", "flow", "skeleton"):
        assert len(list((tmp_path / "data" / "msr" / f"{modality}_l8").glob("*/*/*.jpg"))) == 20 * CLIPS * 8
    trained = home.run("student", *words, config=config)
    assert trained.exit_code == 0, trained.output
    assert "registered model: litemkd-msr-student version 1" in trained.stdout
    (student,) = home.runs("tags.`litemkd.stage` = 'student'", dataset="msr")
    assert 0 <= student.data.metrics["test/accuracy"] <= 100
