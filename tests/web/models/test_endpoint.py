import threading

import pytest
from tests.web.conftest import client_of
from tests.web.models.versions import Handler, Server, made

from pixloop.errors import ConfigError, PipelineError, RegistryError
from pixloop.web.endpoint import read_endpoint, start_server, stop_server
from pixloop.web.jobs import Jobs
from pixloop.web.site import Site


@pytest.fixture(autouse=True)
def cold(monkeypatch):
    """Pages have MLflow imported ahead, which nothing here needs."""
    monkeypatch.setattr("pixloop.web.models.page.warm", lambda site: None)


@pytest.fixture
def server():
    """What answers as a server of version 1 does."""
    with Server(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


@pytest.fixture
def champions(monkeypatch):
    """Says which version is the champion."""

    def put(number):
        versions = tuple(made(n, champion=n == number) for n in (4, 3, 2, 1))
        monkeypatch.setattr(Site, "versions", lambda self: versions)

    put(1)
    return put


@pytest.fixture
def watched(new_site, server, champions):
    """A project whose server answers."""
    return Site(new_site.folder, overrides=[f"serving.port={server.server_port}"])


def read(site):
    site.cached.get("endpoint", None, lambda: None)  # forget what was seen this second
    return read_endpoint(site)


def test_a_server_that_does_what_it_should(watched):
    found = read(watched)
    assert (found.state, found.version, found.expected) == ("serving", "1", "1")
    assert found.rates.requests == 40
    assert found.rates.refused == 0.25
    text = client_of(watched).get("/models/endpoint").text
    assert "serves version 1" in text
    assert "every 10s" in text


def test_a_champion_that_it_will_take_over_is_waited_for(watched, champions):
    champions(3)
    found = read(watched)
    assert (found.state, found.expected, found.settled) == ("switching", "3", False)
    text = client_of(watched).get("/models/endpoint").text
    assert "changing from 1 to 3" in text
    assert "every 2s" in text


def test_a_champion_that_it_refused_is_said(watched, champions):
    champions(2)
    assert read(watched).state == "refused"
    assert "stays with 1" in client_of(watched).get("/models/endpoint").text


def test_a_server_that_does_not_follow(watched, champions, server):
    champions(3)
    port = f"serving.port={server.server_port}"
    still = Site(watched.folder, overrides=[port, "serving.follow_s=0"])
    assert read(still).state == "serving"
    text = client_of(still).get("/models/4/actions").text
    assert "stays with version 1 until it is started anew" in text


def test_what_follows_names_the_server(watched):
    text = client_of(watched).get("/models/4/actions").text
    assert f"the server on {read(watched).where} takes it over within 5 s" in text
    assert "to approve is to deploy" in text


@pytest.mark.parametrize(
    "ping",
    [b'{"model": "<script>x:1"}', b"<html>", b"[]", b"null", b"\xff", b'{"model": "cars:1"}'],
)
def test_what_is_not_this_projects_is_a_stranger(watched, server, ping):
    server.ping = ping
    found = read(watched)
    assert (found.state, found.version) == ("stranger", None)
    client = client_of(watched)
    for path in ("/models/endpoint", "/models/4/actions"):
        assert "<script>" not in client.get(path).text
    with pytest.raises(PipelineError, match="else answers"):
        start_server(watched)


def test_a_second_server_is_not_started(watched):
    with pytest.raises(PipelineError, match=r"answers on .* already"):
        start_server(watched)


def test_nothing_answers(new_site, champions):
    silent = Site(new_site.folder, overrides=["serving.port=1"])
    assert read(silent).state == "silent"
    text = client_of(silent).get("/models/endpoint").text
    assert "pixloop serve" in text
    assert "Start the server" in text


def test_nothing_to_serve(new_site):
    with pytest.raises(RegistryError, match="pixloop run"):
        start_server(new_site)


def test_a_server_that_is_asked_to_stop_says_so_until_it_is_gone(new_site, champions, monkeypatch):
    silent = Site(new_site.folder, overrides=["serving.port=0"])
    # It goes on after Ctrl-C, as one that still answers does, until it is told by a file.
    monkeypatch.setattr(
        "pixloop.web.jobs._PROGRAM",
        "import os, signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "print('ignoring', flush=True)\n"
        "while not os.path.exists('end'): time.sleep(0.01)",
    )
    client = client_of(silent)
    client.post("/models/endpoint/start")
    (job,) = silent.jobs.running("serve")
    while "ignoring" not in silent.jobs.log(job):
        pass
    text = client.get("/models/endpoint").text
    assert "stopping" not in text
    assert "do-stop" in text

    client.post("/models/endpoint/stop", data={"job": job.id})
    for pages in (client, client_of(Site(silent.folder, overrides=["serving.port=0"]))):
        text = pages.get("/models/endpoint").text
        assert 'data-state="stopping"' in text
        assert "every 2s" in text
        for other in ("do-stop", "do-start", "starting", "not running"):
            assert other not in text
    assert read(silent).state == "silent"

    (silent.folder / "end").touch()
    while silent.jobs.running("serve"):
        pass
    text = client.get("/models/endpoint").text
    assert "stopping" not in text
    assert "do-start" in text


def test_started_and_stopped_from_the_page(new_site, champions, monkeypatch):
    silent = Site(new_site.folder, overrides=["serving.port=0"])
    monkeypatch.setattr(
        "pixloop.web.jobs._PROGRAM",
        "import signal, sys, time; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "print('serving new:1 on http://0.0.0.0:9', flush=True); time.sleep(60)",
    )
    client = client_of(silent)
    assert client.post("/models/endpoint/start").status_code == 204
    (job,) = silent.jobs.running("serve")
    assert job.command == ("serve",)
    assert client.post("/models/endpoint/start").status_code == 409
    while "serving" not in silent.jobs.log(job):
        pass
    found = read(silent)
    assert (found.state, found.url) == ("starting", "http://127.0.0.1:9")
    assert "serving new:1" in client.get("/models/endpoint/log").text
    assert client.post("/models/endpoint/stop", data={"job": "../../x"}).status_code == 422
    assert Jobs.status(silent.jobs, job) == "running"
    assert client.post("/models/endpoint/stop", data={"job": job.id}).status_code == 204
    while silent.jobs.running("serve"):
        pass
    stop_server(silent, job.id)  # a second click
    with pytest.raises(ConfigError):
        stop_server(silent, "")
