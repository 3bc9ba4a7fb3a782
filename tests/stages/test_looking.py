"""Reports of a student: with every evaluation, by `litemkd report`, and in parts by `litemkd show`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.job import REPORT, Home, Job


@pytest.fixture(scope="module")
def home(job: Job, tmp_path_factory: pytest.TempPathFactory) -> Home:
    return job.home.copy(tmp_path_factory.mktemp("looking"))


def test_every_test_of_a_student_has_a_report(job: Job) -> None:
    evaluations = [run for run in job.of_stage("evaluate") if run.data.tags.get("litemkd.distilled")]
    assert len(evaluations) == 2
    for run in evaluations:
        html = job.home.artifact(run, "report.html").read_text(encoding="utf-8")
        value, half = run.data.metrics["test/accuracy_5shot"], run.data.metrics["test/accuracy_ci95_5shot"]
        assert f"{value:.2f} ± {half:.2f} % of 5-way 5-shot queries, over 100 episodes" in html
        assert all(f'id="{name}"' in html for name in ("result", "episodes", "mistakes", "map", "classes"))
        assert "expert skeleton" in html  # the teacher and all its modalities have a map
        assert "Which frames meet" in html


def test_a_report_by_itself_is_the_artifact_of_its_run(home: Home) -> None:
    words = ["report", "--set", "evaluation.report=false"]
    (run,) = home.made_by(lambda: home.must(*words))
    page = home.folder / "report.html"
    assert page.read_bytes() == home.artifact(run, "report.html").read_bytes()


def test_reports_are_switched_off(home: Home) -> None:
    words = ("evaluate", *REPORT, "--set", "evaluation.report=false")
    (run,) = home.made_by(lambda: home.must(*words))
    assert not home.artifact(run, "report.html").exists()
    assert home.artifact(run, "confusion_5shot.png").exists()


def test_pictures_are_switched_off(home: Home) -> None:
    (run,) = home.made_by(lambda: home.must("evaluate", *REPORT, "--set", "evaluation.pictures=false"))
    assert home.artifact(run, "report.html").exists()
    assert not list(home.artifact(run, ".").glob("*.png"))


def test_parts_are_shown_without_a_run(home: Home) -> None:
    def shown(*words: str) -> str:
        assert home.made_by(lambda: home.must("show", *words, "--output", "some.html")) == []
        return (home.folder / "some.html").read_text(encoding="utf-8")

    classes = shown("classes", "--model", "no such model")  # which is not looked for
    assert 'id="classes"' in classes
    assert 'id="map"' not in classes
    assert classes.count('<div class="card">') == 2 * 19
    episode = shown("episode", "--episode", "3")
    assert episode.count("Episode 3: ") == 5


def test_mistakes_are_told(home: Home, tmp_path: Path) -> None:
    done = home.run("show", "episode", "--episode", "100", "--output", str(tmp_path / "x.html"))
    assert done.exit_code == 1
    assert "--episode: 100 given; 0 to 99 would do" in done.output
    assert list(tmp_path.iterdir()) == []
