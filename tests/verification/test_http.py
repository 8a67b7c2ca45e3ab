"""``open_url`` against a real server, and against what only looks like one."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
import uvicorn

from pixloop.bundle import Bundle
from pixloop.config import ServingConfig
from pixloop.errors import VerificationError
from pixloop.serving.app import build_app
from pixloop.serving.predictor import open_predictor
from pixloop.serving.server import _listen
from pixloop.verification.deployment import AnswerRefused
from pixloop.verification.http import open_url
from pixloop.verification.run import run_suite


@pytest.fixture(scope="module")
def url(classifier_bundle: Bundle) -> Iterator[str]:
    app = build_app(open_predictor(classifier_bundle), "colours:1", ServingConfig())
    server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_level="error"))
    with _listen("127.0.0.1", 0) as listener:
        thread = Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join()


@pytest.mark.parametrize("ending", ["", "/", "/invocations"])
def test_a_real_server_is_verified(url: str, ending: str, classifier_bundle: Bundle) -> None:
    with open_url(url + ending, "colours:1") as deployment:
        assert deployment.name == url
        assert run_suite(deployment, classifier_bundle.path).failed == ()


def test_nothing_there_is_said() -> None:
    with (
        open_url("http://127.0.0.1:9") as deployment,
        pytest.raises(VerificationError, match="no answer from http://127"),
    ):
        deployment.ask(b"picture")


@contextmanager
def answering(status: int, body: bytes) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.do_GET()

        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_failures_and_foreign_answers_are_told_apart_from_refusals() -> None:
    with answering(500, b"oh") as url, open_url(url) as deployment:
        assert deployment.ping() == f"{url}/ping answered 500, not 200"
        with pytest.raises(VerificationError, match="answered 500: oh"):
            deployment.ask(b"picture")
    with answering(200, b"hello") as url, open_url(url) as deployment:
        assert deployment.ping() is None
        with pytest.raises(VerificationError, match="answered 200: hello"):
            deployment.ask(b"picture")
    with (
        answering(422, b"no picture") as url,
        open_url(url) as deployment,
        pytest.raises(AnswerRefused, match="422: no picture"),
    ):
        deployment.ask(b"picture")
