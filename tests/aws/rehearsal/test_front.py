"""The way of a request to the model's server."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from pixloop.aws.rehearsal.front import Front


@pytest.fixture
def model() -> Iterator[str]:
    """The address of a server that answers everything."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"asked": self.path}).encode())

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,)).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_proxy_for_the_world_is_not_asked(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    variant = SimpleNamespace(name="all", server=SimpleNamespace(url=model))
    endpoints: Any = SimpleNamespace(variant=lambda name, wanted: variant)
    front = Front(endpoints)
    try:
        answer = httpx.post(f"{front.url}/endpoints/colours/invocations", trust_env=False)
    finally:
        front.close()
    assert answer.json() == {"asked": "/invocations"}
