"""What a user sees in MLflow's own pages after the main job, in a real browser.

Screenshots go to the folder named by LITEMKD_SCREENSHOTS, else to the test's temporary folder.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import psutil
import pytest

from litemkd.tracking.serving import PAGE
from litemkd.tracking.store.views import view_page
from tests.chromium import chromium, look, screenshots
from tests.helpers import free_port
from tests.job import ROOT, Job

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def page() -> Iterator[object]:
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1500, "height": 950})
        page.set_default_timeout(60_000)
        # MLflow's assistant opens itself at the first visit and takes a quarter of the window.
        seen = "mlflow.assistant.fab.autoOpenedOnFirstLoad_v1"
        page.add_init_script(f"localStorage.setItem('{seen}', 'true')")
        yield page


@pytest.fixture(scope="module")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return screenshots(tmp_path_factory.mktemp("screenshots"))


@pytest.fixture(scope="module")
def address(job: Job, page: object) -> Iterator[str]:
    """`litemkd ui` on the job's store, and its end by Ctrl-C."""
    words = ["--store", job.home.store, "--port", str(free_port())]
    with (job.home.folder / "ui.log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "litemkd", "ui", *words],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            cwd=job.home.folder,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    assert server.stdout is not None
    try:
        line = server.stdout.readline()
        assert line, (job.home.folder / "ui.log").read_text()
        children = psutil.Process(server.pid).children(recursive=True)
        yield f"{line.split()[-1].partition('/#')[0]}/#"
    finally:
        server.send_signal(signal.SIGINT)
        server.communicate(timeout=60)
    assert server.returncode == 0, (job.home.folder / "ui.log").read_text()
    assert not any(one.is_running() for one in children)


def experiment_of(job: Job) -> str:
    return job.home.client.get_experiment_by_name("litemkd/toy").experiment_id


def test_the_experiments_are_listed(job: Job, page, address: str, shots: Path) -> None:
    page.goto(address.removesuffix("/#") + PAGE)  # as the command printed it
    row = page.get_by_role("row").filter(has_text="litemkd/toy")
    row.get_by_text("Few-shot action recognition on toy").wait_for()
    row.get_by_text("litemkd.dataset").wait_for()
    page.screenshot(path=shots / "experiments.png")
    page.get_by_text("litemkd/toy").first.click()
    page.get_by_text("Training runs").first.wait_for()  # not the pages about chats


def test_runs_are_nested(job: Job, page, address: str, shots: Path) -> None:
    page.goto(f"{address}/experiments/{experiment_of(job)}/runs")
    name = job.parent.info.run_name
    page.get_by_text(name, exact=True).first.wait_for()
    # Children are folded away below their parent until it is opened.
    child = job.student(True).info.run_name
    if not page.get_by_text(child, exact=True).count():
        page.locator("[role=row]", has_text=name).get_by_role("button").first.click()
    page.get_by_text(child, exact=True).first.wait_for()
    page.screenshot(path=shots / "runs.png")


def test_a_runs_page(job: Job, page, address: str, shots: Path) -> None:
    run = job.student(True)
    base = f"{address}/experiments/{experiment_of(job)}/runs/{run.info.run_id}"
    page.goto(base)
    page.get_by_text("litemkd.distilled").first.wait_for()
    # What, on what, and what came out; where it stands among the runs, its data, its model and its teacher's.
    page.get_by_text(re.compile("distilled: .* on toy, 5-way 5-shot")).first.wait_for()
    tests = re.compile(r"On the test classes: .* % 5-shot, .* % 1-shot, over \d+ episodes")
    page.get_by_text(tests).first.wait_for()
    page.get_by_text(re.compile("Best on val: ")).first.wait_for()
    for link in (job.parent.info.run_name, f"evaluate {run.info.run_name}", "litemkd-toy-student"):
        page.get_by_role("link", name=link).first.wait_for()
    page.get_by_text(re.compile(r"toy \([0-9a-f]+\)")).first.wait_for()
    page.get_by_text("Logged models").first.wait_for()
    page.screenshot(path=shots / "run.png", full_page=True)
    page.goto(f"{base}/model-metrics")
    page.locator(".js-plotly-plot").first.wait_for()
    # Charts stand in a section for each first part of a metric's name, and are drawn when they come into view.
    page.mouse.move(600, 600)
    page.get_by_text(re.compile(r"cost\s*\(\d+\)")).first.wait_for()
    for chart in ("loss_kd", "best_accuracy"):
        for _ in range(100):
            if page.get_by_text(chart, exact=True).count():
                break
            page.mouse.wheel(0, 300)
            page.wait_for_timeout(200)
        page.get_by_text(chart, exact=True).first.wait_for()
    page.screenshot(path=shots / "run_charts.png")
    page.goto(f"{base}/artifacts")
    for picture in ("accuracy.png", "learning_curves.png", "confusion_5shot.png"):  # the first tells the result
        page.get_by_text(picture, exact=True).first.click()
        page.get_by_text(re.compile(f"Path: .*{picture[:3]}")).first.wait_for()
        page.locator("img[src*=blob], img[src*=artifact]").first.wait_for()
        page.wait_for_timeout(500)
        page.screenshot(path=shots / f"run_{picture}")
    page.get_by_text("validations.json", exact=True).first.click()
    page.get_by_text("View as table").first.wait_for()
    for column in ("episodes", "accuracy", "ci95"):
        page.get_by_role("columnheader", name=column).first.wait_for()
    page.screenshot(path=shots / "run_validations.png")


def test_two_runs_side_by_side(job: Job, page, address: str, shots: Path) -> None:
    runs = [job.student(False), job.student(True)]
    chosen = quote(json.dumps([run.info.run_id for run in runs]))
    page.goto(f"{address}/compare-runs?runs={chosen}&experiments={quote(json.dumps([experiment_of(job)]))}")
    page.get_by_text("Comparing 2 Runs from 1 Experiment").wait_for()
    for run in runs:
        page.get_by_text(run.info.run_name, exact=True).first.wait_for()
    page.locator(".js-plotly-plot").first.wait_for()
    page.screenshot(path=shots / "compare.png")
    page.get_by_text("Metrics", exact=True).last.scroll_into_view_if_needed()
    for run in runs:
        page.get_by_text(f"{run.data.metrics['test/accuracy_5shot']:g}", exact=True).first.wait_for(
            state="attached"
        )
    page.screenshot(path=shots / "compare_metrics.png")


def test_the_comparison_is_on_the_parents_page(job: Job, page, address: str, shots: Path) -> None:
    page.goto(f"{address}/experiments/{experiment_of(job)}/runs/{job.parent.info.run_id}")
    page.get_by_text("On the test classes:").first.wait_for()
    page.get_by_role("cell", name="student, distilled").first.wait_for()
    page.screenshot(path=shots / "distill.png")


def test_the_registered_model_has_a_champion(job: Job, page, address: str, shots: Path) -> None:
    page.goto(f"{address}/models/litemkd-toy-student")
    page.get_by_text("champion").first.wait_for()
    page.get_by_text("Version 2").first.wait_for()
    page.screenshot(path=shots / "registered_model.png")
    page.goto(f"{address}/models/litemkd-toy-student/versions/2")
    page.get_by_text("litemkd.val_accuracy").first.wait_for()
    page.get_by_text(re.compile("Accuracy on test, 5-shot")).first.wait_for()  # its card
    page.get_by_role("link", name=job.student(True).info.run_name).first.wait_for()
    page.screenshot(path=shots / "version.png")


def test_the_experiment_opens_on_the_columns_that_matter(job: Job, page, address: str, shots: Path) -> None:
    page.goto(address.removesuffix("/#") + view_page(experiment_of(job)))
    for column in ("val/accuracy", "test/accuracy", "litemkd.backbone"):
        page.get_by_role("columnheader", name=column, exact=True).first.wait_for()
    assert not page.get_by_text("Error loading shared view state").count()
    row = page.locator("[role=row]", has_text=job.parent.info.run_name)
    if not page.get_by_text(job.student(True).info.run_name, exact=True).count():
        row.get_by_role("button").first.click()
    page.get_by_text(job.student(True).info.run_name, exact=True).first.wait_for()
    page.screenshot(path=shots / "view.png")
    page.goto(f"{address}/experiments/{experiment_of(job)}/runs")  # as one comes there from the list
    page.get_by_role("link", name="Its runs with the columns that matter").first.wait_for()


def test_the_pages_of_report_and_show_fit(job: Job, page, shots: Path, tmp_path: Path) -> None:
    (tested,) = [
        run
        for run in job.of_stage("evaluate")
        if run.data.tags["mlflow.parentRunId"] == job.student(True).info.run_id
    ]
    shown = tmp_path / "show.html"
    job.home.must("show", "classes", "--output", str(shown))
    other = page.context.browser.new_page()
    for name, path in (("report", job.home.artifact(tested, "report.html")), ("show", shown)):
        look(other, path, str(shots / name))
