"""What strangers may send, to every address that the pages have: found from the application."""

import re
from collections.abc import Iterator
from urllib.parse import quote

import pytest
from starlette.requests import Request
from starlette.routing import Route
from tests.web.conftest import client_of

from pixloop.errors import PipelineError
from pixloop.web.app import _page_routes
from pixloop.web.jobs import Jobs
from pixloop.web.tryout.explanations import Explanations

MARK = "<img src=x onerror=alert(1)>"
HOSTILE = {
    "markup": f"\"'>{MARK}",
    "a path": "../../../../../../etc/passwd",
    "a giant number": "1" + "0" * 5000,
    "a number with a giant behind": "000001" + "0" * 5000,
    "a number that no database holds": "9" * 30,
    "below zero": "-1",
    "digits of another script": "٣",
    "a superscript": "²",
    "an option": "--help",
    "a header": "a\r\nX-Evil: 1",
    "a NUL": "a\0b",
    "nothing": "",
    "a script's address": "javascript:alert(1)",
    "another site": "//evil.example/",
    "a template": "{{ 7 * 7 }}${7*7}",
}


class Everything:
    """A query in which every name has the same value."""

    def __init__(self, value: str) -> None:
        self._value = value

    def get(self, name: str, otherwise: object = None) -> str:
        return self._value

    def __getitem__(self, name: str) -> str:
        return self._value

    def __contains__(self, name: str) -> bool:
        return True

    def __str__(self) -> str:
        return ""


def routes_of(site, method) -> Iterator[Route]:
    for route in _page_routes(site):
        assert isinstance(route, Route)
        if method in (route.methods or ()):
            yield route


def filled(path, value):
    """An address with a value in the place of each of its parameters; numbers are digits."""

    def fill(found: re.Match[str]) -> str:
        if found[0].endswith(":int}") and not re.fullmatch("[0-9]+", value):
            return "1"
        return quote(value or "x", safe="")

    return re.sub(r"\{[^}]*\}", fill, path)


def check(answer):
    assert answer.status_code < 500
    assert "root:x:0" not in answer.text
    assert "x-evil" not in answer.headers
    assert "evil.example" not in answer.headers.get("location", "").partition("?")[0]
    if answer.headers.get("content-type", "").startswith("text/html"):
        assert MARK not in answer.text
        assert not re.search(r"""(href|src|action|hx-\w+)=["']?javascript:""", answer.text)


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE)
def test_no_address_fails_on_it_or_passes_it_on(site, monkeypatch, value):
    client = client_of(site)
    client.follow_redirects = False
    for route in routes_of(site, "GET"):
        for query in ("", value):
            with monkeypatch.context() as patched:
                if query:
                    patched.setattr(Request, "query_params", Everything(query))
                elif "{" not in route.path:
                    continue
                try:
                    check(client.get(filled(route.path, value)))
                except Exception as e:
                    pytest.fail(f"GET {route.path}: {type(e).__name__}: {e}")


@pytest.mark.parametrize(
    "wrong",
    [
        {"X-CSRF-Token": ""},
        {"X-CSRF-Token": "guessed"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Host": "evil.example"},
    ],
    ids=str,
)
def test_nobody_else_changes_anything_at_any_address(site, monkeypatch, wrong):
    monkeypatch.setattr(Jobs, "start", lambda *_, **__: pytest.fail("something was started"))
    client = client_of(site)
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        for route in routes_of(site, "POST"):
            answer = client.request(method, filled(route.path, "1"), headers=wrong)
            assert answer.status_code == 403, (method, route.path)


@pytest.mark.parametrize("name", ["markup", "a giant number", "an option", "a NUL"])
def test_what_is_sent_to_be_changed_fails_nowhere(site, monkeypatch, name):
    def refuse(*_: object, **__: object) -> None:
        raise PipelineError("nothing is started here")

    monkeypatch.setattr(Jobs, "start", refuse)
    monkeypatch.setattr(Explanations, "explain", lambda *_: iter(()))
    client, value = client_of(site), HOSTILE[name]
    names = "seen reason job alarms budget number page split all training.epochs data.classes"
    form = "&".join(f"{field}={quote(value)}" for field in names.split())
    bodies = {
        "application/x-www-form-urlencoded": form.encode(),
        "application/json": b'{"sha256": ' + b"[" * 10_000,
        "image/jpeg": b"\xff\xd8\xff" + value.encode(),
    }
    for route in routes_of(site, "POST"):
        for kind, body in bodies.items():
            try:
                path = filled(route.path, value)
                check(client.post(path, content=body, headers={"Content-Type": kind}))
            except Exception as e:
                pytest.fail(f"POST {route.path} ({kind}): {type(e).__name__}: {e}")


@pytest.mark.parametrize("form", [b"a=" + b"b" * 1_000_000, b"a&" * 20_000], ids=["long", "many"])
def test_a_form_that_no_page_has_is_refused(client, form):
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    assert client.post("/runs/check", content=form, headers=kind).status_code == 413
