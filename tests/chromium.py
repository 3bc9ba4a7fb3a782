"""A headless Chromium for tests of what people see; pictures of the pages go to LITEMKD_SCREENSHOTS."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]

WIDTHS = {
    "phone": (390, 844),
    "desk": (1280, 900),
    "wide": (1500, 950),
}  # wide: the site has its contents beside
_MISFITS = Path(__file__).with_name("misfits.js").read_text(encoding="utf-8")


def misfits(page: Any) -> list[str]:
    """What is wrong to the eye: wider than the window, on one another, a picture that is broken."""
    return page.evaluate(_MISFITS)


def missing(reason: str) -> None:
    """Skips, unless the browser is required."""
    if os.environ.get("LITEMKD_REQUIRE_BROWSER") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@contextmanager
def chromium() -> Iterator[Any]:
    """A playwright browser."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("playwright is not installed; pip install -e '.[test]' brings it")
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        missing("no chromium on the search path; on Debian: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield browser
        browser.close()


def look(page: Any, file: Path, name: str, **options: Any) -> None:
    """Opens a file at each width, asserts that all of it fits, and keeps pictures `<name>_<width>.png`."""
    page.goto(file.as_uri())
    for width, (across, down) in WIDTHS.items():
        page.set_viewport_size({"width": across, "height": down})
        assert misfits(page) == [], f"{file.name}, {across} pixels wide"
        if name:
            page.screenshot(path=f"{name}_{width}.png", **options)


def screenshots(otherwise: Path) -> Path:
    """Where pictures of pages are kept: LITEMKD_SCREENSHOTS, else a folder of the test's own."""
    folder = Path(os.environ.get("LITEMKD_SCREENSHOTS") or otherwise)
    folder.mkdir(parents=True, exist_ok=True)
    return folder
