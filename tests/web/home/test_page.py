"""The page of the loop, as browsers ask for it."""

import json

import pytest

from pixloop.errors import RegistryError
from pixloop.pipeline.lock import exclusive
from pixloop.watching.events import EventLog
from pixloop.web.home.server import Served
from pixloop.web.jobs import Jobs
from pixloop.web.live import look

PARTS = ["/loop/verdict", "/loop/rooms", "/loop/timeline", "/loop/watch"]
HOSTILE = "<script>alert(1)</script>"


@pytest.fixture(autouse=True)
def no_server(monkeypatch):
    """Nothing answers: a thread of its own asks, when it comes to it."""
    monkeypatch.setattr("pixloop.web.home.server.ask", lambda site: Served("silent"))


def test_a_new_project_is_told_what_to_do_first(new_client):
    answer = new_client.get("/")
    assert answer.status_code == 200
    assert "Nothing has happened yet" in answer.text
    assert 'href="/runs/new">Start a run' in answer.text


def test_a_finished_project_asks_for_its_decision(client):
    assert "Version 1 waits for a decision" in client.get("/loop/verdict").text
    assert "version 1" in client.get("/loop/rooms").text


def test_the_page_waits_for_no_registry_and_its_first_part_does(client, site, monkeypatch):
    asked = []
    monkeypatch.setattr(type(site), "versions", lambda self: asked.append(1) or ())
    answer = client.get("/")
    assert answer.status_code == 200
    assert not asked
    assert 'hx-trigger="load, ' in answer.text
    client.get("/loop/rooms")
    assert asked


def test_a_page_that_knows_all_loads_nothing_twice(client, site):
    site.versions()
    assert 'hx-trigger="load' not in client.get("/").text


@pytest.mark.parametrize("path", PARTS)
@pytest.mark.parametrize("which", ["client", "new_client"])
def test_parts_are_no_pages(path, which, request):
    answer = request.getfixturevalue(which).get(path)
    assert answer.status_code == 200
    assert "<html" not in answer.text


def test_a_broken_pixloop_yaml_is_the_headline_and_mending_it_brings_the_loop_back(client, site):
    file = site.folder / "pixloop.yaml"
    before = file.read_text()
    file.write_text(before + f'\n"{HOSTILE}": 1\n')
    answer = client.get("/")
    assert answer.status_code == 200
    assert "pixloop.yaml is wrong" in answer.text
    assert HOSTILE not in answer.text
    assert client.get("/loop/verdict?mended").headers.get("hx-refresh") is None
    assert [client.get(path).status_code for path in PARTS[1:]] == [204, 204, 204]
    assert look(site)["server"]  # whoever listens goes on listening
    file.write_text(before)
    assert client.get("/loop/verdict?mended").headers["hx-refresh"] == "true"


def test_what_files_say_is_shown_as_text(client, site):
    log = EventLog(site.state / "watch")
    log.add("run-1-began", [HOSTILE], "run", "began")
    log.add("run-1-failed", [HOSTILE], "run", "failed", HOSTILE, HOSTILE)
    log.add("odd", [], HOSTILE, HOSTILE)
    run = next((site.state / "runs").glob("*/run.json"))
    record = json.loads(run.read_text())
    record |= {"status": "failed", "failure": HOSTILE}
    run.write_text(json.dumps(record))
    text = "".join(client.get(path).text for path in ["/", *PARTS])
    assert HOSTILE not in text
    assert "&lt;script&gt;" in text


def test_a_registry_that_refuses_breaks_no_page(client, site, monkeypatch):
    def refuse(self):
        raise RegistryError("the registry is gone")

    monkeypatch.setattr(type(site), "versions", refuse)
    monkeypatch.setattr(type(site), "versions_at_hand", lambda self: None)
    assert client.get("/").status_code == 200
    assert "the registry is gone" in client.get("/loop/verdict").text


def test_the_watch_is_started_and_stopped(client, site, monkeypatch):
    spawn = Jobs._spawn
    monkeypatch.setattr(
        Jobs, "_spawn", lambda self, folder, command: spawn(self, folder, ["--help"])
    )
    answer = client.post("/loop/watch/start")
    assert answer.status_code == 200
    assert site.jobs.list("watch")[0].command == ("watch",)
    assert client.post("/loop/watch/stop").status_code == 200


def test_a_second_watch_is_refused(client, site):
    with exclusive(site.state / "watch" / "watch.lock", "busy"):
        answer = client.post("/loop/watch/start")
        assert answer.status_code == 409
        assert "at work already" in answer.text
        assert "Ctrl-C" in client.get("/loop/watch").text
    assert not site.jobs.list("watch")


@pytest.mark.parametrize("path", ["/loop/watch/start", "/loop/watch/stop"])
def test_the_watch_obeys_only_its_own_pages(client, site, path):
    assert client.get(path).status_code == 405
    assert client.post(path, headers={"X-CSRF-Token": "x"}).status_code == 403
    assert client.post(path, headers={"Origin": "http://evil.example"}).status_code == 403
    assert not site.jobs.list("watch")
