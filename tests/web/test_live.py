"""What changed after a page was made is told to it, however late it asks."""

import http.client
import re
from urllib.parse import urlsplit

import pytest

from pixloop.web.live import Changes


def fail(site):
    """Something that pages show changes."""
    run = site.project.runs()[0]
    run.status = "failed"
    run.save()


def test_each_change_is_told_once_to_each_who_asks(site):
    changes = Changes(site)
    begun, names = changes.since()
    assert list(names) == []
    early, names = changes.since(begun)
    assert "runs" not in names
    fail(site)
    _, names = changes.since(early)
    assert "runs" in names
    assert "review" not in names
    late, names = changes.since(early)  # of another page, after somebody has looked
    assert "runs" in names
    _, names = changes.since(late)
    assert "runs" not in names


def test_a_page_of_an_earlier_start_is_told_everything(site):
    begun, _ = Changes(site).since()
    assert {"runs", "versions", "review", "jobs"} <= set(Changes(site).since(begun)[1])


@pytest.fixture
def asked(address):
    """Asks the server that listens; gives the answer before its body has come."""
    connections = []

    def ask(path):
        connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=30)
        connections.append(connection)
        connection.request("GET", path, headers={"Accept": "text/html"})
        return connection.getresponse()

    yield ask
    for each in connections:
        each.close()


def first_event(stream):
    """The name of the first event."""
    while True:
        line = stream.readline().decode().strip()
        if line.startswith("event: "):
            return line.removeprefix("event: ")


def test_what_changed_before_a_page_could_ask_is_told_at_once(asked, site):
    page = asked("/runs").read().decode()
    (began,) = re.findall(r'data-began="([0-9.]+)"', page)
    fail(site)
    assert first_event(asked(f"/events?since={began}")) == "runs"


@pytest.mark.parametrize("since", ["", "?since=", "?since=x", "?since=nan", "?since=1e300"])
def test_who_cannot_say_since_when_is_told_everything(asked, since):
    answer = asked(f"/events{since}")
    assert answer.status == 200
    assert first_event(answer) == "runs"
