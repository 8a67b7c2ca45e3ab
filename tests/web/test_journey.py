"""A person's way through all pages, on real trained models: from a wrong answer to a new endpoint.

The models are those of the demos; where the demos were run in this checkout before, they are
copied from there.
"""

import json
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from pixloop.data.dataset import Dataset
from pixloop.demo import run_demo
from pixloop.project import Project
from pixloop.run_summary import output_of
from pixloop.web.site import Site

pytestmark = [pytest.mark.slow, pytest.mark.integration, pytest.mark.timeout(1500)]

ROOT = Path(__file__).parents[2]
#: What a second run does otherwise; the rest of it need not be good, it must be another version.
SETTINGS = {
    "digits": {"training.epochs": "5", "robustness.pictures": "0", "explanations.pictures": "0"},
    "shapes": {
        "training.epochs": "7",
        "gate.minimum": "0",
        "robustness.pictures": "0",
        "explanations.pictures": "0",
    },
}
_RUN_MS = 900_000
expect.set_options(timeout=30_000)  # other tests may be at work
OPEN = "key => document.getElementById(`section-${key}`).open = true"


def demo(name: str, folder: Path) -> Project:
    """A demo's project, copied or made, on a port of its own."""
    made = ROOT / {"digits": "pixloop-demo", "shapes": "pixloop-shapes"}[name]
    if (made / ".pixloop" / "registry" / "registry.db").is_file():
        shutil.copytree(made, folder, symlinks=True)
    else:
        run_demo(name, str(folder))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    file = folder / "pixloop.yaml"
    text = re.sub(r"^  (# )?port: (8080|0)\b", f"  port: {port}", file.read_text(), flags=re.M)
    file.write_text(re.sub(r"^  (# )?follow_s: [\d.]+", "  follow_s: 1.0", text, flags=re.M))
    project = Project.open(folder)
    assert project.config.serving.port == port
    return project


@pytest.fixture(params=["digits", "shapes"])
def project(request, tmp_path) -> Iterator[Project]:
    made = demo(request.param, tmp_path / request.param)
    yield made
    jobs = Site(made.folder).jobs
    for job in jobs.list():
        jobs.stop(job)  # a server outlives the pages


@pytest.fixture
def name(project) -> str:
    return project.folder.name


@pytest.fixture
def address(project) -> Iterator[str]:
    """``pixloop web``, as a user starts it."""
    command = [sys.executable, "-m", "pixloop", "web", "--json", "--no-browser", "--port", "0"]
    with subprocess.Popen(command, cwd=project.folder, stdout=subprocess.PIPE, text=True) as server:
        lines = iter(server.stdout.readline, "}\n")
        yield json.loads("".join(lines) + "}")["url"].rstrip("/")
        server.terminate()


@pytest.fixture
def tab(browser: Browser, address: str) -> Iterator[Page]:
    """A tab that may ask nobody but the pages' server."""
    context = browser.new_context(base_url=address, viewport={"width": 1280, "height": 900})
    wrong: list[str] = []

    def look(request):
        if not request.url.startswith((address, "blob:", "data:")):
            wrong.append(request.url)

    page = context.new_page()
    page.on("request", look)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    yield page
    context.close()
    assert not wrong


def test_from_a_wrong_answer_to_a_new_endpoint(tab, project, name, tmp_path):
    picture, said = a_test_picture(project, tmp_path)
    start_the_server(tab)
    link = try_and_object(tab, picture, said)
    answer_in_review(tab, link, said)
    run_again(tab, SETTINGS[name])
    compare(tab)
    approve_and_see_it_served(tab)
    look_at_the_rest(tab)


def a_test_picture(project: Project, folder: Path) -> tuple[Path, str]:
    """A picture that the model has not learned from, and a class that it does not show."""
    dataset = Dataset.open(output_of(project.runs()[0], "Prepare", "dataset"))
    row = dataset.split("test").read(3)
    file = folder / Path(row.path).name
    file.write_bytes(row.image)
    number = row.label if row.objects is None else int(row.objects.labels[0])
    return file, dataset.info.classes[number - 1]


def start_the_server(tab: Page) -> None:
    tab.goto("/models")
    check_access(tab)
    tab.get_by_role("link", name="Version 1").first.click()
    tab.get_by_role("button", name="Approve").click()
    expect(tab.get_by_text("It is the champion already").first).to_be_visible(timeout=60_000)
    tab.get_by_role("button", name="Start the server").click()
    served(tab, "1")
    check_access(tab)


def served(tab: Page, version: str) -> None:
    endpoint = tab.locator("#endpoint")
    expect(endpoint).to_have_attribute("data-state", "serving", timeout=120_000)
    expect(endpoint).to_contain_text(f"serves version {version}", timeout=120_000)


def try_and_object(tab: Page, picture: Path, said: str) -> str:
    """Ask the server, and say that it is wrong; where review shows the picture."""
    tab.goto("/try")
    tab.get_by_label("The server on this machine").check()
    tab.set_input_files("#files", picture)
    card = tab.locator(".tried").first
    expect(card.locator(".answer-note")).to_contain_text(":1", timeout=60_000)
    if tab.locator("#try").get_attribute("data-task") == "detection":
        expect(card.locator("svg rect").first).to_be_visible()
        card.get_by_text("This is wrong").click()
        card.get_by_role("button", name="The boxes are wrong").click()
    else:
        card.get_by_text("This is wrong").click()
        card.get_by_placeholder("Type to search").fill(said)
        card.get_by_role("button", name="Send to review").click()
    link = card.get_by_role("link", name="Open it in review")
    expect(link).to_be_visible()
    check_access(tab)
    return str(link.get_attribute("href"))


def answer_in_review(tab: Page, link: str, said: str) -> None:
    tab.goto("/review")
    expect(tab.locator("main")).to_contain_text("reported", ignore_case=True)
    check_access(tab)
    tab.goto(link)
    expect(tab.locator("#work")).to_be_visible()
    expect(tab.locator("#reasons")).to_contain_text("wrong")
    if tab.locator("#boxes").count():
        draw_a_box(tab, said)
    check_access(tab)
    tab.keyboard.press("Enter")
    expect(tab.locator("#end")).to_be_visible()
    tab.keyboard.press("u")  # and once more
    expect(tab.locator("#work")).to_be_visible()
    tab.wait_for_timeout(500)
    if tab.locator("#boxes").count() == 0:
        tab.get_by_role("group", name="Classes").get_by_text(said, exact=True).click()
    else:
        tab.keyboard.press("Enter")
    expect(tab.locator("#end")).to_be_visible()
    tab.goto("/review")
    expect(tab.locator("main")).to_contain_text("not yet learned from")


def draw_a_box(tab: Page, said: str) -> None:
    tab.get_by_role("group", name="Classes").get_by_text(said, exact=True).click()
    frame = tab.locator("#picture").bounding_box()
    x, y = frame["x"] + 4, frame["y"] + 4
    before = tab.locator("#boxes rect[data-place]").count()
    tab.mouse.move(x, y)
    tab.mouse.down()
    tab.mouse.move(x + frame["width"] / 4, y + frame["height"] / 4, steps=4)
    tab.mouse.up()
    expect(tab.locator("#boxes rect[data-place]")).to_have_count(before + 1)


def run_again(tab: Page, settings: dict[str, str]) -> None:
    tab.goto("/runs/new")
    for key, value in settings.items():
        tab.evaluate(
            "key => document.getElementById(`section-${key}`).open = true", key.split(".")[0]
        )
        tab.locator(f"[id='f-{key}']").fill(value)
    tab.evaluate(OPEN, "gate")
    tab.locator("input[type=checkbox][name='gate.better_than_champion']").uncheck()
    for key, value in settings.items():
        expect(tab.locator("#command")).to_contain_text(f"{key}={value}")
    check_access(tab)
    tab.get_by_role("button", name="Start the run").click()
    tab.locator("#running-title a").click(timeout=120_000)
    state = tab.locator("#state")
    expect(state).to_have_attribute("data-status", "running", timeout=60_000)
    check_access(tab)
    expect(state).not_to_have_attribute("data-status", "running", timeout=_RUN_MS)
    expect(state).to_have_attribute("data-status", "done")
    expect(tab.locator("main")).to_contain_text("training.epochs")
    check_access(tab)


def compare(tab: Page) -> None:
    tab.goto("/models/compare?a=1&b=2")
    expect(tab.get_by_role("heading", name="Version 2 against 1")).to_be_visible()
    expect(tab.get_by_role("table").first).to_be_visible()
    check_access(tab)


def approve_and_see_it_served(tab: Page) -> None:
    tab.goto("/models/2")
    button = tab.get_by_role("button", name="Approve")
    expect(tab.locator("#actions")).to_contain_text("in place of 1")
    button.click()
    served(tab, "2")
    check_access(tab)
    tab.goto("/try")
    tab.get_by_label("The server on this machine").check()
    expect(tab.locator("main")).to_contain_text(":2", timeout=30_000)
    tab.goto("/models")
    tab.get_by_role("button", name="Stop", exact=True).click()
    expect(tab.locator("#endpoint")).to_contain_text("not running", timeout=60_000)


def look_at_the_rest(tab: Page) -> None:
    for path in ("/", "/monitoring", "/data", "/runs"):
        tab.goto(path)
        tab.wait_for_timeout(1000)
        check_access(tab)
        assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth"), path


def check_access(tab: Page) -> None:
    """No serious finding of axe's."""
    found = Axe().run(tab).response["violations"]
    serious = [each for each in found if each["impact"] in ("serious", "critical")]
    told = [(each["id"], [node["html"][:200] for node in each["nodes"]][:4]) for each in serious]
    assert not told, (tab.url, told)
