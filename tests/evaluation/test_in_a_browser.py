"""Report and card in a real browser: whether they can be read, hovered, and printed by anybody."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pixloop.config_file import parse_config
from pixloop.evaluation.evaluate import evaluate

pytestmark = pytest.mark.integration
Maker = Callable[..., Path]
PAGES = ("report.html", "model_card.html")
#: A study costs minutes and shows nothing else here.
QUICK = ["robustness.pictures=0", "explanations.pictures=0", "gate.minimum=0.5"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no chromium here")
    with playwright.sync_playwright() as running:
        opened = running.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def evaluated(make_bundle: Maker, make_dataset: Maker, tmp_path: Path) -> Path:
    config = parse_config({"task": "classification", "data": "."}, QUICK)
    evaluate(config, make_bundle(), make_dataset(), tmp_path / "out")
    return tmp_path / "out"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing_serious(browser: Any, evaluated: Path, name: str, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    # The page's own policy forbids the checker's script.
    context = browser.new_context(bypass_csp=True, color_scheme=scheme)
    page = context.new_page()
    page.goto((evaluated / name).as_uri())
    found = axe.Axe().run(page).response["violations"]
    assert {v["id"]: [n["html"] for n in v["nodes"]][:3] for v in found} == {}
    context.close()


@pytest.mark.parametrize("name", PAGES)
def test_nothing_is_asked_for_and_nothing_goes_wrong(
    browser: Any, evaluated: Path, name: str
) -> None:
    page = browser.new_page(viewport={"width": 360, "height": 740})
    asked: list[str] = []
    said: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto((evaluated / name).as_uri())
    page.wait_for_timeout(200)
    assert [url for url in asked if not url.startswith("data:")] == [(evaluated / name).as_uri()]
    assert said == []
    widths = "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    wide, seen = page.evaluate(widths)
    assert wide <= seen == 360
    page.close()


def test_marks_say_what_they_are(browser: Any, evaluated: Path) -> None:
    page = browser.new_page()
    page.goto((evaluated / "report.html").as_uri())
    tip = page.locator(".tip")
    plot = page.locator("#decisions svg").first
    mark = plot.locator("[data-tip]").last
    mark.scroll_into_view_if_needed()
    # What scrolls hides the tip, and is told of with the next frame.
    page.evaluate("() => new Promise(r => requestAnimationFrame(() => requestAnimationFrame(r)))")
    box = mark.bounding_box()
    # Beside it, as a finger hits it.
    page.mouse.move(box["x"] + box["width"] / 2 + 6, box["y"] + box["height"] / 2)
    assert "wrong" in tip.inner_text()
    page.mouse.move(0, 0)
    assert tip.inner_text() == ""
    page.keyboard.press("Tab")
    plot.focus()
    page.keyboard.press("ArrowRight")
    first = tip.inner_text()
    page.keyboard.press("ArrowRight")
    assert first != tip.inner_text() != ""
    page.keyboard.press("Escape")
    assert tip.inner_text() == ""
    page.close()


def test_touch_shows_them_too(browser: Any, evaluated: Path) -> None:
    context = browser.new_context(viewport={"width": 360, "height": 740}, has_touch=True)
    page = context.new_page()
    page.goto((evaluated / "report.html").as_uri())
    cell = page.locator(".matrix td.right").first
    cell.scroll_into_view_if_needed()
    cell.tap()
    assert "answered" in page.locator(".tip").inner_text()
    context.close()


def test_without_script_it_still_reads(browser: Any, evaluated: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((evaluated / "report.html").as_uri())
    assert page.locator("svg title").count() > 10
    assert page.get_by_role("heading", name="Decisions").is_visible()
    context.close()


def test_prints_on_a_few_sheets(browser: Any, evaluated: Path, tmp_path: Path) -> None:
    pdfium = pytest.importorskip("pypdfium2")
    sheets = {}
    for name in PAGES:
        page = browser.new_page()
        page.goto((evaluated / name).as_uri())
        page.pdf(path=tmp_path / "paper.pdf", prefer_css_page_size=True)
        page.close()
        with pdfium.PdfDocument(tmp_path / "paper.pdf") as document:
            sheets[name] = len(document)
            width, height = document[0].get_size()
        assert (round(width), round(height)) == (595, 842)  # A4, in points
    assert 2 <= sheets["report.html"] <= 12
    assert sheets["model_card.html"] <= 2
