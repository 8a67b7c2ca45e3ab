"""What the real server says to whoever means it harm, and that it goes on answering."""

import json
import socket
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import httpx
import psutil
import pytest
from PIL import Image
from tests.serving.bad_pictures import broken, encode, gradient, too_large
from tests.serving.test_server import running

from pixloop.bundle import Bundle

pytestmark = pytest.mark.integration

Make = Callable[..., bytes]
PROBLEM = "application/problem+json"
HEAD = b"POST /invocations HTTP/1.1\r\nHost: x\r\n"


@dataclass(frozen=True)
class Server:
    """A server that can be spoken to without manners."""

    url: str
    process: psutil.Process

    def connect(self) -> socket.socket:
        host, _, port = self.url.removeprefix("http://").partition(":")
        return socket.create_connection((host, int(port)), timeout=60)

    def say(self, *parts: bytes) -> bytes:
        """Send all parts, then read until the server closes the connection."""
        with self.connect() as connection:
            try:
                for part in parts:
                    connection.sendall(part)
            except OSError:
                pass  # it has heard enough
            return read_all(connection)

    def post(self, body: bytes, content_type: str = "image/png") -> httpx.Response:
        headers = {"Content-Type": content_type}
        return httpx.post(f"{self.url}/invocations", content=body, headers=headers, timeout=60)

    def check_alive(self) -> None:
        assert self.post(encode(Image.new("RGB", (20, 30), "blue"), "PNG")).status_code == 200


def read_all(connection: socket.socket) -> bytes:
    answer = b""
    try:
        while more := connection.recv(65536):
            answer += more
    except ConnectionError:
        pass
    return answer


def check_problem(answer: bytes, *statuses: int) -> None:
    """One answer, a problem document."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head[:9] == b"HTTP/1.1 ", answer
    assert int(head[9:12]) in statuses, answer
    assert PROBLEM.encode() in head.lower()
    assert json.loads(body)["status"] == int(head[9:12])


@pytest.fixture(scope="module")
def server(bundle: Bundle) -> Iterator[Server]:
    with running(str(bundle.path), "--max-body-bytes", "6000000") as (url, process):
        yield Server(url, psutil.Process(process.pid))


@pytest.fixture(autouse=True)
def alive(server: Server) -> Iterator[None]:
    yield
    server.check_alive()


def test_pictures_of_too_many_pixels(server: Server) -> None:
    for name, data in too_large():
        response = server.post(data)
        assert response.status_code == 413, name
        assert response.headers["content-type"] == PROBLEM, name


def test_broken_pictures(server: Server) -> None:
    for name, data in broken():
        response = server.post(data)
        assert response.status_code in (200, 413, 422), name
        assert response.status_code == 200 or response.headers["content-type"] == PROBLEM, name
        server.check_alive()


def test_a_panorama_is_answered(server: Server) -> None:
    assert server.post(encode(gradient(20_000, 1000), "JPEG")).status_code == 200


@pytest.mark.parametrize(
    ("body", "statuses"),
    [
        (b"[" * 5_000_000, {413}),
        (b'{"a":' * 5000, {400}),
        (b"[" * 9000, {400}),
        (b'{"image": 1' + b"0" * 4_000_000 + b"}", {400}),
        (b'{"image": 1e999999999}', {422}),
        (b'{"image": NaN}', {422}),
        (b'{"image": -Infinity, "image": {}}', {422}),
        (rb'{"image": "\ud800"}', {400}),
        (b'{"image": "\xff\xfe"}', {400}),
        (b'\xff\xfe{\x00"\x00', {400}),
        (b'{"image": "' + b"A" * 4_000_001 + b'"}', {400}),
        (b'{"image": "' + b"AA " * 1_000_000 + b'"}', {400, 422}),
        (json.dumps({"instances": [{"b64": "AAAA"}] * 1025}).encode(), {413}),
        (json.dumps({"instances": [{"b64": "AAAA"}] * 1024}).encode(), {422}),
        (b'{"instances": [' + b'{"":{}},' * 500_000 + b"{}]}", {413}),
        (b"\n" * 5_000_000, {400}),
    ],
    ids=lambda value: value[:12] if isinstance(value, bytes) else "",
)
def test_absurd_json(server: Server, body: bytes, statuses: set[int]) -> None:
    for content_type in ("application/json", "application/jsonlines"):
        response = server.post(body, content_type)
        assert response.status_code in statuses
        assert response.headers["content-type"] == PROBLEM


@pytest.mark.parametrize(
    ("content_type", "status"),
    [("text/csv", 415), ("multipart/form-data; boundary=x", 415), ("\xff/\x80", 415), (";", 422)],
)
def test_content_types(server: Server, content_type: str, status: int) -> None:
    head = HEAD + b"Content-Type: " + content_type.encode("latin-1") + b"\r\n"
    check_problem(server.say(head + b"Content-Length: 1\r\nConnection: close\r\n\r\nx"), status)


@pytest.mark.parametrize(
    "rest",
    [
        b"Content-Length: -1\r\n\r\nx",
        b"Content-Length: 99999999999999999999999999\r\n\r\nx",
        b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        b"Content-Length: 1, 1\r\n\r\nx",
        b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\nnonsense\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n",
        b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
        b" folded: header\r\n\r\n",
        b"no colon\r\n\r\n",
        b"Na\0me: x\r\n\r\n",
    ],
)
def test_what_is_no_http(server: Server, rest: bytes) -> None:
    # A client and a proxy that read it differently could be made to smuggle requests.
    check_problem(server.say(HEAD + rest), 400)


@pytest.mark.parametrize(
    "request_line",
    [
        b"GET /\x00 HTTP/1.1",
        b"GET http://[::1 HTTP/1.1",
        b"CONNECT x:80 HTTP/1.1",
        b"BREW / HTTP/1.1",
        b"GET / HTTP/9.9",
        b"\x16\x03\x01\x02\x00\x01",
        b"PRI * HTTP/2.0",
    ],
)
def test_other_request_lines(server: Server, request_line: bytes) -> None:
    check_problem(server.say(request_line + b"\r\nHost: x\r\nConnection: close\r\n\r\n"), 400)


@pytest.mark.parametrize(
    "path",
    [
        b"/%00",
        b"/../../etc/passwd",
        b"/%2e%2e/x",
        b"/%ff%fe",
        b"//",
        b"/invocations%00",
        b"/ping;x",
    ],
)
@pytest.mark.parametrize("host", [b"x", b"[::1", b"a b", b""])
def test_other_paths(server: Server, path: bytes, host: bytes) -> None:
    head = b"GET " + path + b" HTTP/1.1\r\nHost: " + host + b"\r\nConnection: close\r\n\r\n"
    check_problem(server.say(head), 404)


def test_methods(server: Server) -> None:
    for method in ("PUT", "DELETE", "PATCH", "TRACE", "OPTIONS"):
        for path in ("invocations", "ping", "docs"):
            response = httpx.request(method, f"{server.url}/{path}", content=b"x" * 100_000)
            assert response.status_code == 405
            assert response.headers["content-type"] == PROBLEM


def test_an_upgrade_is_not_taken(server: Server) -> None:
    upgrade = b"Connection: Upgrade, close\r\nUpgrade: websocket\r\n\r\n"
    assert server.say(b"GET /ping HTTP/1.1\r\nHost: x\r\n" + upgrade).startswith(b"HTTP/1.1 200")


def test_http_1_0(server: Server, make_picture: Make) -> None:
    picture = make_picture()
    head = f"POST /invocations HTTP/1.0\r\nContent-Length: {len(picture)}\r\n\r\n"
    assert server.say(head.encode() + picture).startswith(b"HTTP/1.1 200")


def test_pipelined_requests_are_answered_in_order(server: Server, make_picture: Make) -> None:
    parts = []
    for colour in ("red", "lime", "blue"):
        picture = make_picture(colour)
        parts.append(HEAD + f"Content-Length: {len(picture)}\r\n".encode())
        parts.append((b"Connection: close\r\n" if colour == "blue" else b"") + b"\r\n" + picture)
    answer = server.say(b"".join(parts))
    labels = [answer.index(f'"label": "{label}"'.encode()) for label in ("red", "green", "blue")]
    assert labels == sorted(labels)
    assert answer.count(b"HTTP/1.1 200") == 3


def test_very_many_pipelined_requests_take_no_memory(server: Server) -> None:
    before = server.process.memory_info().rss
    connections = [server.connect() for _ in range(20)]
    for connection in connections:
        # The first waits for its body, and all others for the first.
        connection.settimeout(1)
        try:
            connection.sendall(HEAD + b"Content-Length: 1\r\n\r\nx")
            connection.sendall(b"GET / HTTP/1.1\r\n\r\n" * 14_000)
        except OSError:
            pass
    server.check_alive()
    assert server.process.memory_info().rss - before < 60_000_000
    for connection in connections:
        connection.close()


@pytest.mark.parametrize(
    "beginning",
    [
        b"GET /ping HTTP/1.1\r\nX: ",
        b"GET /ping HTTP/1.1\r\n",
        b"GET /",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n1;x=",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nX: ",
    ],
    ids=["header", "headers", "path", "chunk extension", "trailer"],
)
def test_endless_heads_are_cut_off(server: Server, beginning: bytes) -> None:
    before = server.process.memory_info().rss
    part = b"a: b\r\n" * 10_000 if beginning.endswith(b"1.1\r\n") else b"a" * 60_000
    answer = server.say(beginning, *[part] * 500)
    assert not answer or answer.startswith((b"HTTP/1.1 431", b"HTTP/1.1 400"))
    assert server.process.memory_info().rss - before < 20_000_000


def test_giant_bodies(server: Server) -> None:
    declared = HEAD + b"Content-Length: 50000000\r\nConnection: close\r\n\r\n"
    check_problem(server.say(declared, *[bytes(1_000_000)] * 50), 413)
    chunk = b"f4240\r\n" + bytes(1_000_000) + b"\r\n"
    chunked = HEAD + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    check_problem(server.say(chunked, *[chunk] * 20, b"0\r\n\r\n"), 413)


def test_connections_that_end_at_any_moment(server: Server, make_picture: Make) -> None:
    picture = make_picture()
    whole = HEAD + f"Content-Length: {len(picture)}\r\n\r\n".encode() + picture
    for end in range(0, len(whole) + 1, 3):
        with server.connect() as connection:
            connection.sendall(whole[:end])
    with server.connect() as connection:  # the same as one that has gone, as seen from here
        connection.sendall(whole)
        connection.shutdown(socket.SHUT_WR)
        assert read_all(connection)[:12] in (b"", b"HTTP/1.1 200")


def test_garbage_behind_a_request_gets_no_answer_in_its_place(
    server: Server, make_picture: Make
) -> None:
    picture = make_picture()
    whole = HEAD + f"Content-Length: {len(picture)}\r\n\r\n".encode() + picture
    answer = server.say(whole + b"\x00garbage\r\n\r\n")
    assert answer == b"" or answer.startswith(b"HTTP/1.1 200")


def test_bad_input_leaves_no_memory_behind(server: Server) -> None:
    bodies = [data for name, data in broken() if len(data) < 200_000 and "few" not in name]
    good = encode(gradient(), "PNG")
    bodies += [json.dumps({"image": b64encode(good[:i]).decode()}).encode() for i in range(50)]

    def send(count: int) -> None:
        with httpx.Client(base_url=server.url, timeout=60) as client:
            for i in range(count):
                body = bodies[i % len(bodies)]
                kind = "application/json" if body[:1] == b"{" else "image/png"
                response = client.post("invocations", content=body, headers={"Content-Type": kind})
                assert response.status_code < 500

    send(300)
    before = server.process.memory_info().rss
    send(2000)
    assert server.process.memory_info().rss < 1.1 * before


@pytest.mark.slow
def test_slow_clients_are_let_go(server: Server) -> None:
    beginnings = (b"", b"GET /pi", HEAD + b"X: y\r\n", HEAD + b"Content-Length: 9\r\n\r\n")
    connections = [server.connect() for _ in beginnings]
    for connection, beginning in zip(connections, beginnings, strict=True):
        connection.sendall(beginning)
    give_up = time.monotonic() + 120
    answers: dict[int, bytes] = {}
    while len(answers) < len(connections) and time.monotonic() < give_up:
        for i, connection in enumerate(connections):
            if i in answers:
                continue
            connection.settimeout(0.5)
            try:
                if beginnings[i]:
                    connection.sendall(b"a")
                answers[i] = read_all(connection)
            except TimeoutError:
                continue
            except OSError:
                answers[i] = b""
    assert len(answers) == len(connections)
    for connection in connections:
        connection.close()
