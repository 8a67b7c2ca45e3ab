"""Lambda on this machine over the tests' moto, and a real server behind an endpoint's name."""

import contextlib
import http.client
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image
from tests.small_bundles import write_colours

from pixloop.aws.rehearsal.lambdas import Lambdas
from pixloop.aws.session import Session

ENDPOINT = "pixloop-colours"


@pytest.fixture
def lambdas(aws: Session, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Lambdas]:
    if "front" in request.fixturenames:
        request.getfixturevalue("front")  # functions shall find it
    environment = {
        name: value
        for name, value in os.environ.items()
        if name.startswith(("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY", "AWS_SECRET"))
    }
    lambdas = Lambdas(environment, tmp_path / "lambdas")
    lambdas.install()
    yield lambdas
    lambdas.close()


@pytest.fixture
def role(aws: Session) -> str:
    made = aws.client("iam").create_role(RoleName="functions", AssumeRolePolicyDocument="{}")
    return str(made["Role"]["Arn"])


@pytest.fixture
def make_function(aws: Session, role: str, lambdas: Lambdas) -> Callable[..., str]:
    """Make a function of source code, or of a package; its ARN."""

    def make(name: str, source: str | bytes, **options: Any) -> str:
        settings: dict[str, Any] = {
            "Runtime": "python3.12",
            "Handler": "function.handler",
            "Code": {"ZipFile": source if isinstance(source, bytes) else pack(source)},
            "Timeout": 20,
            "MemorySize": 256,
        }
        made = aws.client("lambda").create_function(
            FunctionName=name, Role=role, **(settings | options)
        )
        return str(made["FunctionArn"])

    return make


def pack(source: str) -> bytes:
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as package:
        package.writestr("function.py", source)
    return code.getvalue()


@pytest.fixture
def until() -> Callable[..., Any]:
    """Wait until something is true, and give it."""

    def wait(condition: Callable[[], Any], patience_s: float = 30) -> Any:
        end = time.monotonic() + patience_s
        while not (value := condition()):
            assert time.monotonic() < end, "it did not happen"
            time.sleep(0.05)
        return value

    return wait


# ---- a model that is served


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tells red, green and blue apart: logits are ten times the mean of each channel."""
    folder = tmp_path_factory.mktemp("bundle")
    write_colours(folder)
    return folder


@pytest.fixture(scope="session")
def server(bundle: Path) -> Iterator[str]:
    """The address of a real server process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "pixloop.serving", str(bundle), "--name", "colours:1"]
    command += ["--streams", "2", "--max-batch", "4"]  # else it would measure them
    process = subprocess.Popen([*command, "--port", str(port)], stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    for _ in range(600):
        try:
            httpx.get(f"{address}/ping").raise_for_status()
            break
        except httpx.HTTPError:
            assert process.poll() is None
            time.sleep(0.05)
    yield address
    process.send_signal(signal.SIGTERM)
    process.wait(10)


class Front:
    """SageMaker's runtime in front of the server, with trouble to order.

    ``trouble`` is asked at each request, and gives an HTTP status with AWS's name of the error,
    or None for an answer.
    """

    def __init__(self, server: str) -> None:
        self.trouble: Callable[[], tuple[int, str] | None] = lambda: None
        self.asked = self.refused = 0
        host = server.removeprefix("http://")
        front = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                front.asked += 1
                if not re.fullmatch(f"/endpoints/{ENDPOINT}/invocations", self.path):
                    return self.fail(400, "ValidationError", {"Message": "no such endpoint"})
                if trouble := front.trouble():
                    front.refused += 1
                    return self.fail(*trouble, {"Message": "trouble was ordered"})
                connection = http.client.HTTPConnection(host, timeout=30)
                kind = {"Content-Type": self.headers["Content-Type"]}
                connection.request("POST", "/invocations", body, kind)
                response = connection.getresponse()
                answer = response.read()
                connection.close()
                if response.status == 200:
                    return self.answer(200, answer, {})
                details = {
                    "Message": "Received client error from primary",
                    "OriginalStatusCode": response.status,
                    "OriginalMessage": answer.decode(),
                }
                self.fail(424, "ModelError", details)

            def fail(self, status: int, kind: str, details: dict[str, Any]) -> None:
                self.answer(status, json.dumps(details).encode(), {"x-amzn-ErrorType": kind})

            def answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
                pass

            def handle(self) -> None:
                with contextlib.suppress(OSError):  # who asked was killed
                    super().handle()

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.address = f"http://127.0.0.1:{self.http.server_port}"
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


@pytest.fixture
def front(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Front]:
    front = Front(server)
    monkeypatch.setenv("AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME", front.address)
    yield front
    front.close()


@pytest.fixture(scope="session")
def make_picture() -> Callable[..., bytes]:
    """A picture of one colour: the server is sure of bright red, green and blue."""

    def make(colour: str | tuple[int, int, int] = "red", format_: str = "PNG") -> bytes:
        buffer = io.BytesIO()
        Image.new("RGB", (20, 30), colour).save(buffer, format_)
        return buffer.getvalue()

    return make
