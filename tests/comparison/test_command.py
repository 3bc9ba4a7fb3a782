"""`litemkd compare` on the store of a real job, held against MLflow's own search."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow.entities import Run
from scipy.stats import ttest_1samp

from litemkd.evaluation.accuracy import paired_difference
from litemkd.tracking import read_runs
from tests.job import ROOT, Home, Job


@pytest.fixture
def home(job: Job, tmp_path: Path) -> Home:
    """A copy of the job's store, whose artifacts stay where they are."""
    shutil.copy2(job.home.folder / "mlflow.db", tmp_path / "mlflow.db")
    return Home(tmp_path)


def asked(home: Home, *words: str) -> dict[str, Any]:
    return json.loads(home.must("compare", "--format", "json", *words).stdout)


def test_json_agrees_with_mlflow(job: Job, home: Home) -> None:
    values = asked(home, "--no-log", "--published")
    wanted = "tags.`litemkd.stage` = 'student' and attributes.status = 'FINISHED'"
    stored = {run.info.run_id: run for run in home.runs(wanted)}
    cells = [(row, cell) for row in values["rows"] for cell in row["cells"]]
    assert {run["run_id"] for _, cell in cells for run in cell["runs"]} == set(stored)
    for row, cell in cells:
        (run,) = cell["runs"]
        data = stored[run["run_id"]].data
        shot = cell["shot"]
        rows = json.loads(home.artifact(stored[run["run_id"]], f"per_class_{shot}shot.json").read_text())
        classes = np.array([value for _, value, _ in rows["data"] if value is not None])
        over_classes = ttest_1samp(classes, 0).confidence_interval(0.95)
        assert cell["accuracy"] == {
            "mean": data.metrics[f"test/accuracy_{shot}shot"],
            "half_width": pytest.approx((over_classes.high - over_classes.low) / 2),
            "seeds": 1,
            "folds": 1,
            "interval_over": "classes",
            "episodes_half_width": pytest.approx(data.metrics[f"test/accuracy_ci95_{shot}shot"]),
            "needed": "one training says nothing of others: two more seeds would tell how much they differ",
        }
        assert row["keys"] == {key: value_of(data.tags, key) for key in ("backbone", "head", "distilled")}
        for name, cost in row["cost"].items():
            places = [f"{prefix}/{name}" for prefix in ("cost", "speed", "test")]
            assert cost["median"] == next(data.metrics[key] for key in places if key in data.metrics)
        assert {"train_episodes_per_second", "gpu_busy_percent", "waiting_for_data_percent"} <= set(row["cost"])
        assert (cell["gain"] is None) is (row["keys"]["distilled"] == "no")
    distilled, labels = job.student(True), job.student(False)
    digest = values["columns"][0]["protocol"]["data digest"]
    assert distilled.data.tags["litemkd.data_digest"] == digest
    assert distilled.data.tags["litemkd.protocol"].endswith(f"data {digest}")
    arrays = [
        np.load(home.artifact(run, "episode_accuracy_5shot.npy")).astype(float) for run in (distilled, labels)
    ]
    (gain,) = [c["gain"] for row, c in cells if c["gain"] and c["shot"] == 5]
    expected = paired_difference(*arrays)
    found = gain["mean"], gain["episodes_half_width"]
    assert found == pytest.approx((expected.mean, expected.half), abs=1e-6)
    assert values["published"]["rows"]


def test_teachers_have_rows_of_their_own(job: Job, home: Home) -> None:
    values = asked(home, "--no-log", "--stage", "teacher")
    (row,) = values["rows"]
    (stored,) = home.runs("tags.`litemkd.stage` = 'teacher'")
    assert row["keys"] == {
        "teacher.modalities": stored.data.params["teacher.modalities"],
        "teacher.head.name": stored.data.params["teacher.head.name"],
    }
    for cell in row["cells"]:
        assert cell["accuracy"]["mean"] == stored.data.metrics[f"test/accuracy_{cell['shot']}shot"]
        assert cell["gain"] is None


def test_the_page_of_results_has_what_the_store_says(job: Job, home: Home) -> None:
    spec = importlib.util.spec_from_file_location("results", ROOT / "docs" / "results.py")
    results = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(results)
    head, _, teacher, *students = results.table(results.rows_of("toy", home.folder))
    assert head.count("gain") == len(job.student(True).data.params["evaluation.shots"].split(","))
    assert [line.split(" |")[0] for line in students] == [
        "| conv4, trx, labels only",
        "| conv4, trx, distilled",
    ]
    assert teacher.startswith("| teacher (rgb, flow, depth, skeleton), trx | ")
    shown = f"{job.student(True).data.metrics['test/accuracy_5shot']:.2f} ± "
    assert students[1].split(" | ")[1].startswith(shown)


def value_of(tags: dict[str, str], key: str) -> str:
    value = tags[f"litemkd.{key}"]
    return {"true": "yes", "false": "no"}.get(value, value)


def test_everything_is_logged_and_written(home: Home) -> None:
    (run,) = home.made_by(lambda: home.must("compare", "--out", "made", "--runs", chosen(home)))
    assert run.data.tags["litemkd.stage"] == "compare"
    assert run.info.status == "FINISHED"
    assert run.data.params["compare.by"] == "backbone,head,distilled"
    assert run.data.metrics["compare/rows"] == 2
    written = {path.name for path in (home.folder / "made").iterdir()}
    logged = {one.path for one in home.client.list_artifacts(run.info.run_id)}
    tables = {f"comparison.{suffix}" for suffix in ("md", "csv", "tex", "html", "json", "txt")}
    shown = ("accuracy_against_cost", "per_class_gains", "learning_curves")
    pictures = {f"{name}.{suffix}" for name in shown for suffix in ("png", "svg")}
    assert written == tables | pictures
    assert logged == written | {"comparison_flat.json", "table_1.json", "table_2.json"}
    assert '<img src="accuracy_against_cost.svg"' in (home.folder / "made" / "comparison.html").read_text()
    # What was compared is not compared again.
    assert len(asked(home, "--no-log")["left_out"]) == 0


def chosen(home: Home) -> str:
    (run,) = home.runs("tags.`litemkd.stage` = 'student' and tags.`litemkd.distilled` = 'true'")
    return run.info.run_id[:10]


def test_words_that_choose(home: Home) -> None:
    assert not home.made_by(lambda: home.must("compare", "--no-log"))
    filtered = asked(
        home, "--no-log", "--filter", "tags.`litemkd.distilled` = 'true'", "--by", "loss.temperature"
    )
    (row,) = filtered["rows"]
    assert list(row["keys"]) == ["loss.temperature"]
    assert [column["shot"] for column in asked(home, "--no-log", "--shots", "1")["columns"]] == [1]
    assert asked(home, "--no-log", "--stage", "evaluate")["rows"]
    table = home.must("compare", "--no-log", "--shape", "published", "--format", "markdown").stdout
    assert "| Student | labels only | distilled |" in table


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--dataset", "nowhere"], "holds no tested run of nowhere"),
        (["--filter", "what is this"], "cannot be read"),
        (["--by", "los.temperature"], "loss.temperature"),
        (["--shots", "3"], "no run was tested so"),
        (["--runs", "zzz"], "--runs zzz: 0 of the runs"),
        (["--shape", "published", "--by", "head"], "needs `distilled`"),
    ],
)
def test_mistakes_are_told(home: Home, words: list[str], told: str) -> None:
    result = home.run("compare", *words)
    assert result.exit_code == 1
    assert told in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize("shots", ["②", "²", "0", "five"])
def test_a_number_of_shots_is_one(home: Home, shots: str) -> None:
    result = home.run("compare", "--shots", shots)
    assert result.exit_code == 2
    assert f"'{shots}' given; a number of shots such as 5 would do" in result.output


def test_runs_read_as_rows_are_those_that_mlflow_finds(job: Job, home: Home) -> None:
    client = home.client
    client.log_metric(job.parent.info.run_id, "odd/nan", float("nan"))
    client.log_metric(job.parent.info.run_id, "odd/inf", float("inf"))
    condition = "metrics.`test/accuracy` >= 0 and params.seed = '0'"
    with home.entered():
        records = read_runs("toy", filter_string=condition)
    stored: dict[str, Run] = {run.info.run_id: run for run in home.runs(condition)}
    assert {record.run_id for record in records} == set(stored)
    for record in records:
        data = stored[record.run_id].data
        assert (record.params, record.tags) == (data.params, data.tags)
        np.testing.assert_equal(dict(record.metrics), data.metrics)
        assert record.artifact_uri == stored[record.run_id].info.artifact_uri
