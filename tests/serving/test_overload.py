"""More than the server can do: who is answered, who is not, and what is computed."""

import asyncio
import json
import socket
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from tests.serving.in_thread import serving

from pixloop.config import ServingConfig
from pixloop.serving import bodies, invocations
from pixloop.serving.app import App, build_app
from pixloop.serving.observing.observation import Exchange
from pixloop.serving.predictor import Predictor, make_predictor

pytestmark = pytest.mark.integration

Make = Callable[..., bytes]
#: One worker, and two places to wait.
LIMITS = ServingConfig(streams=1, max_batch=1, queue=2, max_body_bytes=100_000)


class Held:
    """An engine that computes when it is let, and counts."""

    def __init__(self, predictor: Predictor) -> None:
        self.calls = 0
        self.go_on, self.begun = threading.Event(), threading.Semaphore(0)
        self._engine = predictor._engine

    def __call__(self, pixels: Any) -> Any:
        self.calls += 1
        self.begun.release()
        assert self.go_on.wait(60)
        return self._engine(pixels)


class Server:
    """A server whose only worker is held up, and what it did."""

    def __init__(self, predictor: Predictor, settings: ServingConfig) -> None:
        self.engine = Held(predictor)
        self.seen: list[Exchange] = []
        self.answered = threading.Semaphore(0)
        model = make_predictor(predictor.manifest, self.engine)  # type: ignore[arg-type]
        self.app: App = build_app(model, "colours", settings, [self._note])
        self.url = ""

    def _note(self, exchange: Exchange) -> None:
        self.seen.append(exchange)
        self.answered.release()

    def post(self, picture: bytes, **headers: str) -> httpx.Response:
        return httpx.post(f"{self.url}/invocations", content=picture, headers=headers, timeout=60)

    def connect(self) -> socket.socket:
        host, _, port = self.url.removeprefix("http://").partition(":")
        return socket.create_connection((host, int(port)), timeout=60)

    def begin(self, picture: bytes, headers: str = "") -> socket.socket:
        """Send a request, and do not wait for its answer."""
        connection = self.connect()
        head = f"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Length: {len(picture)}\r\n"
        connection.sendall(f"{head}{headers}\r\n".encode() + picture)
        return connection

    def begin_with(self, body: bytes, sent: int) -> socket.socket:
        """Send a request's head and so many bytes of its body."""
        connection = self.connect()
        head = f"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body[:sent])
        return connection

    def wait_for(self, condition: Callable[[], bool]) -> None:
        pause = threading.Event()
        for _ in range(3000):
            if condition():
                return
            pause.wait(0.01)
        raise AssertionError("it did not come")


@contextmanager
def held_up(predictor: Predictor, settings: ServingConfig = LIMITS) -> Iterator[Server]:
    server = Server(predictor, settings)
    with serving(server.app) as server.url:
        try:
            yield server
        finally:
            server.engine.go_on.set()
    server.app.close()


def status_of(connection: socket.socket) -> int:
    with connection:
        return int(connection.recv(65536)[9:12])


def fill(server: Server, picture: bytes) -> list[socket.socket]:
    """Let one request be computed, and as many wait as may."""
    first = server.begin(picture)
    assert server.engine.begun.acquire(timeout=60)
    waiting = [server.begin(picture) for _ in range(2)]
    server.wait_for(lambda: server.app.batcher.full)
    return [first, *waiting]


def test_beyond_the_queue_is_503_and_the_others_are_answered(
    predictor: Predictor, make_picture: Make
) -> None:
    with held_up(predictor) as server:
        accepted = fill(server, make_picture())
        for _ in range(20):
            response = server.post(make_picture())
            assert response.status_code == 503
            assert response.headers["retry-after"] == "1"
            assert response.headers["content-type"] == "application/problem+json"
        server.engine.go_on.set()
        assert [status_of(each) for each in accepted] == [200] * 3
        assert server.engine.calls == 3
        assert server.post(make_picture()).status_code == 200


def test_who_does_not_wait_is_held_then_refused_and_accepted_the_next_time(
    predictor: Predictor, make_picture: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, go_on = asyncio.Event(), asyncio.Event()

    async def hold(self: object, scope: MutableMapping[str, Any]) -> None:
        if scope["client"] in self._refused:  # type: ignore[attr-defined]
            held.set()
            await go_on.wait()

    monkeypatch.setattr(invocations.Invocations, "_hold", hold)
    with held_up(predictor) as server:
        accepted = fill(server, make_picture())
        with httpx.Client(base_url=server.url, timeout=60) as client, ThreadPoolExecutor(1) as pool:
            # A proxy's connection, say, whose next request may be somebody else's.
            assert client.post("invocations", content=make_picture()).status_code == 503
            again = pool.submit(client.post, "invocations", content=make_picture("blue"))
            server.wait_for(held.is_set)
            # Nobody else is kept waiting.
            assert server.post(make_picture()).status_code == 503
            assert httpx.get(f"{server.url}/ping").status_code == 200
            server.engine.go_on.set()
            assert [status_of(each) for each in accepted] == [200] * 3
            server.wait_for(lambda: not server.app.batcher.full)
            go_on._loop.call_soon_threadsafe(go_on.set)  # type: ignore[attr-defined]
            assert again.result(60).status_code == 503
            answer = client.post("invocations", content=make_picture("blue"))
            assert answer.json()["predictions"][0]["label"] == "blue"


def test_what_waited_too_long_is_not_computed(predictor: Predictor, make_picture: Make) -> None:
    with held_up(predictor) as server:
        first = server.begin(make_picture())
        assert server.engine.begun.acquire(timeout=60)
        late = server.begin(make_picture(), "X-Timeout-Ms: 1\r\n")
        patient = server.begin(make_picture(), "X-Timeout-Ms: 59000\r\n")
        server.wait_for(lambda: server.app.batcher.waiting == 2)
        server.wait_for(lambda: server.app.batcher.oldest_s() > 0.01)
        server.engine.go_on.set()
        assert [status_of(each) for each in (first, late, patient)] == [200, 503, 200]
        assert server.engine.calls == 2


def test_the_rest_of_what_takes_too_long_is_not_computed(
    predictor: Predictor, make_picture: Make
) -> None:
    picture = {"b64": b64encode(make_picture()).decode()}
    body = json.dumps({"instances": [picture] * 500}).encode()
    headers = "Content-Type: application/json\r\nX-Timeout-Ms: 200\r\n"
    with held_up(predictor) as server:
        large = server.begin(body, headers)
        assert server.engine.begun.acquire(timeout=60)
        server.wait_for(lambda: server.app.batcher.oldest_s() > 0.3)
        server.engine.go_on.set()
        assert status_of(large) == 503
        assert server.post(make_picture()).status_code == 200
        assert server.engine.calls == 2


def test_timeouts_that_are_none(predictor: Predictor, make_picture: Make) -> None:
    with held_up(predictor) as server:
        for given in ("-1", "1e3", "soon", "9" * 30, "1.5", ""):
            response = server.post(make_picture(), **{"X-Timeout-Ms": given})
            assert response.status_code == 400
        assert server.engine.calls == 0


def test_who_has_gone_frees_a_place_and_is_not_computed(
    predictor: Predictor, make_picture: Make
) -> None:
    with held_up(predictor) as server:
        first, *waiting = fill(server, make_picture())
        for each in waiting:
            each.close()
        server.wait_for(lambda: server.app.batcher.waiting == 0)
        second = server.begin(make_picture())
        server.wait_for(lambda: server.app.batcher.waiting == 1)
        server.engine.go_on.set()
        assert [status_of(each) for each in (first, second)] == [200] * 2
        assert server.engine.calls == 2
        server.wait_for(lambda: len(server.seen) == 4)  # they are told after the client
        assert sorted(each.status for each in server.seen) == [200, 200, 499, 499]


def test_bodies_are_bounded_together(predictor: Predictor, make_picture: Make) -> None:
    picture = make_picture("red", "JPEG")
    limits = LIMITS.model_copy(update={"max_waiting_bytes": 150_000, "queue": 10})
    with held_up(predictor, limits) as server:
        first = server.begin(picture.ljust(90_000, b"\0"))
        assert server.engine.begun.acquire(timeout=60)
        response = server.post(picture.ljust(90_000, b"\0"))
        assert response.status_code == 503
        assert "too large together" in response.json()["detail"]
        small = server.begin(picture)  # for which there is room
        server.wait_for(lambda: server.app.batcher.waiting == 1)
        server.engine.go_on.set()
        assert [status_of(each) for each in (first, small)] == [200] * 2
        assert server.post(picture.ljust(90_000, b"\0")).status_code == 200
        assert server.app.invocations.held_bytes == 0


def test_who_sends_slowly_makes_room_where_memory_is_short(
    predictor: Predictor, make_picture: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "_GRACE_S", 0.05)
    monkeypatch.setattr(bodies, "_SLOW_BYTES_PER_S", 10_000_000)
    picture = make_picture("red", "JPEG").ljust(90_000, b"\0")
    limits = LIMITS.model_copy(update={"max_waiting_bytes": 150_000})
    with held_up(predictor, limits) as server:
        server.engine.go_on.set()
        slow = server.begin_with(picture, 80_000)
        server.wait_for(lambda: server.app.invocations.held_bytes == 80_000)
        threading.Event().wait(0.1)
        assert server.post(picture).status_code == 200
        assert server.app.invocations.held_bytes == 0
        slow.sendall(picture[80_000:])
        assert status_of(slow) == 503


def test_who_has_only_begun_to_send_makes_room_for_nobody(
    predictor: Predictor, make_picture: Make
) -> None:
    picture = make_picture("red", "JPEG").ljust(90_000, b"\0")
    limits = LIMITS.model_copy(update={"max_waiting_bytes": 150_000})
    with held_up(predictor, limits) as server:
        server.engine.go_on.set()
        first = server.begin_with(picture, 80_000)
        server.wait_for(lambda: server.app.invocations.held_bytes == 80_000)
        assert server.post(picture).status_code == 503
        first.sendall(picture[80_000:])
        assert status_of(first) == 200


def test_a_body_of_which_a_part_had_no_room_is_not_taken_for_a_whole_one(
    predictor: Predictor, make_picture: Make
) -> None:
    picture = make_picture("red", "JPEG")
    limits = LIMITS.model_copy(update={"max_waiting_bytes": 100_000})
    with held_up(predictor, limits) as server:
        first = server.begin(picture.ljust(90_000, b"\0"))
        assert server.engine.begun.acquire(timeout=60)
        part = server.connect()
        head = b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n"
        part.sendall(head + bytes(30_000))  # no room for these
        server.wait_for(lambda: server.app.invocations.in_flight == 2)
        threading.Event().wait(0.2)
        server.engine.go_on.set()
        assert status_of(first) == 200
        server.wait_for(lambda: server.app.invocations.in_flight == 1)
        part.sendall(picture.ljust(30_000, b"\0"))  # for these there is
        assert status_of(part) == 503
        assert server.engine.calls == 1


def test_bodies_that_are_refused_take_no_room(predictor: Predictor, make_picture: Make) -> None:
    with held_up(predictor, LIMITS.model_copy(update={"max_waiting_bytes": 200_000})) as server:
        giant = server.connect()
        head = b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Length: 5000000\r\n\r\n"
        giant.sendall(head + bytes(1_000_000))
        server.wait_for(lambda: server.app.invocations.in_flight == 1)
        server.engine.go_on.set()
        assert server.post(make_picture("red", "JPEG").ljust(90_000, b"\0")).status_code == 200
        giant.sendall(bytes(4_000_000))
        assert status_of(giant) == 413
        assert server.app.invocations.held_bytes == 0
