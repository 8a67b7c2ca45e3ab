import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect
from tests.web.data.data_sets import prepared, report_doubts, write_boxes, write_messy

from pixloop.web.site import Site

pytestmark = pytest.mark.integration


@pytest.fixture(params=["classification", "detection"])
def task(request):
    return request.param


@pytest.fixture
def site(task, tmp_path):
    folder = tmp_path / "project"
    write = write_messy if task == "classification" else write_boxes
    project = prepared(folder, write(folder / "pictures"), task)
    if task == "classification":
        report_doubts(project, ["blue/1.png", "red/4.png"], "red")
    return Site(folder)


def test_a_person_goes_from_the_numbers_to_a_picture_and_its_augmentations(tab, task):
    tab.goto("/data")
    tab.get_by_label("Find a class").fill("re" if task == "classification" else "da")
    name = "red" if task == "classification" else "dark"
    expect(tab.locator("#classes-rows tbody tr")).to_have_count(1)
    tab.get_by_role("link", name=name).click()
    expect(tab.get_by_role("heading", name="Samples")).to_be_visible()
    before = tab.url
    tab.keyboard.press("n")
    tab.wait_for_url("**seed=1**")
    assert tab.url != before
    tab.get_by_label("Split").select_option("train")
    tab.wait_for_url("**split=train**")
    images = tab.locator(".shot img")
    assert images.first.evaluate("i => i.decode().then(() => i.naturalWidth > 0)")
    if task == "detection":
        expect(tab.locator(".shot .boxes rect").first).to_be_attached()
    images.first.click()
    expect(tab.get_by_role("heading", name="What is known of it")).to_be_visible()
    tab.get_by_role("link", name="See it augmented").click()
    expect(tab.get_by_role("heading", name="Together")).to_be_visible(timeout=60_000)


@pytest.mark.parametrize("task", ["detection"], indirect=True)
def test_a_box_lies_over_its_picture(tab):
    tab.set_viewport_size({"width": 390, "height": 844})
    tab.goto("/data/picture/train/0")
    picture = tab.locator(".large img").bounding_box()
    drawn = tab.locator(".large .boxes").bounding_box()
    assert picture is not None
    assert drawn is not None
    for side in ("x", "y", "width", "height"):
        assert abs(picture[side] - drawn[side]) < 1


@pytest.mark.parametrize("task", ["classification"], indirect=True)
def test_people_are_asked_with_a_click(tab, site):
    tab.goto("/data/labels")
    tab.get_by_role("button", name="Ask people about blue/1.png").click()
    expect(tab.get_by_text("1 picture waits to be asked")).to_be_visible(timeout=30_000)
    expect(tab.get_by_text("waits in the queue")).to_be_visible()
    assert [item.origin["path"] for item in site.project.review.items()] == ["blue/1.png"]


@pytest.mark.parametrize("task", ["classification"], indirect=True)
def test_the_quarantine_shows_what_can_be_seen(tab):
    tab.goto("/data/quarantine")
    seen = tab.locator(".left-out img").first
    seen.evaluate("i => i.decode()")
    tab.get_by_label("Reason").select_option("corrupt")
    tab.wait_for_url("**reason=corrupt**")
    expect(tab.locator("tbody tr")).to_have_count(1)


@pytest.mark.parametrize("path", ["", "/samples", "/findings", "/quarantine", "/duplicates"])
def test_a_phone_scrolls_no_page_sideways(tab, path):
    tab.set_viewport_size({"width": 360, "height": 740})
    tab.goto(f"/data{path}")
    wide = tab.evaluate("document.documentElement.scrollWidth")
    assert wide <= 360


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(tab, task, scheme):
    tab.emulate_media(color_scheme=scheme)
    for path in ("", "/samples", "/findings", "/quarantine", "/duplicates", "/labels"):
        tab.goto(f"/data{path}")
        _accessible(tab)
    tab.goto("/data/picture/train/0")
    _accessible(tab)
    tab.get_by_role("link", name="See it augmented").click()
    expect(tab.get_by_role("heading", name="Together")).to_be_visible(timeout=60_000)
    _accessible(tab)


def _accessible(tab):
    found = Axe().run(tab).response["violations"]
    serious = [each["id"] for each in found if each["impact"] in ("serious", "critical")]
    assert not serious, (tab.url, serious)
