"""A person at /monitoring: the charts, the hover values, closing alarms, and a look."""

import shutil

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect
from tests.monitoring.monitored import capture, clean, make_bundle
from tests.web.monitoring.test_page import version_of

from pixloop.monitoring.state import read_state, write_state
from pixloop.web.site import Site

pytestmark = pytest.mark.integration


@pytest.fixture
def site(new_site: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A new project with a version that was asked about usual pictures and dark ones."""
    project = new_site.project
    folder = project.state / "bundles" / "1"
    shutil.rmtree(folder, ignore_errors=True)
    make_bundle(folder)
    model, random = f"{project.config.model_name}:1", np.random.default_rng(0)
    capture(project.captures, clean(100, random), random, model)
    capture(project.captures, clean(150, random, dark=True), random, model, hour=4)
    version = version_of(folder)
    monkeypatch.setattr(Site, "versions", lambda _: (version,))
    project.monitor(known=version).look()
    return new_site


def test_an_alarm_is_understood_and_closed(tab: Page):
    tab.goto("/monitoring")
    alarm = tab.get_by_role("heading", name="Brightness is lower than in the reference.")
    expect(alarm).to_be_visible()
    expect(tab.locator(".chart canvas")).to_have_count(3)
    chart = tab.locator(".chart").first
    chart.hover()
    expect(chart.locator(".u-legend .u-value").first).to_contain_text("4 May")
    expect(tab.locator("#server")).to_contain_text("no server answers")
    assert all(
        tab.locator(".thumbs img").evaluate_all("all => all.map((each) => each.loading === 'lazy')")
    )
    tab.on("dialog", lambda dialog: dialog.accept())
    tab.get_by_role("button", name="Take as normal").click()
    expect(tab.locator("#found")).to_contain_text("Later pictures are held against those of now")
    expect(tab.get_by_role("button", name="Acknowledge")).to_have_count(0)
    tab.get_by_text("1 earlier alarm").click()
    expect(tab.locator("#d-past")).to_contain_text("Brightness is lower")
    # Two charts are left, and none was drawn over another.
    expect(tab.locator(".chart canvas")).to_have_count(2)


def test_a_look_elsewhere_shows_by_itself_and_leaves_open_what_is_open(tab: Page, site: Site):
    tab.goto("/monitoring")
    tab.get_by_text("The curves as a table").click()
    expect(tab.locator("#looks")).to_contain_text("Last look")
    file = site.state / "monitoring/1/state.npz"
    record, arrays = read_state(file)
    write_state(file, record.model_copy(update={"damaged": 7}), arrays)
    expect(tab.locator("#found")).to_contain_text("7 captures could not be read", timeout=10_000)
    expect(tab.locator("#d-evidence")).to_have_attribute("open", "")
    expect(tab.locator("#said")).to_have_text("An alarm is open")
    expect(tab.locator(".chart canvas")).to_have_count(3)


def test_nothing_is_wider_than_a_phone(tab: Page):
    tab.set_viewport_size({"width": 360, "height": 780})
    tab.goto("/monitoring")
    expect(tab.locator(".chart canvas")).to_have_count(3)
    for summary in tab.locator("#found summary").all():
        summary.click()
    assert tab.evaluate("document.documentElement.scrollWidth") <= 360
    assert tab.locator(".chart canvas").first.bounding_box()["width"] <= 360


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_screen_reader_can_read_it(tab: Page, scheme: str):
    tab.emulate_media(color_scheme=scheme)
    tab.goto("/monitoring")
    expect(tab.locator(".chart canvas")).to_have_count(3)
    expect(tab.locator("#server .code")).to_be_visible()
    for summary in tab.locator("#found summary").all():
        summary.click()
    found = Axe().run(tab).response["violations"]
    wrong = [(each["id"], each["nodes"][0]["html"]) for each in found]
    assert wrong == []
