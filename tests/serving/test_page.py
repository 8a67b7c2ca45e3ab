"""The page at ``/docs`` in a real browser: a picture is chosen, and its answer shown."""

import re
import shutil
import subprocess
from collections.abc import Callable
from threading import Event, Thread

import pytest
import uvicorn
from anyio import to_thread
from PIL import Image
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from pixloop.config import ServingConfig
from pixloop.serving.app import App
from pixloop.serving.classifier import Classifier
from pixloop.serving.detector import Detector
from pixloop.serving.jobs import FixedSlot, Version
from pixloop.serving.openapi import openapi_document
from pixloop.serving.page import PAGE_HEADERS, render_page
from pixloop.serving.server import _listen

pytestmark = pytest.mark.integration

Make = Callable[..., bytes]
POLICY = "Content-Security-Policy"
RED, GREEN = (255, 0, 0), (0, 204, 0)

#: Chooses a picture as a person would, and says when its answer is there. The browser hands out the
#: document when all of it is loaded, so the image keeps it waiting until then.
CHOOSE = """
<img src="wait" hidden>
<script>
  new MutationObserver(() => {
    if (document.getElementById("result").textContent !== "…") fetch("shown");
  }).observe(document.getElementById("result"), {childList: true});
  fetch("chosen").then((response) => response.blob()).then((blob) => {
    const input = document.getElementById("picture"), chosen = new DataTransfer();
    chosen.items.add(new File([blob], "picture"));
    input.files = chosen.files;
    input.dispatchEvent(new Event("change"));
  });
</script>
"""


@pytest.fixture
def show() -> Callable[[Classifier | Detector, bytes], str]:
    """The page's document after a picture was chosen and answered."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no chromium here")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--window-size=900,1400"]
    options += ["--enable-logging=stderr", "--dump-dom"]

    def show(predictor: Classifier | Detector, picture: bytes) -> str:
        manifest = predictor.manifest
        document = openapi_document("things:1", manifest.task, manifest.classes, 10_000_000)
        page = render_page(document, manifest.task).replace("</body>", CHOOSE + "</body>")

        async def chosen(request: Request) -> Response:
            return Response(picture)

        async def choosing(request: Request) -> Response:
            policy = PAGE_HEADERS[POLICY].replace("img-src", "img-src 'self'")
            return HTMLResponse(page, headers={POLICY: policy})

        answered = Event()

        async def shown(request: Request) -> Response:
            answered.set()
            return Response()

        async def wait(request: Request) -> Response:
            await to_thread.run_sync(answered.wait, 20)
            return Response()

        routes = [Route(f"/{each.__name__}", each) for each in (chosen, choosing, shown, wait)]
        slot = FixedSlot(Version("things:1", predictor))
        app = App(slot, ServingConfig(), routes=routes)
        with _listen("127.0.0.1", 0) as listener:
            server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_level="warning"))
            thread = Thread(target=server.run, kwargs={"sockets": [listener]})
            thread.start()
            address = f"http://127.0.0.1:{listener.getsockname()[1]}/choosing"
            try:
                done = subprocess.run(
                    [browser, *options, address],
                    capture_output=True,
                    text=True,
                    timeout=120,
                    check=True,
                )
            finally:
                server.should_exit = True
                thread.join()
        # What the content security policy refuses, and what does not parse, is said there.
        assert "CONSOLE" not in done.stderr
        return done.stdout[done.stdout.index("<figure") : done.stdout.index("From a terminal")]

    return show


def test_boxes_are_drawn_over_the_picture(
    show: Callable[..., str], detector: Detector, make_scene: Make
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying, seen standing
    stored = make_scene((RED, (20, 10, 60, 50)), (GREEN, (70, 0, 100, 30)), exif=exif)
    shown = show(detector, stored)
    assert 'viewBox="0 0 96 128"' in shown
    assert f"--ratio: {96 / 128}" in shown
    rects = re.findall(r"<rect ([^>]*)>", shown)
    assert [re.findall(r'class="(\w+)"', rect) for rect in rects] == [["refer"], ["accept"]]
    box = {key: float(value) for key, value in re.findall(r'(\w+)="([\d.]+)"', rects[1])}
    assert box == pytest.approx({"x": 46, "y": 20, "width": 40, "height": 40}, abs=4)
    assert re.findall(r">([^<>]* %)<", shown) == ["green? 80 %", "red 100 %"]
    words = re.sub(r"<[^>]*>", " ", shown)
    assert re.findall(r"\d × \w+", words) == ["1 × red", "1 × green"]
    assert re.findall(r"\d (?:accept|refer)", words) == ["1 accept", "1 refer"]


def test_nothing_found_is_said_so(
    show: Callable[..., str], detector: Detector, make_scene: Make
) -> None:
    shown = show(detector, make_scene())
    assert "Nothing found" in shown
    assert "<rect" not in shown


def test_a_bad_picture_gets_the_reason(show: Callable[..., str], detector: Detector) -> None:
    assert "The picture cannot be read" in show(detector, b"nonsense")


def test_a_class_is_shown_with_its_probabilities(
    show: Callable[..., str], predictor: Classifier, make_picture: Make
) -> None:
    shown = show(predictor, make_picture("lime"))
    assert re.search(r'class="answer">green<', shown)
    assert re.search(r'class="accept">accept<', shown)
    assert len(re.findall('class="bar"', shown)) == 3
