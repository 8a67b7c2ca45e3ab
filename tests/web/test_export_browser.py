"""The exported page in a real browser: on a plain static host, with a real server elsewhere."""

import functools
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Page, expect
from tests.small_bundles import letterboxed, manifest, write_colours, write_detector

from pixloop.bundle import BoxScores, Bundle, write_bundle
from pixloop.config_file import parse_config
from pixloop.web.export import export_page

pytestmark = pytest.mark.integration
HOSTILE = '<img src=x onerror="document.title=1">.png'


def picture(colour: str = "red", size: tuple[int, int] = (64, 48)) -> bytes:
    drawn = Image.new("RGB", size)
    drawn.paste(colour, (8, 8, 40, 32))
    buffer = BytesIO()
    (Image.new("RGB", size, colour) if size[0] < 64 else drawn).save(buffer, "PNG")
    return buffer.getvalue()


RED, SCENE = picture("red", (20, 20)), picture("lime")


@contextmanager
def hosting(folder: Path, port: int = 0) -> Iterator[str]:
    """A static host that knows nothing of pixloop: the standard library's."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", port), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@contextmanager
def answering(bundle: Bundle, origin: str) -> Iterator[str]:
    """The real server, which lets one origin ask."""
    command = [
        sys.executable, "-m", "pixloop.serving", str(bundle.path), "--port", "0", "--name",
        "colours:3", "--streams", "1", "--max-batch", "1", "--allow-origin", origin,
        "--max-body-bytes", "200000",
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().split(" on ")[1].strip()
    finally:
        process.terminate()
        process.communicate()


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> Iterator[tuple[str, str]]:
    """Where the page is hosted, and the server that it asks: a classifier's, below a path."""
    folder = tmp_path_factory.mktemp("exported")
    bundle = write_colours(folder / "bundle")
    with hosting(folder) as host, answering(bundle, host) as server:
        config = parse_config(
            {"task": "classification", "name": "colours", "data": "x",
             "serving": {"max_body_bytes": 200_000}}, [],
        )  # fmt: skip
        export_page(config, "colours:3", bundle, server, folder / "some" / "where")
        yield f"{host}/some/where/", server


@contextmanager
def tab_at(browser: Browser, *asked: str) -> Iterator[Page]:
    """A tab in which nothing may go wrong unnoticed, and which may ask these alone."""
    context = browser.new_context()
    page = context.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda r: r.url.startswith((*asked, "blob:")) or wrong.append(r.url))
    yield page
    context.close()
    assert not wrong


DROP = """([names, bytes]) => {
  const data = new DataTransfer();
  for (const name of names) {
    data.items.add(new File([new Uint8Array(bytes)], name, { type: "image/png" }));
  }
  const drop = { dataTransfer: data, bubbles: true, cancelable: true };
  document.body.dispatchEvent(new DragEvent("drop", drop));
}"""
PASTE = """(bytes) => {
  const data = new DataTransfer();
  data.items.add(new File([new Uint8Array(bytes)], "image.png", { type: "image/png" }));
  document.body.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, bubbles: true }));
}"""


def answered(page: Page, count: int, told: str = "") -> list[str]:
    """The texts, the newest choice first, once there are so many, or once it is told so."""
    expect(page.locator("#progress")).to_have_text(told or f"{count} of {count} answered")
    return page.locator("#answered > li").all_inner_texts()


def test_pictures_are_dropped_pasted_and_chosen_and_answered(browser, pages) -> None:
    host, server = pages
    with tab_at(browser, host, server) as page:
        page.goto(host)
        page.evaluate(DROP, [[f"{i}.png" for i in range(6)], list(RED)])
        dropped = answered(page, 6)
        page.evaluate(PASTE, list(RED))
        pasted = answered(page, 1)
        for place in ("#choose", "#photograph"):
            page.set_input_files(place, {"name": HOSTILE, "mimeType": "image/png", "buffer": RED})
            chosen = answered(page, 1)

        assert [text.split("\n")[0] for text in dropped] == [f"{i}.png" for i in range(6)]
        for text in (*dropped, pasted[0], chosen[0]):
            assert "red" in text
            assert "accepted" in text
            assert "90" in text  # the threshold
            assert "colours:3" in text
            assert " ms" in text
        assert len(chosen) == 9
        assert HOSTILE in chosen[0]
        assert page.title() == "Try colours"
        page.get_by_role("button", name="Clear").click()
        assert page.locator("#answers").is_hidden()
        page.evaluate(PASTE, list(RED))
        assert len(answered(page, 1)) == 1


def test_what_the_server_does_not_take_is_said(browser, pages) -> None:
    host, server = pages
    with tab_at(browser, host, server) as page:
        page.goto(host)
        for name, kind, body, words in (
            ("a.png", "image/png", b"no picture", "cannot be read"),
            ("a.txt", "text/plain", b"text", "no picture"),
            ("a.png", "image/png", bytes(200_001), "0.2 MB at most"),
        ):
            page.set_input_files("#choose", {"name": name, "mimeType": kind, "buffer": body})
            assert words in answered(page, 1, "none answered, 1 failed")[0]
        good = {"name": "c.png", "mimeType": "image/png", "buffer": RED}
        bad = {"name": "b.png", "mimeType": "image/png", "buffer": b"no picture"}
        page.set_input_files("#choose", [bad, good, {**bad, "name": "d.png"}])
        texts = answered(page, 3, "1 answered, 2 failed")
        assert [text.split("\n")[0] for text in texts[:3]] == ["b.png", "c.png", "d.png"]


def test_a_page_of_another_origin_is_refused_by_the_browser(browser, pages, tmp_path) -> None:
    host, server = pages
    # The same page by another name of this machine is of another origin.
    other = host.replace("127.0.0.1", "localhost")
    with tab_at(browser, other, server) as page:
        page.goto(other)
        page.set_input_files("#choose", {"name": "a.png", "mimeType": "image/png", "buffer": RED})
        (text,) = answered(page, 1, "none answered, 1 failed")
        origin = other.removesuffix("/some/where/")
        assert f"{server}/invocations does not answer, or does not let this page ask" in text
        assert f"serving.allow_origin: {origin} in" in text


def test_the_page_asks_nobody_else_whatever_runs_in_it(browser, pages) -> None:
    host, server = pages
    with tab_at(browser, host, server) as page:
        page.goto(host)
        told = page.evaluate(
            """(address) => new Promise((resolve) => {
              const hear = (event) => resolve(event.effectiveDirective);
              document.addEventListener("securitypolicyviolation", hear);
              fetch(address).then(() => resolve("asked"), () => {});
            })""",
            host,  # not even its own host
        )
        assert told == "connect-src"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_read_by_everybody_and_fits_a_phone(browser, pages, scheme) -> None:
    host, server = pages
    with tab_at(browser, host, server) as page:
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size({"width": 360, "height": 740})
        page.goto(host)
        page.evaluate(DROP, [["a.png", "b" * 120 + ".png"], list(RED)])
        answered(page, 2)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        found = Axe().run(page).response["violations"]
        assert [f["id"] for f in found if f["impact"] in ("serious", "critical")] == []
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == "choose"


def test_boxes_are_drawn(browser, tmp_path) -> None:
    write_detector(tmp_path / "bundle/graphs/model.onnx")
    bundle = write_bundle(
        tmp_path / "bundle",
        manifest(
            name="things", task="detection", preprocessing=letterboxed(),
            box_scores=BoxScores(minimum=0.6),
        ),
    )  # fmt: skip
    with hosting(tmp_path) as host, answering(bundle, host) as server:
        config = parse_config({"task": "detection", "name": "things", "data": "x"}, [])
        export_page(config, "colours:3", bundle, server, tmp_path / "page")
        with tab_at(browser, host, server) as page:
            page.goto(f"{host}/page/")
            page.set_input_files(
                "#choose", {"name": "a.png", "mimeType": "image/png", "buffer": SCENE}
            )
            (text,) = answered(page, 1)
            assert "green" in text
            assert page.locator("#answered svg rect").count() == 1
