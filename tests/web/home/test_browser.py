"""The loop in a real browser: it changes by itself, is used by keyboard, and fits a phone."""

import json
import os
from datetime import UTC, datetime, timedelta

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from pixloop.pipeline.lock import exclusive
from pixloop.watching.events import EventLog

pytestmark = pytest.mark.integration


@pytest.fixture
def home(tab: Page, site) -> Page:
    """The page, once it knows all."""
    site.versions()
    tab.goto("/")
    expect(tab.locator("#verdict")).to_contain_text("Version 1 waits for a decision")
    return tab


def begin_run(site):
    """A run that this process is at work on."""
    last = next((site.state / "runs").glob("*/run.json"))
    record = json.loads(last.read_text())
    now = datetime.now(UTC)
    folder = site.state / "runs" / "20990101T000000000-abcd"
    record |= {"id": folder.name, "status": "running", "pid": os.getpid(), "seconds": None}
    record["started"] = (now + timedelta(seconds=1)).isoformat(timespec="seconds")
    for name, step in record["steps"].items():
        step["status"] = {"Prepare": "done", "Train": "running"}.get(name, "waiting")
        step["started"] = now.isoformat(timespec="seconds")
    folder.mkdir()
    told = {"step": "Train", "done": 5, "total": 10, "note": "epoch 5/10", "at": now.isoformat()}
    (folder / "progress.json").write_text(json.dumps(told))
    (folder / "run.json").write_text(json.dumps(record))
    return folder, record


def test_what_happens_is_shown_without_loading_the_page_again(home, site):
    home.evaluate("window.stays = true")
    folder, record = begin_run(site)
    run = home.locator("[data-room=run]")
    expect(run).to_contain_text("at work")
    expect(run).to_contain_text("epoch 5/10")
    expect(run.get_by_role("progressbar")).to_be_visible()
    record |= {"status": "failed", "seconds": 3.0, "failure": "out of memory\nand more"}
    (folder / "run.json").write_text(json.dumps(record))
    expect(home.locator("#verdict h2")).to_have_text("The last run failed")
    expect(home.locator(".trail")).to_contain_text("out of memory")
    assert home.evaluate("window.stays")


def test_a_watch_in_a_terminal_shows_what_its_triggers_wait_for(home, site):
    with exclusive(site.state / "watch" / "watch.lock", "busy"):
        EventLog(site.state / "watch").add("run-1-began", ["raw_data"], "run", "began")
        expect(home.locator("#watch")).to_contain_text(f"process {os.getpid()}")
        expect(home.locator("#watch")).to_contain_text("quiet")
        expect(home.locator(".trail")).to_contain_text("new raw data")


def test_the_focus_stays_where_parts_come_again_as_they_were(home, site):
    link = home.locator("#room-review")
    link.focus()
    with home.expect_response("**/loop/rooms"):
        (site.state / "captures").mkdir()
    home.wait_for_timeout(300)
    with home.expect_response("**/loop/rooms"):
        (site.state / "captures" / "x").mkdir()
    home.wait_for_timeout(300)
    expect(home.locator("#room-review")).to_be_focused()
    home.keyboard.press("Enter")
    home.wait_for_url("**/review")


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_the_page_is_never_wider_than_the_screen(home, width):
    home.set_viewport_size({"width": width, "height": 800})
    assert home.evaluate("document.documentElement.scrollWidth") <= width


TOPS = """() => Object.fromEntries(Array.from(
  document.querySelectorAll("[data-room]"),
  each => [each.dataset.room, each.getBoundingClientRect().top]
))"""


def test_a_ring_on_wide_screens_and_a_track_on_narrow_ones(home):
    home.set_viewport_size({"width": 1280, "height": 900})
    top = home.evaluate(TOPS)  # at once: a part may be replaced meanwhile
    assert top["data"] == top["run"] == top["versions"] < top["endpoint"] < top["monitoring"]
    assert top["annotations"] == top["review"] == top["monitoring"] > top["watch"]
    home.set_viewport_size({"width": 360, "height": 800})
    top = home.evaluate(TOPS)
    order = ["data", "run", "versions", "endpoint", "monitoring", "review", "annotations", "watch"]
    tops = [top[room] for room in order]
    assert tops == sorted(tops)
    assert len(set(tops)) == 8


def test_a_broken_pixloop_yaml_is_told_and_mending_it_brings_the_loop_back(home, site):
    file = site.folder / "pixloop.yaml"
    before = file.read_text()
    file.write_text("task: painting\n")
    expect(home.locator("#verdict h2")).to_have_text("pixloop.yaml is wrong")
    home.reload()
    expect(home.locator(".rooms")).to_have_count(0)
    file.write_text(before)
    expect(home.locator("#verdict h2")).to_have_text("Version 1 waits for a decision")
    expect(home.locator("[data-room=data]")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(home, site, scheme):
    begin_run(site)
    expect(home.locator("[data-room=run]")).to_contain_text("at work")
    home.emulate_media(color_scheme=scheme)
    found = Axe().run(home).response["violations"]
    assert [each["id"] for each in found if each["impact"] in ("serious", "critical")] == []
