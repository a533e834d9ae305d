"""The documentation's site: built without a warning, without the network, readable on a phone and by keyboard."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.documentation.pages import ROOT
from tests.experiments.report.test_browser import CHROMIUM

pytest.importorskip("mkdocs", reason="needs the group 'docs'")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def test_nothing_is_asked_of_the_network(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 30
    for page in pages:
        loaded = re.findall(r'<(?:script|img|iframe|link)\b[^>]*?\b(?:src|href)="?(https?:[^" >]+)', page.read_text())
        assert not loaded, (page.name, loaded)


@pytest.fixture(scope="module")
def phone(site: Path) -> Iterator[object]:
    if CHROMIUM is None:
        pytest.skip("no Chromium found: install the package chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as engine:
        chromium = engine.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium.new_page(viewport={"width": 390, "height": 850})
        chromium.close()


@pytest.mark.parametrize("name", ["index", "tutorial", "environments/batch", "scenarios", "results", "api/solvers"])
def test_pages_fit_a_phone_and_ask_for_files_alone(site: Path, phone, name: str) -> None:
    asked: list[str] = []
    phone.on("request", lambda request: asked.append(request.url))
    phone.goto((site / f"{name}.html").as_uri())
    phone.wait_for_timeout(200)
    assert asked
    assert all(url.startswith(("file:", "data:", "blob:")) for url in asked), asked
    assert phone.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0


def test_a_page_is_found_by_search_and_reached_by_keyboard(site: Path, phone) -> None:
    phone.set_viewport_size({"width": 1280, "height": 850})
    phone.goto((site / "index.html").as_uri())
    phone.keyboard.press("Tab")
    assert phone.evaluate("document.activeElement.textContent.trim()") == "Skip to content"
    phone.keyboard.press("/")  # opens the search
    phone.keyboard.type("bid-price", delay=20)
    phone.wait_for_selector(".md-search-result__item a", timeout=10_000)
    phone.keyboard.press("ArrowDown")
    phone.keyboard.press("Enter")
    phone.wait_for_url(lambda url: "index.html" not in url, timeout=10_000)
    assert "bid-price" in phone.inner_text("article")
