"""A stage in every fold: children of one run, which share what they can, and are not run twice."""

from __future__ import annotations

import json
import signal
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import Result
from mlflow.entities import Run

from litemkd.config import load_config
from litemkd.errors import ConfigError
from litemkd.evaluation.embedding import frame_features
from litemkd.evaluation.intervals import Interval
from litemkd.evaluation.studies import Training, estimate
from litemkd.models.folding import fold_norms
from litemkd.stages.build import build_expert
from litemkd.stages.folds import GAIN, FoldJob, folds_stage, folds_table
from litemkd.stages.frozen import behind_frozen
from litemkd.stages.prepare import prepare
from litemkd.stages.setup import Setup
from tests.faults.commands import Place, kill, wait_for
from tests.job import SMOKE, Home, Job

FOLDS = ("--fold", "all", "--set", "data.folds=3", "--set", "evaluation.test_episodes=20")
QUICK = (*FOLDS, "--set", "teacher.modalities=[rgb]", "--set", "teacher.fusion.layers=0")


def of(home: Home, stage: str) -> list[Run]:
    return [run for run in home.runs() if run.data.tags["litemkd.stage"] == stage]


@pytest.fixture(scope="module")
def resumed(job: Job, tmp_path_factory: pytest.TempPathFactory) -> tuple[Place, Run, Result]:
    """A folder in which students of three folds were killed in the second one and gone on with; the run of the
    first fold as it was then, and what was told at the end.
    """
    place = Place.beside(job.home, tmp_path_factory.mktemp("folds"))
    process = place.start("student", *QUICK)
    told = "fold 1 of 3"
    assert wait_for(lambda: told in place.printed and len(of(place.home, "student")) == 2, process), (
        place.printed
    )
    assert kill(process) == -signal.SIGKILL
    first = of(place.home, "student")[0]
    return place, first, place.home.must("student", *QUICK, "--resume")


@pytest.fixture
def place(resumed: tuple[Place, Run, Result]) -> Place:
    return resumed[0]


def test_a_fold_that_is_finished_is_not_run_again(resumed: tuple[Place, Run, Result]) -> None:
    place, first, again = resumed
    assert first.info.status == "FINISHED"
    (parent,) = [run for run in of(place.home, "folds") if run.data.params["seed"] == "0"]
    children = [run for run in of(place.home, "student") if run.data.params["seed"] == "0"]
    assert parent.info.status == "FINISHED"
    assert [run.info.run_name for run in children] == [
        f"labels only: conv4 + trx, fold {fold}, seed 0" for fold in range(3)
    ]
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    assert children[0].info.run_id == first.info.run_id
    assert children[0].info.end_time == first.info.end_time
    assert children[1].data.tags["litemkd.resumed"] == "1"
    assert len({run.data.tags["litemkd.folds_digest"] for run in children}) == 1
    assert [run.data.tags["litemkd.fold"] for run in children] == ["0", "1", "2"]
    tested = [
        row[0]
        for run in children
        for row in json.loads(place.home.artifact(run, "per_class_5shot.json").read_text())["data"]
    ]
    assert set(Counter(tested).values()) == {1}
    assert len(tested) == 52
    mean = sum(run.data.metrics["test/accuracy_5shot"] for run in children) / 3
    assert parent.data.metrics["labels/accuracy_5shot"] == pytest.approx(mean)
    assert f"{mean:.2f} ±" in again.stdout
    assert "3 folds of toy, every class tested once" in again.stdout


@pytest.mark.slow
def test_folds_at_once_and_compared(place: Place) -> None:
    """Two processes at once; `compare` pools the folds; models of folds are not promoted."""
    process = place.start("student", *QUICK, "--seed", "1", "--parallel", "2")
    assert process.wait(900) == 0, place.printed
    children = [run for run in of(place.home, "student") if run.data.params["seed"] == "1"]
    assert sorted(run.data.tags["litemkd.fold"] for run in children) == ["0", "1", "2"]
    assert {run.info.status for run in children} == {"FINISHED"}
    parent = of(place.home, "folds")[-1]
    assert parent.info.status == "FINISHED"
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    assert not place.home.client.get_registered_model("litemkd-toy-student").aliases
    rows = json.loads(place.home.must("compare", "--no-log", "--format", "json", "--shots", "5").stdout)["rows"]
    (row,) = rows
    (cell,) = row["cells"]
    assert len(cell["runs"]) == 6
    assert (cell["accuracy"]["folds"], cell["accuracy"]["interval_over"]) == (3, "folds")


def test_what_all_folds_share_is_made_once(place: Place) -> None:
    packs = place.home.data / "packs"
    assert len([one for one in packs.iterdir() if one.name.startswith("rgb") and "lock" not in one.name]) <= 2
    words = ["data.folds=3", "threads=1", "data.workers=1", "teacher.modalities=[rgb]", "device=cpu"]
    with place.home.entered():
        found = [prepare(load_config(SMOKE, [*words, f"data.fold={fold}"])) for fold in range(3)]
    assert len({one.packs["rgb"].digest for one in found}) == 1
    assert len({one.folds_digest for one in found}) == 1
    assert len({one.student_digest for one in found}) == 3


def test_features_of_a_frozen_backbone_are_made_once(place: Place) -> None:
    words = ["data.folds=3", "threads=1", "data.workers=1", "teacher.modalities=[rgb]", "device=cpu"]
    words += ["teacher.expert.tune=frozen", "teacher.expert.train.recalibrate=0", "teacher.expert.views=2"]
    kept = place.home.data / "embeddings" / "frozen"
    found, before = [], set(kept.glob("*.npy"))
    with place.home.entered():
        for fold in (0, 1):
            config = load_config(SMOKE, [*words, f"data.fold={fold}"])
            setup = Setup.of(config)
            expert = build_expert(config.teacher, "rgb", config.data.frames, 0, side=config.data.crop)
            sources = behind_frozen(setup, "rgb", expert).sources
            found.append(set(kept.glob("*.npy")) - before)
            rows = np.array([2, 0])
            for split in ("train", "val", "test"):
                alone = frame_features(fold_norms(expert.backbone), setup.clips("rgb", split).centred(rows))
                torch.testing.assert_close(sources[split].centred(rows), alone, rtol=1e-4, atol=1e-5)
    assert len(found[0]) == 2  # of two views, each of all clips
    assert found[0] == found[1]


def test_a_student_is_tested_in_its_own_fold_alone(place: Place) -> None:
    """Without a name the best student of each fold is taken; one of another fold may know the test classes."""
    told = place.home.must("evaluate", *QUICK)
    assert "student of the fold, 5-shot" in told.stdout
    versions = place.home.client.search_model_versions("name = 'litemkd-toy-student'")
    other = next(one for one in versions if one.tags["litemkd.fold"] == "1")
    words = [word for word in QUICK if word not in ("--fold", "all")]
    refused = place.home.run(
        "evaluate", *words, "--fold", "0", "--model", f"models:/{other.name}/{other.version}"
    )
    assert refused.exit_code == 1
    assert "not trained in fold 0 of these data" in refused.output


def test_mistakes_say_what_would_do(tmp_path: Path) -> None:
    config = load_config(SMOKE, ["data.folds=3", f"data.root={tmp_path}"])
    with pytest.raises(ConfigError, match=r"3 folds given, .* --fold 0 to 2 \(data\.fold\), or --fold all"):
        prepare(config)
    with pytest.raises(ConfigError, match=r"--fold: all given without data\.folds"):
        folds_stage(FoldJob(load_config(SMOKE), "student"))
    with pytest.raises(ConfigError, match="--model: models:/a/1 given with --fold all"):
        folds_stage(FoldJob(config, "evaluate", options={"--model": "models:/a/1"}))


def test_the_closing_table_has_every_fold_and_all() -> None:
    folds = [
        {"teacher": {5: Interval(80.0 + fold, 0.3)}, GAIN: {5: Interval(2.0 * fold, 0.4)}} for fold in range(3)
    ]
    header, rows = folds_table(folds)
    assert header == ["fold", "teacher, 5-shot", f"{GAIN}, 5-shot"]
    assert rows[1] == ["1", "81.00 ± 0.30", "+2.00 ± 0.40"]
    whole = estimate([Training(Interval(2.0 * fold, 0.4), str(fold)) for fold in range(3)])
    assert rows[3] == ["all, ± over folds", "81.00 ± 2.48", f"+2.00 ± {whole.half:.2f}"]
