"""A person's way: start a run with another setting, watch it, cancel it, run it again."""

import re

import pytest
from playwright.sync_api import Page, expect

from pixloop.pipeline.runs import Cause
from pixloop.web.site import Site

pytestmark = pytest.mark.integration

#: A run of the small project, on a machine that has other things to do.
_LONG_MS = 240_000


def test_a_run_is_started_watched_cancelled_and_run_again(tab: Page, site: Site) -> None:
    tab.goto("/runs")
    tab.get_by_role("link", name="Start a run").click()

    # What is wrong is said at its field before anything starts.
    epochs = tab.get_by_role("spinbutton", name=re.compile("^epochs"))
    epochs.fill("-1")
    expect(epochs).to_have_attribute("aria-invalid", "true")
    expect(tab.get_by_text("greater than or equal to 0")).to_be_visible()
    tab.get_by_role("button", name="Start the run").click()
    expect(epochs).to_be_focused()

    epochs.fill("100")
    expect(tab.get_by_label("The command")).to_have_text("pixloop run --set training.epochs=100")
    tab.get_by_role("textbox", name=re.compile("^patience|^Why")).fill("a longer try")
    tab.get_by_role("spinbutton", name=re.compile("^patience")).fill("100")
    expect(tab.get_by_label("The command")).to_contain_text("training.patience=100")
    tab.get_by_role("button", name="Start the run").click()
    tab.wait_for_url("**/runs")

    # It is at the top, and its page shows how it goes on.
    running = tab.get_by_role("link", name=re.compile("^The run of"))
    running.click(timeout=60_000)
    steps = tab.locator("#state .track")
    expect(steps.locator("li.running", has_text="Train")).to_be_visible(timeout=_LONG_MS)
    expect(tab.locator("#state .progress")).to_contain_text(
        re.compile(r"training [\d\s]+/[\d\s]+"), timeout=60_000
    )
    expect(tab.locator("#state .eta")).to_contain_text("left")
    expect(tab.locator("#plot-loss canvas")).to_be_visible(timeout=60_000)
    tab.get_by_text("As a table").click()
    expect(tab.get_by_role("rowheader", name="2", exact=True)).to_be_visible(timeout=60_000)

    tab.get_by_role("button", name="Cancel the run").click()
    expect(tab.get_by_text("It was interrupted.")).to_be_visible(timeout=60_000)
    expect(steps.locator("li.interrupted", has_text="Train")).to_be_visible()
    cancelled = site.runs()[0]
    settings = ("training.epochs=100", "training.patience=100")
    assert cancelled.cause == Cause(by="page", detail="a longer try", settings=settings)

    # Again, it goes on after the last finished epoch, and ends.
    expect(tab.get_by_text("from Train on")).to_be_visible(timeout=60_000)
    tab.get_by_role("button", name="Run it again").click()
    tab.wait_for_url("**/runs")
    running.click(timeout=60_000)
    expect(tab.locator("#state .card-head .pill")).to_have_text("done", timeout=_LONG_MS)
    finished = site.runs()[0]
    assert finished.id != cancelled.id
    assert finished.status == "done"
    assert finished.cause.settings == settings
    assert finished.steps["Prepare"].status == "cached"
    assert finished.steps["Train"].folder == cancelled.steps["Train"].folder
    expect(tab.locator(".outcome").get_by_role("link", name="2", exact=True)).to_be_visible()


def test_the_log_follows_its_end_only_while_that_is_looked_at(tab: Page, site: Site) -> None:
    run = site.runs()[0]
    file = run.folder / "steps" / "Train" / "log.txt"
    file.write_text("\n".join(f"line {n}" for n in range(500)))
    tab.goto(f"/runs/{run.id}")
    tab.get_by_role("button", name="Train").click()
    log = tab.get_by_role("log")
    expect(log).to_contain_text("line 499")
    at_end = "e => e.scrollTop + e.clientHeight >= e.scrollHeight - 1"
    assert log.evaluate(at_end)
    again = "() => document.body.dispatchEvent(new CustomEvent('htmx:afterSettle'))"

    file.write_text(file.read_text() + "\nmore")
    tab.evaluate(again)
    expect(log).to_contain_text("more")
    assert log.evaluate(at_end)

    log.evaluate("e => { e.scrollTop = 0; }")
    file.write_text(file.read_text() + "\nand more")
    tab.evaluate(again)
    expect(log).to_contain_text("and more")
    assert log.evaluate("e => e.scrollTop") == 0


def test_a_key_is_found_by_its_words(tab: Page) -> None:
    tab.goto("/runs/new")
    tab.get_by_role("searchbox", name="Find a key").fill("imagenet-c")
    expect(tab.get_by_text(re.compile(r"^\d keys?$"))).to_be_visible()
    expect(tab.get_by_role("spinbutton", name=re.compile("^min_kept_accuracy"))).to_be_visible()
    expect(tab.get_by_role("spinbutton", name=re.compile("^epochs"))).to_be_hidden()


@pytest.mark.parametrize("path", ["/runs", "/runs/new", "/runs/{run}"])
def test_nothing_scrolls_sideways_on_a_phone(tab: Page, site: Site, path: str) -> None:
    tab.set_viewport_size({"width": 360, "height": 740})
    tab.goto(path.format(run=site.runs()[0].id))
    wide = "() => document.documentElement.scrollWidth"
    assert tab.evaluate(wide) <= 360
