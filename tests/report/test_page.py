"""The report's page: all of it in one file, what comes from data escaped, legible at two widths."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from litemkd.evaluation.accuracy import Evaluation
from litemkd.evaluation.looks import Look
from litemkd.report.page import (
    Page,
    Strip,
    classes_section,
    episode_section,
    frame_pictures,
    map_section,
    mistakes_section,
    page_html,
    result_section,
)
from tests.chromium import WIDTHS, chromium, look, screenshots

EVIL = '<script>window.broken = 1</script><img src=x onerror="window.broken = 2">'
CLASSES = (EVIL, "a\"b'c & d", "a_long_name_" * 8, "plain")


@pytest.fixture(scope="module")
def html() -> str:
    rng = np.random.default_rng(0)
    clip = rng.integers(0, 256, (8, 64, 96, 3), np.uint8)
    confusion = np.array([[8, 2, 0, 0], [0, 10, 0, 0], [5, 5, 0, 0], [0, 0, 0, 0]])
    evaluation = Evaluation(2, np.full(10, 50.0), confusion, CLASSES, 1.0)
    look = Look(
        7,
        CLASSES,
        np.arange(8),
        np.repeat(np.arange(4), 2),
        9,
        0,
        np.array([1.0, 3.0, -2.0, 0.5]),
        rng.random((8, 8, 8)),
        np.array([0.5, -1, 2, 0, 0, 0, 0, 0]),
    )
    sections = [
        result_section(evaluation, 4),
        episode_section([(f"{EVIL}/{EVIL}", look, clip, np.repeat(clip[None], 8, 0))]),
        mistakes_section([Strip(frame_pictures(clip), EVIL, f"mostly taken for {EVIL}")]),
        map_section({EVIL: rng.random((9, 2))}, np.arange(9) % 4, CLASSES, ""),
        classes_section({name: [(EVIL, clip)] for name in CLASSES}),
    ]
    return page_html(Page(EVIL, [f"data set {EVIL}"], sections))


class Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_everything_is_in_the_file_and_nothing_of_the_data_is_markup(html: str) -> None:
    parser = Elements()
    parser.feed(html)
    assert "script" not in {tag for tag, _ in parser.found}
    assert not [name for _, attributes in parser.found for name in attributes if name.startswith("on")]
    assert all(one["src"].startswith("data:image/") for tag, one in parser.found if tag == "img" and one["src"])
    assert not re.search(r"https?://|url\(", html)
    policy = next(one["content"] for tag, one in parser.found if one.get("http-equiv"))
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def test_figures_are_those_of_the_evaluation(html: str) -> None:
    assert "50.00 ± 0.00 % of 4-way 2-shot queries, over 10 episodes" in html
    assert "guessing gives 25.0 %" in html
    shares = re.findall(r'class="number">([\d.]+) %', html)
    assert shares == ["0.0", "80.0", "100.0"]  # by class, the hardest first; one was never asked for
    assert "named a&#34;b&#39;c &amp; d" in html
    assert re.findall(r"<figcaption>(.*?)</figcaption>", html)[:3] == ["+0.50", "-1.00", "+2.00"]


@pytest.mark.browser
def test_a_browser_shows_it_at_all_widths_without_a_network(html: str, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(html, encoding="utf-8")
    asked, told = list[str](), list[str]()
    with chromium() as browser:
        page = browser.new_page()
        page.on("request", lambda one: asked.append(one.url))
        page.on("console", lambda one: told.append(one.text))
        look(page, path, str(screenshots(tmp_path) / "report_hostile"), full_page=True)
        assert page.evaluate("window.broken") is None
        assert page.locator("h1").inner_text() == EVIL
        for width, _ in WIDTHS.values():
            page.set_viewport_size({"width": width, "height": 900})
            sizes = page.locator(".strip img").evaluate_all("all => all.map(one => one.clientWidth)")
            assert min(sizes) >= 60
            names = page.locator(".bars > span:first-child").evaluate_all(
                "all => all.map(one => one.clientWidth)"
            )
            assert min(names) >= 140  # of classes, so that they are not cut to pieces
    assert [url for url in asked if not url.startswith(("data:", "file:"))] == []
    assert told == []
