"""Pictures of the pages, to be looked at: every page, desktop and phone, light and dark.

    python -m tests.tools.page_screenshots FOLDER PROJECT [PROJECT ...]

Writes FOLDER/<project>-<page>-<desktop|desktop-dark|phone|phone-dark>.png.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser
from tests.tools.screenshots import DESKTOP, PHONE, open_browser

from pixloop.project import Project
from pixloop.run_summary import output_of

_PHONE = {"viewport": PHONE, "device_scale_factor": 2, "has_touch": True, "is_mobile": True}
#: Of each kind: what the browser is told.
SCREENS: dict[str, dict[str, Any]] = {
    "desktop": {"viewport": DESKTOP},
    "desktop-dark": {"viewport": DESKTOP, "color_scheme": "dark"},
    "phone": _PHONE,
    "phone-dark": {**_PHONE, "color_scheme": "dark"},
}
#: Parts of a page are asked for after it.
_SETTLE_MS = 1500


@contextmanager
def serve_pages(project: Path) -> Iterator[str]:
    """``pixloop web`` as a user starts it; its address, without a slash at the end."""
    command = [sys.executable, "-m", "pixloop", "web", "--json", "--no-browser", "--port", "0"]
    with subprocess.Popen(
        [*command, "-C", str(project)], stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        lines = []
        for line in server.stdout:
            lines.append(line)
            if line.startswith("}"):
                break
        try:
            yield json.loads("".join(lines))["url"].rstrip("/")
        finally:
            server.terminate()


def pages_of(project: Project) -> dict[str, str]:
    """The pages that there are to be seen, by the names of their pictures."""
    pages = {
        "loop": "/",
        "try": "/try",
        "models": "/models",
        "runs": "/runs",
        "monitoring": "/monitoring",
        "review": "/review",
        "data": "/data",
    }
    if versions := project.registry.list():
        pages["model"] = f"/models/{versions[0].version}"
        if len(versions) > 1:
            pages["compare"] = f"/models/compare?a={versions[1].version}&b={versions[0].version}"
    if runs := project.runs():
        pages["run"] = f"/runs/{runs[0].id}"
    return pages


def pictures_of(project: Project, count: int, folder: Path) -> list[Path]:
    """Some test pictures, as files to be dropped."""
    from pixloop.data.dataset import Dataset

    run = next(run for run in project.runs() if run.status == "done")
    test = Dataset.open(output_of(run, "Prepare", "dataset")).split("test")
    made = []
    for number in range(min(count, len(test))):
        row = test.read(number * max(len(test) // count, 1))
        made.append(folder / Path(row.path).name)
        made[-1].write_bytes(row.image)
    return made


def take(browser: Browser, project: Path, folder: Path) -> Iterator[Path]:
    """Every picture of a project's pages."""
    opened = Project.open(project)
    with serve_pages(project) as address:
        for kind, told in SCREENS.items():
            context = browser.new_context(**told)
            tab = context.new_page()
            for name, path in pages_of(opened).items():
                tab.goto(address + path)
                dropped = []
                if name == "try" and opened.runs():
                    dropped = pictures_of(opened, 3, folder)
                    tab.locator("input[type=file]").first.set_input_files(dropped)
                tab.wait_for_timeout(_SETTLE_MS)
                file = folder / f"{project.name}-{name}-{kind}.png"
                tab.screenshot(path=file, full_page=True)
                for each in dropped:
                    each.unlink()
                yield file
            context.close()


def main() -> None:
    folder, *projects = map(Path, sys.argv[1:])
    folder.mkdir(parents=True, exist_ok=True)
    with open_browser() as browser:
        for each in projects:
            for picture in take(browser, each, folder):
                print(picture)


if __name__ == "__main__":
    main()
