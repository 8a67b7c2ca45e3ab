"""What all pages do in a real browser."""

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.integration


def test_on_a_phone_the_menu_shows_the_page_that_is_open(tab):
    tab.set_viewport_size({"width": 360, "height": 740})
    for path in ("/data", "/"):
        tab.goto(path)
        current = tab.locator(".top nav a[aria-current]")
        expect(current).to_be_in_viewport(ratio=1)
        assert tab.evaluate("[scrollX, scrollY]") == [0, 0]
    tab.goto("/data")
    expect(tab.locator(".top nav a").first).not_to_be_in_viewport()  # it does scroll
