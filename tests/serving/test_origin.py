"""Pages of one other origin may ask, and of no other; where none is named, nothing is said."""

from collections.abc import Callable

import pytest
from starlette.testclient import TestClient

from pixloop.config import ServingConfig
from pixloop.config_file import parse_config
from pixloop.errors import ConfigError
from pixloop.serving.app import build_app
from pixloop.serving.models.multi_model import MultiModelApp
from pixloop.serving.predictor import Predictor, open_predictor
from pixloop.serving.server import _opened

PAGE = "https://page.example"
ALLOW = "access-control-allow-origin"
OTHERS = (
    "https://page.example.evil.example", "https://page.exampl", "http://page.example", "null",
    "https://page.example:444", "https://PAGE.example", "",
)  # fmt: skip
Make = Callable[..., bytes]


@pytest.fixture(scope="module")
def open_to_page(predictor: Predictor) -> TestClient:
    settings = ServingConfig(allow_origin=PAGE, max_body_bytes=200_000)
    return TestClient(_opened(build_app(predictor, "colours:3", settings), settings))


def preflight(client: TestClient, path: str, origin: str = PAGE):
    asked = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type",
    }
    return client.options(path, headers={"Origin": origin, **asked})


def test_a_page_of_that_origin_may_ask_and_read(open_to_page, make_picture: Make) -> None:
    first = preflight(open_to_page, "/invocations")
    answer = open_to_page.post(
        "/invocations", content=make_picture("red"),
        headers={"Origin": PAGE, "Content-Type": "image/png"},
    )  # fmt: skip
    refused = open_to_page.post("/invocations", content=b"x", headers={"Origin": PAGE})

    assert first.status_code == 204
    assert first.headers["access-control-allow-methods"] == "GET, POST"
    assert first.headers["access-control-allow-headers"] == "content-type"
    assert answer.json()["predictions"][0]["label"] == "red"
    assert refused.status_code == 422  # a page may read why
    for each in (first, answer, refused, open_to_page.get("/ping", headers={"Origin": PAGE})):
        assert each.headers.get_list(ALLOW) == [PAGE]
        assert each.headers.get_list("vary") == ["Origin"]
        assert "access-control-allow-credentials" not in each.headers


@pytest.mark.parametrize("origin", OTHERS)
def test_a_page_of_another_may_not(open_to_page, origin: str) -> None:
    for answer in (
        preflight(open_to_page, "/invocations", origin),
        open_to_page.get("/ping", headers={"Origin": origin}),
        open_to_page.get("/ping"),
    ):
        assert not [name for name in answer.headers if name.startswith("access-control-")]
        assert answer.headers["vary"] == "Origin"  # or a cache would give it to that page


@pytest.mark.parametrize(
    "path", ["/docs", "/openapi.json", "/metrics", "/models", "/", "/ping/more", "/invocations2"]
)
def test_other_paths_are_for_nobodys_page(open_to_page, path: str) -> None:
    for answer in (
        preflight(open_to_page, path),
        open_to_page.get(path, headers={"Origin": PAGE}, follow_redirects=False),
    ):
        assert not [name for name in answer.headers if name.startswith("access-control-")]


def test_without_an_origin_the_application_is_the_same(predictor: Predictor) -> None:
    app = build_app(predictor, "colours:3", ServingConfig())

    assert _opened(app, ServingConfig()) is app
    answer = preflight(TestClient(app), "/invocations")
    assert answer.status_code == 405
    assert not [name for name in answer.headers if name.startswith("access-control-")]
    assert "vary" not in TestClient(app).get("/ping", headers={"Origin": PAGE}).headers


def test_of_several_models_each_may_be_asked_and_none_changed(bundle) -> None:
    settings = ServingConfig(allow_origin=PAGE)
    app = MultiModelApp(bundle.path.parent, settings, open_predictor)
    client = TestClient(_opened(app, settings))
    try:
        for path in ("/models/a/invoke", "/models/a/invocations", "/models/a/ping"):
            assert preflight(client, path).headers[ALLOW] == PAGE
        for path in ("/models", "/models/a", "/models/a/b/invoke"):
            assert ALLOW not in preflight(client, path).headers
    finally:
        app.close()


@pytest.mark.parametrize(
    "origin",
    [
        "https://page.example", "http://127.0.0.1:8000", "http://localhost", "https://a:8443",
        "http://[::1]:8000",
    ],
)  # fmt: skip
def test_an_origin_is_as_browsers_write_it(origin: str) -> None:
    assert ServingConfig(allow_origin=origin).allow_origin == origin


@pytest.mark.parametrize(
    "origin",
    [
        "*", "null", "", "page.example", "https://page.example/", "https://page.example/try",
        "https://Page.example", "https://page.example:443", "http://page.example:80",
        "https://*.example", "https://a.example, https://b.example", "https://a@b.example",
        "file:///tmp", "https://a.example\r\nX: y", "https://a.example?", "https://a.example:0",
    ],
)  # fmt: skip
def test_what_is_no_origin_is_refused(origin: str) -> None:
    with pytest.raises(ConfigError, match=r"serving\.allow_origin.*one origin"):
        parse_config(
            {"task": "classification", "data": "x", "serving": {"allow_origin": origin}}, []
        )
