import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.integration

HIDE = """hidden => {
  Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
  document.dispatchEvent(new Event("visibilitychange"));
}"""


def test_a_page_that_nobody_sees_holds_no_connection(tab, site):
    asked, ended = [], []
    tab.on("request", lambda r: asked.append(r.url) if "/events?" in r.url else None)
    tab.on("requestfailed", lambda r: ended.append(r.url) if "/events?" in r.url else None)
    tab.goto("/runs")
    tab.wait_for_function("source && source.readyState === 1")
    assert (len(asked), len(ended)) == (1, 0)
    tab.evaluate(HIDE, True)
    tab.wait_for_function("source === null")
    run = site.project.runs()[0]
    run.status = "failed"
    run.save()  # told to nobody
    tab.evaluate(HIDE, False)
    expect(tab.get_by_text("failed").first).to_be_visible()
    assert len(asked) == 2


def test_more_tabs_than_a_browser_has_connections(browser, address):
    context = browser.new_context(base_url=address)
    tabs = [context.new_page() for _ in range(7)]
    for each in tabs:
        each.goto("/runs")
        each.evaluate(HIDE, True)
    tabs[0].goto("/models")
    expect(tabs[0].get_by_role("heading", name="Models", exact=True)).to_be_visible()
    context.close()
