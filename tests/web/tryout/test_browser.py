import io
import shutil
import subprocess
import sys

import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Page, expect
from tests.certified_bundles import colours, rewrite, scenes
from tests.serving.in_thread import serving
from tests.web.tryout.test_page import HOSTILE, RED, picture, version_of

from pixloop.config import ServingConfig
from pixloop.project import Project
from pixloop.serving.app import build_app
from pixloop.serving.predictor import open_predictor
from pixloop.web.site import Site
from pixloop.web.tryout import addresses as tryout_addresses

pytestmark = pytest.mark.integration

CLASSES = (HOSTILE, "green", "blue")


@pytest.fixture
def site(request, tmp_path, monkeypatch) -> Site:
    """The pages of a project whose version is a small bundle, or of one that was trained."""
    kind = getattr(request, "param", "classification")
    if kind == "trained":
        return Site(request.getfixturevalue("project").folder)
    if kind == "nothing":
        return request.getfixturevalue("new_site")
    (tmp_path / "pictures").mkdir()
    site = Site(Project.init(tmp_path / "new", str(tmp_path / "pictures"), kind).folder)
    bundle = request.getfixturevalue(
        "classifier_bundle" if kind == "classification" else "boxes_bundle"
    )
    if kind == "classification":  # a class may be called anything
        bundle = rewrite(bundle, tmp_path / "hostile", classes=CLASSES)
    monkeypatch.setattr(site, "versions", lambda: (version_of(bundle),))
    return site


def files_of(contents: list[bytes], names: list[str]) -> list[dict[str, object]]:
    pairs = zip(names, contents, strict=True)
    return [{"name": n, "mimeType": "image/png", "buffer": c} for n, c in pairs]


def choose(tab: Page, contents: list[bytes], names: list[str]) -> None:
    tab.set_input_files("#files", files_of(contents, names))
    expect(tab.locator("#progress")).not_to_contain_text("done", timeout=30_000)


def test_pictures_are_answered_in_their_order_and_a_bad_one_stops_none(tab):
    tab.goto("/try")
    names = ["a.png", "<img src=x onerror=alert(1)>.png", "c.png"]
    choose(tab, [colours()[0], b"no picture", colours()[2]], names)
    cards = tab.locator(".tried")
    assert cards.locator("h3").all_inner_texts() == names
    expect(cards.nth(0).locator(".answer-verdict")).to_contain_text(" % ")
    expect(cards.nth(1).get_by_role("alert")).to_contain_text("JPEG")
    expect(cards.nth(2).locator(".answer-bars li").first).to_be_visible()
    expect(cards.nth(0).locator(".answer-note").last).to_contain_text("colours:7 · ")
    assert tab.locator("#list script, #list img[src=x]").count() == 0
    assert tab.get_by_text(HOSTILE).first.is_visible()


def test_a_wrong_answer_goes_to_review_with_the_right_class(tab, site):
    tab.goto("/try")
    choose(tab, [colours()[0]], ["a.png"])
    tab.get_by_text("This is wrong").click()
    tab.get_by_role("button", name="Send to review").click()
    expect(tab.locator(".outcome")).to_contain_text("Choose what the picture shows")
    answered = tab.locator(".answer-title").inner_text()
    right = next(name for name in CLASSES if name != answered)
    tab.get_by_role("button", name=right, exact=True).click()
    tab.get_by_role("button", name="Send to review").click()
    expect(tab.locator(".outcome")).to_contain_text("in the review queue")
    (item,) = site.project.review.items("asked")
    assert item.origin["said"] == right
    link = tab.get_by_role("link", name="Open it in review (new tab)")
    assert link.get_attribute("href") == f"/review?picture={item.sha256}"
    with tab.context.expect_page() as opened:
        link.click()
    opened.value.close()
    expect(tab.locator(".tried")).to_have_count(1)


@pytest.mark.parametrize("site", ["detection"], indirect=True)
def test_boxes_are_drawn_where_they_are(tab, site):
    tab.goto("/try")
    choose(tab, [scenes()[0], scenes()[2]], ["a.png", "nothing.png"])
    first, second = tab.locator(".tried").all()
    rects = first.locator("svg rect")
    assert rects.count() == first.locator(".answer-boxes tbody tr").count() > 0
    image = first.locator(".answer-picture img").bounding_box()
    drawn = first.locator(".answer-picture svg").bounding_box()
    assert image == pytest.approx(drawn, abs=1)
    edges = {name: float(rects.first.get_attribute(name)) for name in ("x", "y", "width", "height")}
    shown = rects.first.bounding_box()
    scale = image["width"] / 128
    assert shown["x"] - image["x"] == pytest.approx(edges["x"] * scale, abs=3)
    assert shown["height"] == pytest.approx(edges["height"] * scale, abs=5)
    expect(second.locator(".answer-title")).to_have_text("Nothing found")
    first.get_by_text("This is wrong").click()
    first.get_by_role("button", name="The boxes are wrong").click()
    expect(first.locator(".outcome")).to_contain_text("review queue")
    assert len(list(site.project.review.items("asked"))) == 1


@pytest.mark.parametrize("site", ["detection"], indirect=True)
def test_a_picture_that_lies_on_its_side_is_shown_as_its_boxes_are(tab):
    image = Image.open(io.BytesIO(scenes()[0])).rotate(90, expand=True)
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x0112], exif[0x010E] = 6, HOSTILE
    image.save(file, "JPEG", exif=exif, quality=95)
    tab.goto("/try")
    choose(tab, [file.getvalue()], ["phone.jpg"])
    figure = tab.locator(".answer-picture").bounding_box()
    assert figure["width"] / figure["height"] == pytest.approx(128 / 96, rel=0.02)


def test_what_is_pasted_or_dropped_is_tried(tab):
    tab.goto("/try")
    tab.evaluate(
        """(bytes) => {
          const give = (name) => {
            const data = new DataTransfer();
            data.items.add(new File([new Uint8Array(bytes)], name, {type: "image/png"}));
            return data;
          };
          const pasted = {clipboardData: give("pasted.png"), bubbles: true};
          const dropped = {dataTransfer: give("dropped.png"), bubbles: true};
          document.dispatchEvent(new ClipboardEvent("paste", pasted));
          document.getElementById("drop").dispatchEvent(new DragEvent("drop", dropped));
        }""",
        list(RED),
    )
    expect(tab.locator(".tried h3")).to_have_text(["pasted.png", "dropped.png"])
    expect(tab.locator(".answer-title")).to_have_count(2)


def test_the_chooser_opens_by_keys_and_pictures_go_by_keys(tab):
    tab.on("filechooser", lambda chooser: None)  # the browser is told to hand it over from now on
    tab.goto("/try")
    for key in ("Enter", "Space"):
        tab.locator("#drop").focus()
        with tab.expect_file_chooser() as chooser:
            tab.keyboard.press(key)
        chooser.value.set_files(files_of([RED], ["a.png"]))
    expect(tab.locator(".answer-title")).to_have_count(2)
    tab.get_by_role("button", name="Remove a.png").first.press("Enter")
    expect(tab.locator(".tried")).to_have_count(1)
    tab.get_by_role("button", name="Clear").press("Enter")
    expect(tab.locator("#answers")).to_be_hidden()


def test_no_more_pictures_than_a_page_can_show(tab):
    tab.goto("/try")
    small = picture((1, 2, 3))
    choose(tab, [small] * 53, [f"{n}.png" for n in range(53)])
    expect(tab.locator(".tried")).to_have_count(50)
    expect(tab.locator("#toasts")).to_contain_text("3 are left out")
    assert tab.locator(".tried h3").all_inner_texts() == [f"{n}.png" for n in range(50)]


def test_a_giant_picture_is_not_even_sent(tab):
    tab.goto("/try")
    asked = []
    tab.on("request", lambda request: asked.append(request.url))
    choose(tab, [b"\0" * 25_000_001], ["giant.png"])
    expect(tab.get_by_role("alert")).to_contain_text("at most 25 MB")
    assert not any("predict" in url for url in asked)


@pytest.mark.parametrize("site", ["nothing"], indirect=True)
def test_without_a_version_a_server_elsewhere_can_be_asked(tab, classifier_bundle):
    tab.goto("/try")
    expect(tab.get_by_text("No model yet")).to_be_visible()
    app = build_app(open_predictor(classifier_bundle), "elsewhere:1", ServingConfig())
    with serving(app) as url:
        tab.get_by_label("The server’s address").fill(url)
        choose(tab, [colours()[0]], ["a.png"])
        expect(tab.locator(".answer-note").last).to_contain_text("elsewhere:1")
        expect(tab.locator("#request")).to_contain_text(f"{url}/invocations")
    tab.get_by_label("The server’s address").fill("ftp://x")
    tab.get_by_role("button", name="Ask again").click()
    expect(tab.get_by_role("alert").first).to_contain_text("no address of a server")


@pytest.mark.parametrize("site", ["trained"], indirect=True)
def test_an_answer_is_explained(tab, site):
    # Other tests explain answers of the same version, and its checks are kept.
    shutil.rmtree(site.state / "explanations", ignore_errors=True)
    tab.goto("/try")
    choose(tab, [RED], ["a.png"])
    tab.get_by_role("button", name="Why?").click()
    expect(tab.locator(".explained")).to_contain_text("methods are checked")
    expect(tab.locator(".explained progress")).to_have_count(0, timeout=300_000)
    told = tab.locator(".explained").inner_text()
    assert "checked on" in told or "no method passed" in told.lower()
    if "checked on" in told:
        assert tab.locator(".explained img").evaluate("image => image.naturalWidth") > 100


@pytest.mark.parametrize("site", ["classification", "detection"], indirect=True)
def test_the_page_is_accessible_and_fits_a_phone(tab, site):
    tab.set_viewport_size({"width": 360, "height": 740})
    tab.goto("/try")
    pictures = scenes() if site.project.config.task == "detection" else colours()
    choose(tab, [*pictures[:2], b"no picture"], ["a" * 200 + ".png", "b.png", "c.png"])
    tab.get_by_text("This is wrong").first.click()
    found = Axe().run(tab).response["violations"]
    assert [f["id"] for f in found if f["impact"] in ("serious", "critical")] == []
    assert tab.evaluate("document.documentElement.scrollWidth") <= 360


def test_the_requests_to_copy_ask_a_real_server(classifier_bundle, tmp_path):
    app = build_app(open_predictor(classifier_bundle), "colours:1", ServingConfig())
    for name in ("a.png", "it's $(here) `now`.png", "-", "@at.png", "new\nline.png"):
        (tmp_path / name).write_bytes(colours()[0])
        with serving(app) as url:
            for command in (
                ["bash", "-c", tryout_addresses.curl(url, name, "image/png") + " --silent"],
                [sys.executable, "-c", tryout_addresses.python(url, name, "image/png")],
            ):
                asked = subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)
                assert b'"model": "colours:1"' in asked.stdout, (command, asked)
