"""The whole loop being used in a browser, as a film with captions: a real run, from end to end.

    python -m tests.tools.walkthrough PROJECT FOLDER

PROJECT is made anew (handwritten digits). Writes FOLDER/walkthrough.mp4 and walkthrough.gif.
"""

import argparse
import io
import shutil
import socket
import sys
import tempfile
from collections.abc import Mapping
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from playwright.sync_api import Page, expect
from tests.tools.film import HEIGHT, WIDTH, Film
from tests.tools.page_screenshots import serve_pages
from tests.tools.screenshots import open_browser

from pixloop.data.corruptions import corrupt
from pixloop.data.samples import read_digits
from pixloop.project import Project
from pixloop.serving.client import Client

_SIDE_PX = 48
_LEARNED, _SENT, _SPOILT = 900, 250, 420
_SETTINGS: dict[str, dict[str, Any]] = {
    "data": {"calibration_share": 0.2},
    "model": {"name": "test_resnet", "pretrained": False, "image_size": 32, "resize": "squash"},
    "training": {
        "epochs": 10,
        "batch_size": 32,
        "learning_rate": 0.003,
        "augmentations": ["rotate"],
        "precision": "float32",
    },
    "robustness": {"pictures": 40, "attack_pictures": 0},
    "serving": {"capture_share": 1.0, "capture_file_s": 1.0, "follow_s": 1.0},
    "monitoring": {"odds_pictures": 0},
    "thresholds": {"max_error": 0.05},
    "review": {"budget": 120, "random_share": 0.5},
    "promotion": {"margin": 0.03},
}

Digit = tuple[bytes, str]


class Story:
    """The chapters, in order; what the person in the film knows is ``truth``."""

    def __init__(self, tab: Page, film: Film, project: Project, address: str) -> None:
        self._tab, self._film, self._project, self._address = tab, film, project, address
        self._url = f"http://127.0.0.1:{project.config.serving.port}"

    def train(self) -> None:
        """A first version, from a click."""
        self._go("/", "A new project: a folder of pictures, and nothing else", "The loop")
        self._go(
            "/runs/new", "Any key can be changed for one run; here nothing is", "A first model"
        )
        self._film.click(self._tab.get_by_role("button", name="Start the run"))
        self._tab.locator("#running-title a").click(timeout=120_000)
        self._tab.wait_for_timeout(700)
        self._film.say("Prepare, train, export, evaluate, gate, register", hold_s=0.5)
        self._await_run("done")
        self._film.hold(1.5)

    def deploy(self, version: str, caption: str) -> None:
        self._go(f"/models/{version}", caption, "A version goes live")
        self._film.hold(1.2)
        self._film.click(self._tab.locator("#do-approve"))
        if self._tab.locator("#do-start").count():
            self._film.click(self._tab.locator("#do-start"))
        endpoint = self._tab.locator("#endpoint")
        self._film.watch(
            lambda: (
                endpoint.get_attribute("data-state") == "serving"
                and f"serves version {version}" in endpoint.inner_text()
            ),
            speed=3,
        )
        self._film.say(f"The endpoint answers as version {version}", hold_s=1.8)

    def try_pictures(self, pictures: list[Path]) -> None:
        self._go("/try", "Drop pictures; see the answer, how sure it is, and why", "Try it")
        self._tab.get_by_label("The server on this machine").check()
        self._tab.set_input_files("#files", pictures)
        expect(self._tab.locator(".answer-note")).to_have_count(len(pictures), timeout=60_000)
        self._tab.locator("#answers").scroll_into_view_if_needed()
        self._film.hold(1.8)

    def send(self, digits: list[Digit], caption: str) -> None:
        """What users send meanwhile."""
        self._film.say(caption, "Weeks later", hold_s=1.8)
        with Client(self._url) as client:
            client.predict([picture for picture, _ in digits])

    def look(self, caption: str) -> None:
        self._go("/monitoring", caption, "Watched")
        looks = self._tab.get_by_role("button", name="Look now")
        before = self._seen()
        self._film.click(looks)
        self._film.watch(lambda: self._seen() > before, speed=3, most_s=180)
        self._tab.wait_for_timeout(1500)
        self._film.hold(2.2)

    def take_as_normal(self, caption: str) -> None:
        """Where the new version still finds such pictures unusual, a person says that they stay."""
        button = self._tab.get_by_role("button", name="Take as normal")
        if button.count():
            self._film.say(caption)
            self._film.click(button.first)
            self._tab.wait_for_timeout(2500)
            self._film.hold(2.0)

    def answer(self, truth: Mapping[str, str]) -> None:
        """People answer what is asked, by keys."""
        self._project.collect()
        self._go("/review", "What is worth asking: the unlike and the unsure", "People answer")
        self._film.hold(1.5)
        self._tab.goto(f"{self._address}/review/label")
        expect(self._tab.locator("#work")).to_be_visible()
        self._film.say("One key an answer; the likeliest classes come first", hold_s=1.0)
        asked = len(list(self._project.review.items("asked")))
        for number in range(asked):
            self._label(truth, film=number < 12 or number % 8 == 0)
        expect(self._tab.locator("#end")).to_be_visible()
        self._film.hold(1.2)

    def learn(self) -> None:
        self._go("/runs/new", "The next run learns from the answers", "Learned")
        self._film.click(self._tab.get_by_role("button", name="Start the run"))
        self._tab.locator("#running-title a").click(timeout=120_000)
        self._tab.wait_for_timeout(700)
        self._await_run("done")
        self._film.hold(1.2)

    def compare(self) -> None:
        self._go("/models/compare?a=1&b=2", "Old and new, side by side", "Better?")
        self._film.hold(2.0)

    def end(self) -> None:
        self._go("/", "How the loop stands now, in one look", "The loop")
        self._film.hold(3.0)

    # ---- inside

    def _go(self, path: str, caption: str, chapter: str) -> None:
        self._tab.goto(self._address + path)
        self._tab.wait_for_timeout(900)
        self._film.say(caption, chapter)

    def _await_run(self, status: str) -> None:
        state = self._tab.locator("#state")
        self._film.watch(lambda: state.get_attribute("data-status") != "running", speed=12)
        assert state.get_attribute("data-status") == status

    def _seen(self) -> int:
        try:
            return self._project.monitor().last_look().seen
        except FileNotFoundError:
            return 0

    def _label(self, truth: Mapping[str, str], film: bool) -> None:
        picture = self._tab.locator("#picture").get_attribute("src") or ""
        sha = next(name for name in truth if name in picture)
        classes = self._tab.get_by_role("group", name="Classes").get_by_role("button")
        names = classes.all_inner_texts()
        place = next(i for i, text in enumerate(names) if truth[sha] in text.split())
        if film:
            self._film.hold(0.25)
        self._tab.keyboard.press("1234567890"[place])
        self._tab.wait_for_function(
            "before => document.getElementById('work').hidden || "
            "document.getElementById('picture').getAttribute('src') !== before",
            arg=picture,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("project", type=Path)
    parser.add_argument("folder", type=Path)
    given = parser.parse_args()
    if shutil.which("ffmpeg") is None:
        sys.exit("ffmpeg is needed: apt-get install ffmpeg")
    given.folder.mkdir(parents=True, exist_ok=True)
    digits = [[_encode(*each) for each in part] for part in _parts()]
    project = _make_project(given.project, digits[0])
    truth = {sha256(picture).hexdigest(): label for part in digits for picture, label in part}
    with (
        tempfile.TemporaryDirectory() as frames,
        serve_pages(project.folder) as address,
        open_browser() as browser,
    ):
        tab = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        tab.on("dialog", lambda dialog: dialog.accept())
        film = Film(tab, Path(frames))
        story = Story(tab, film, project, address)
        _tell(story, digits, truth, Path(frames))
        film.save(given.folder / "walkthrough.mp4", given.folder / "walkthrough.gif")


def _tell(story: Story, digits: list[list[Digit]], truth: Mapping[str, str], folder: Path) -> None:
    _, clean, spoilt, later = digits
    story.train()
    story.deploy("1", "The person decides, and is told what follows")
    story.try_pictures([_file(folder, digit) for digit in clean[:3]])
    story.send(clean, "Users send pictures")
    story.look("Nothing unusual so far")
    story.send(spoilt, "Then the camera goes bad")
    story.look("The alarm, with its evidence; false ones have known odds")
    story.answer(truth)
    story.learn()
    story.compare()
    story.deploy("2", "Shown to be better on the same pictures")
    story.send(later, "The bad camera goes on")
    story.look("The new version has learned from such pictures")
    story.take_as_normal("They are here to stay: a person says so")
    story.end()


def _make_project(folder: Path, digits: list[Digit]) -> Project:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for number, (picture, label) in enumerate(digits):
        (folder / "pictures" / label).mkdir(parents=True, exist_ok=True)
        (folder / "pictures" / label / f"{number:04}.png").write_bytes(picture)
    settings = {**_SETTINGS, "serving": {**_SETTINGS["serving"], "port": port}}
    return Project.init(folder, str(folder / "pictures"), settings=settings)


def _parts() -> list[list[tuple[np.ndarray, str]]]:
    """What is learned, what is sent, what a bad camera sends before and after it is known."""
    digits = read_digits()
    order = np.random.default_rng(0).permutation(len(digits))
    parts: list[list[tuple[np.ndarray, str]]] = []
    bounds = np.cumsum([0, _LEARNED, _SENT, _SPOILT, len(digits)])
    for number, (first, last) in enumerate(pairwise(bounds)):
        part = []
        for i in order[first:last]:
            pixels, label = digits[int(i)]
            shown = np.asarray(Image.fromarray(pixels).resize((_SIDE_PX, _SIDE_PX)))
            colours = np.repeat(shown[..., None], 3, axis=2)
            part.append(
                (corrupt(colours, "impulse_noise", 5, int(i)) if number > 1 else colours, label)
            )
        parts.append(part)
    return parts


def _encode(pixels: np.ndarray, label: str) -> Digit:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue(), label


def _file(folder: Path, digit: Digit) -> Path:
    file = folder / f"{digit[1]}-{sha256(digit[0]).hexdigest()[:6]}.png"
    file.write_bytes(digit[0])
    return file


if __name__ == "__main__":
    main()
