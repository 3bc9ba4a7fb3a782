"""What a user sees in MLflow's own pages after the main job, in a real browser.

Screenshots go to the folder named by LITEMKD_SCREENSHOTS, else to the test's temporary folder.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.job import Job

pytestmark = pytest.mark.browser
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


def missing(reason: str) -> None:
    if os.environ.get("LITEMKD_REQUIRE_BROWSER") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("playwright is not installed; pip install -e '.[test]' brings it")
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        missing("no chromium on the search path; on Debian: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        page = browser.new_page(viewport={"width": 1500, "height": 950})
        page.set_default_timeout(60_000)
        yield page
        browser.close()


@pytest.fixture(scope="module")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    wanted = os.environ.get("LITEMKD_SCREENSHOTS")
    folder = Path(wanted) if wanted else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def address(job: Job, page: object) -> Iterator[str]:
    """`mlflow ui` on the job's store, as the last line of the job says, and its end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = (job.home.folder / "ui.log").open("w")
    words = ["--workers", "1", "--port", str(port), "--backend-store-uri", job.home.store]
    server = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "ui", *words],
        cwd=job.home.folder,
        env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        end = time.monotonic() + 120
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                    break
            except OSError:
                assert server.poll() is None, (job.home.folder / "ui.log").read_text()
                assert time.monotonic() < end
                time.sleep(0.3)
        yield f"http://127.0.0.1:{port}/#"
    finally:
        os.killpg(server.pid, signal.SIGKILL)  # the group is this server's own
        server.wait()
        log.close()


def experiment_of(job: Job) -> str:
    return job.home.client.get_experiment_by_name("litemkd/toy").experiment_id


def test_the_experiments_are_listed(job: Job, page, address: str, shots: Path) -> None:
    page.goto(f"{address}/experiments")
    page.get_by_text("litemkd/toy").first.wait_for()
    page.screenshot(path=shots / "experiments.png")


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
    page.get_by_text("litemkd-toy-student").first.wait_for()
    page.screenshot(path=shots / "run.png")
    page.goto(f"{base}/model-metrics")
    page.locator(".js-plotly-plot").first.wait_for()
    # Charts stand in a section for each first part of a metric's name, and are drawn when they come into view.
    page.mouse.move(600, 600)
    for chart in ("loss_kd", "best_accuracy"):
        for _ in range(100):
            if page.get_by_text(chart, exact=True).count():
                break
            page.mouse.wheel(0, 300)
            page.wait_for_timeout(200)
        page.get_by_text(chart, exact=True).first.wait_for()
    page.screenshot(path=shots / "run_charts.png")
    page.goto(f"{base}/artifacts")
    for picture in ("learning_curves.png", "confusion_5shot.png"):
        page.get_by_text(picture, exact=True).first.click()
        page.get_by_text(re.compile(f"Path: .*{picture[:3]}")).first.wait_for()
        page.locator("img[src*=blob], img[src*=artifact]").first.wait_for()
        page.wait_for_timeout(500)
        page.screenshot(path=shots / f"run_{picture}")


def test_the_comparison_is_on_the_parents_page(job: Job, page, address: str, shots: Path) -> None:
    page.goto(f"{address}/experiments/{experiment_of(job)}/runs/{job.parent.info.run_id}")
    page.get_by_role("cell", name="student, distilled").first.wait_for()
    page.screenshot(path=shots / "distill.png")


def test_the_registered_model_has_a_champion(job: Job, page, address: str, shots: Path) -> None:
    page.goto(f"{address}/models/litemkd-toy-student")
    page.get_by_text("champion").first.wait_for()
    page.get_by_text("Version 2").first.wait_for()
    page.screenshot(path=shots / "registered_model.png")
    page.goto(f"{address}/models/litemkd-toy-student/versions/2")
    page.get_by_text("litemkd.val_accuracy").first.wait_for()
    page.screenshot(path=shots / "version.png")
