"""How long the pages of a project that has seen much take to answer.

    python benchmarks/web/run.py [PROJECT] [--pictures 100000] [--versions 200] [--runs 200]

PROJECT is made where it is missing. Every page is asked for once by a server that has just started,
and then many times; and by a real browser, which says when something was first to be seen. Writes
results.json and RESULTS.md beside this file.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from large_project import make_project
from playwright.sync_api import sync_playwright

from pixloop.project import Project

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "serving"))
from hardware import describe_hardware  # noqa: E402

#: Parts of pages that a browser asks for by itself count with their page.
PAGES = ("/", "/try", "/models", "/models/1", "/models/compare?a=1&b=2", "/runs", "/runs/{run}",
         "/monitoring", "/review", "/data")  # fmt: skip
_ROUNDS = 20
#: How long after a page the browser's own requests for its parts are still waited for.
_SETTLE_MS = 1500
_PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? null"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("project", nargs="?", type=Path, default=Path("pixloop-large"))
    parser.add_argument("--pictures", type=int, default=100_000)
    parser.add_argument("--versions", type=int, default=200)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--out", type=Path, default=HERE)
    given = parser.parse_args()
    if not given.project.exists():
        make_project(given.project, given.pictures, given.versions, given.runs)
    project = Project.open(given.project)
    pages = [page.format(run=project.runs()[0].id) for page in PAGES]
    results = {
        "hardware": describe_hardware(),
        "project": _count(project),
        "pages": {page: _measure(given.project, page) for page in pages},
    }
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "results.json").write_text(json.dumps(results, indent=2) + "\n")
    (given.out / "RESULTS.md").write_text(_table(results, PAGES))
    print(_table(results, PAGES))


def _count(project: Project) -> dict[str, int]:
    look = project.monitor().look()
    return {
        "captured predictions": look.seen,
        "versions": len(project.registry.list()),
        "runs": len(project.runs()),
        "pictures in the review queue": sum(project.review.counts().values()),
    }


def _measure(project: Path, page: str) -> dict[str, Any]:
    """A page by a server of its own: the first answer, later ones, and what a browser sees."""
    with _serving(project) as address:
        first = _ask(address + page)
        later = [_ask(address + page) for _ in range(_ROUNDS)]
        painted, parts = _browse(address, page)
    return {
        "first_ms": first,
        "median_ms": statistics.median(later),
        "worst_ms": max(later),
        "first_content_ms": painted,
        "slowest_part_ms": max(parts.values(), default=0.0),
        "parts": parts,
    }


def _ask(address: str) -> float:
    began = time.perf_counter()
    httpx.get(address, timeout=60).raise_for_status()
    return round(1000 * (time.perf_counter() - began), 1)


def _browse(address: str, page: str) -> tuple[float | None, dict[str, float]]:
    """When something is first to be seen, and how long each part takes that the page asks for."""
    parts: dict[str, float] = {}
    program = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as running:
        browser = running.chromium.launch(executable_path=program, args=["--no-sandbox"])
        tab = browser.new_page()
        tab.goto(address + "/static/icon.svg")  # the browser's own start does not count

        def note(request: Any) -> None:
            if request.resource_type in ("xhr", "fetch"):
                timing = request.timing
                parts[request.url.removeprefix(address)] = round(timing["responseEnd"], 1)

        tab.on("requestfinished", note)
        tab.goto(address + page)
        tab.wait_for_timeout(_SETTLE_MS)
        painted = tab.evaluate(_PAINT)
        browser.close()
    return (None if painted is None else round(painted, 1)), parts


@contextmanager
def _serving(project: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "pixloop", "web", "--json", "--no-browser", "--port", "0"]
    with subprocess.Popen(
        [*command, "-C", str(project)], stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        text = ""
        for line in server.stdout:
            text += line
            if line.startswith("}"):
                break
        try:
            yield json.loads(text)["url"].rstrip("/")
        finally:
            server.terminate()


def _table(results: dict[str, Any], names: tuple[str, ...]) -> str:
    hardware, counts = results["hardware"], results["project"]
    lines = [
        "# The pages of a project that has seen much",
        "",
        ", ".join(f"{number:,} {what}" for what, number in counts.items())
        + f". {hardware['processor']}, {hardware['cores']} cores; times in milliseconds.",
        "",
        "`first`: the first request to a server that has just started. `later`: median of "
        f"{_ROUNDS}; `worst` of these. `seen`: first contentful paint in Chromium. `part`: the "
        "slowest part that the page then asks for by itself.",
        "",
        "| page | first | later | worst | seen | part |",
        "|---|---|---|---|---|---|",
    ]
    for name, found in zip(names, results["pages"].values(), strict=True):
        columns = ("first_ms", "median_ms", "worst_ms", "first_content_ms", "slowest_part_ms")
        shown = ("–" if found[c] is None else f"{found[c]:.0f}" for c in columns)
        lines.append(f"| `{name}` | " + " | ".join(shown) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
