import re
import threading

import pytest
from playwright.sync_api import expect
from tests.web.models.versions import Handler, Server, register_second

from pixloop.web.site import Site

pytestmark = pytest.mark.integration

axe_playwright_python = pytest.importorskip("axe_playwright_python.sync_playwright")


@pytest.fixture
def server():
    """What answers as a server of version 1 does."""
    with Server(("127.0.0.1", 0), Handler) as running:
        running.ping = b'{"status": "ready", "model": "colours:1"}'
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


@pytest.fixture
def site(project, server):
    """Two versions, of which the first is the champion, and a server that serves it."""
    register_second(project)
    return Site(project.folder, overrides=[f"serving.port={server.server_port}"])


def serious(tab):
    found = axe_playwright_python.Axe().run(tab).response["violations"]
    return [each["id"] for each in found if each["impact"] in ("serious", "critical")]


def test_compare_approve_see_the_endpoint_change_and_go_back(tab, server):
    tab.set_default_timeout(60_000)
    expect.set_options(timeout=60_000)
    tab.goto("/models")
    tab.get_by_label("Compare version 1").check()
    tab.get_by_label("Compare version 2").check()
    assert serious(tab) == []
    tab.get_by_role("link", name="Compare 2 with 1").click()
    expect(tab.get_by_role("heading", name="Version 2 against 1")).to_be_visible()
    expect(tab.get_by_role("button", name="Compare", exact=True).last).to_be_visible()
    assert serious(tab) == []

    tab.goto("/models/2")
    expect(tab.locator("#actions")).to_contain_text("becomes the champion in place of 1")
    assert serious(tab) == []
    tab.locator("#do-approve").focus()
    tab.keyboard.press("Enter")
    expect(tab.locator("#version-head")).to_contain_text("champion")
    expect(tab.locator("#endpoint")).to_contain_text("changing from 1 to 2")
    server.ping = b'{"status": "ready", "model": "colours:2"}'
    expect(tab.locator("#endpoint")).to_contain_text("serves version 2")

    tab.locator("#do-rollback").click()
    expect(tab.locator("#version-head")).to_contain_text("approved")
    expect(tab.locator("#do-reject")).to_be_visible()
    tab.locator("#reject-reason").fill("<i>wrong</i> on snow")
    tab.locator("#do-reject").click()
    expect(tab.locator("#version-head")).to_contain_text("Rejected: <i>wrong</i> on snow")


def test_a_page_that_is_out_of_date_says_so(tab, site):
    expect.set_options(timeout=60_000)
    tab.route("**/events?*", lambda route: route.abort())  # nothing is heard meanwhile
    tab.goto("/models/2")
    expect(tab.locator("#do-approve")).to_be_visible()
    tab.evaluate(
        "document.querySelectorAll('[name=seen]').forEach((each) => { each.value = '9'; })"
    )
    tab.locator("#do-approve").click()
    expect(tab.locator(".toast.bad")).to_contain_text("Nothing was changed")


def test_the_choosers_of_a_comparison_hear_of_a_new_champion(tab, site):
    tab.goto("/models/compare?a=1&b=2")
    newer, older = tab.locator("#choose-b"), tab.locator("#choose-a")
    marked = "select => Array.from(select.options, (each) => each.text)"
    assert newer.evaluate(marked) == ["2", "1, champion"]
    newer.select_option("1")
    older.select_option("2")
    older.focus()
    site.project.registry.approve("2")
    expect(older).to_contain_text("2, champion", timeout=60_000)
    assert newer.evaluate(marked) == ["2, champion", "1"]
    assert (newer.input_value(), older.input_value()) == ("1", "2")  # as they were chosen
    expect(older).to_be_focused()
    tab.get_by_role("button", name="Compare", exact=True).first.click()
    expect(tab.get_by_role("heading", name="Version 1 against 2")).to_be_visible()


def test_on_a_phone_nothing_lies_beside_the_page(tab):
    expect.set_options(timeout=60_000)
    tab.set_viewport_size({"width": 360, "height": 780})
    for path in ("/models", "/models/1", "/models/compare?a=1&b=2"):
        tab.goto(path)
        expect(tab.locator("section[aria-busy]")).to_have_count(0)
        wide = tab.evaluate("document.documentElement.scrollWidth")
        assert wide <= 360, path


def test_a_report_shows_itself_and_can_do_nothing_else(tab):
    asked = []
    tab.on("request", lambda request: asked.append(request.url))
    tab.goto("/models/1/report")
    expect(tab.locator("h1").first).to_be_visible()
    assert tab.evaluate("origin") == "null"
    assert len([url for url in asked if not re.match("data:|blob:", url)]) == 1
