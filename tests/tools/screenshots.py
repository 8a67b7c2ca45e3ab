"""Pictures of reports and model cards, to be looked at: desktop, phone, dark, and on paper.

    python tests/tools/screenshots.py FOLDER PROJECT [PROJECT ...]

Writes FOLDER/<project>-<report|card>-<desktop|phone|dark|print-NN>.png.
"""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pypdfium2
from playwright.sync_api import Browser, sync_playwright

from pixloop.project import Project

DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 360, "height": 740}
#: Of each kind: what the browser is told.
SCREENS: dict[str, dict[str, Any]] = {
    "desktop": {"viewport": DESKTOP},
    "phone": {"viewport": PHONE, "device_scale_factor": 2, "has_touch": True},
    "dark": {"viewport": DESKTOP, "color_scheme": "dark"},
}


@contextmanager
def open_browser() -> Iterator[Browser]:
    """A headless Chromium; the one that the system has."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as running:
        browser = running.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


def print_page(browser: Browser, page: Path, target: Path) -> int:
    """Print a page to a PDF as its own style says; how many sheets it takes."""
    tab = browser.new_page()
    tab.goto(page.as_uri())
    tab.pdf(path=target, prefer_css_page_size=True, print_background=True)
    tab.close()
    with pypdfium2.PdfDocument(target) as document:
        return len(document)


def take(browser: Browser, page: Path, folder: Path, name: str) -> list[Path]:
    """Every picture of a page."""
    made = []
    for kind, told in SCREENS.items():
        context = browser.new_context(**told)
        tab = context.new_page()
        tab.goto(page.as_uri())
        made.append(folder / f"{name}-{kind}.png")
        tab.screenshot(path=made[-1], full_page=True)
        context.close()
    paper = folder / f"{name}.pdf"
    print_page(browser, page, paper)
    with pypdfium2.PdfDocument(paper) as document:
        for number, sheet in enumerate(document, 1):
            made.append(folder / f"{name}-print-{number:02}.png")
            sheet.render(scale=1.3).to_pil().save(made[-1])
    return made


def main() -> None:
    folder, *projects = map(Path, sys.argv[1:])
    folder.mkdir(parents=True, exist_ok=True)
    with open_browser() as browser:
        for each in projects:
            report = Project.open(each).report()
            for kind, page in (("report", report), ("card", report.with_name("model_card.html"))):
                if page.is_file():
                    for picture in take(browser, page, folder, f"{each.name}-{kind}"):
                        print(picture)


if __name__ == "__main__":
    main()
