"""The site of docs/ builds without a warning, needs no other host, and can be searched without a server."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chromium import chromium, look, misfits, screenshots

ROOT = Path(__file__).parents[1]
PAGES = sorted(path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md"))
SHOWN = {"index", "start", "toy", "distillation", "cli", "config", "losses", "heads", "results"}
SHOWN |= {"reliability", "team"}  # pictures are kept of these

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("furo") is None, reason="pip install -e '.[docs]' brings what builds the site"
)


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built strictly: no dead link or anchor, no page outside the navigation."""
    folder = tmp_path_factory.mktemp("site")
    words = ["-W", "--keep-going", "-q", "-d", str(folder / "trees"), "docs", str(folder / "html")]
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *words], cwd=ROOT, capture_output=True, text=True, timeout=540
    )
    assert done.returncode == 0, done.stderr
    return folder / "html"


def test_every_page_is_there_and_can_be_searched(site: Path) -> None:
    index = (site / "searchindex.js").read_text(encoding="utf-8")
    (names,) = re.findall(r'"?docnames"?:\s*\[(.*?)\]', index)
    assert {f"{name}.md" for name in re.findall(r'"([^"]+)"', names)} >= {str(path) for path in PAGES}
    # A script and not data that a page would have to fetch, which a browser forbids where there is no server.
    assert index.startswith("Search.setIndex(")
    for path in PAGES:
        assert (site / path.with_suffix(".html")).is_file()


def test_nothing_is_loaded_from_other_hosts(site: Path) -> None:
    loading = re.compile(
        r"<(?:script|img|link|iframe|source|video)\b[^>]*?\b(?:src|href)=[\"'](?:https?:)?//[^>]*>"
    )
    for path in site.rglob("*.html"):
        found = loading.findall(path.read_text(encoding="utf-8"))
        assert found == [], path.relative_to(site)
    for path in site.rglob("*.css"):
        assert not re.search(r"(?:@import|url\()\s*[\"']?(?:https?:)?//", path.read_text(encoding="utf-8")), (
            path
        )


def test_docstrings_are_read_as_they_are_meant(site: Path) -> None:
    page = (site / "api" / "heads.html").read_text(encoding="utf-8")
    assert 'id="litemkd.models.heads.base.Head.match"' in page
    assert '<code class="docutils literal notranslate"><span class="pre">match_parts</span></code>' in page


@pytest.mark.browser
def test_pages_fit_a_desk_and_a_phone(site: Path, tmp_path: Path) -> None:
    folder = screenshots(tmp_path)
    with chromium() as browser:
        page = browser.new_page()
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        for path in sorted(site.rglob("*.html")):
            look(page, path, str(folder / f"site_{path.stem}") if path.stem in SHOWN else "")
        assert {url.partition(":")[0] for url in asked} <= {"file", "data"}


MISFITS = {  # what is said of pages
    "<main><div style='width: 800px'>x</div></main>": "wider than the window: div",
    "<main><div style='overflow-x: auto'><div style='width: 800px'>x</div></div></main>": None,
    "<img alt='a cat' src='gone.png'>": "a broken picture: a cat",
    "<section><h2>x</h2><p style='margin-top: -3em'>y</p></section>": "on one another: h2",
    "<p class='toc-drawer'>x</p><i class='main'><p class='content' style='margin: -3em'>y": "on one another: p",
    "<main><section><h2>x</h2><p>y</p></section></main>": None,
}


@pytest.mark.browser
def test_what_does_not_fit_is_seen(tmp_path: Path) -> None:
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 390, "height": 844})
        for markup, said in MISFITS.items():
            (tmp_path / "page.html").write_text(f"<!doctype html>{markup}", encoding="utf-8")
            page.goto((tmp_path / "page.html").as_uri())
            found = misfits(page)
            assert any(said in line for line in found) if said else found == [], markup


@pytest.mark.browser
def test_the_search_finds_without_a_server(site: Path, tmp_path: Path) -> None:
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto((site / "search.html").as_uri() + "?q=distillation")
        page.locator("#search-results li a", has_text="Losses").first.wait_for(timeout=20_000)
        page.screenshot(path=screenshots(tmp_path) / "site_search.png")
