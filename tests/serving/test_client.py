"""The client, against the real server and against servers that fail."""

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from threading import Event, Thread
from typing import Any

import pytest
import uvicorn
from hypothesis import example, given
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from tests.serving.in_thread import serving

from pixloop.config import ServingConfig
from pixloop.errors import ImageError, ImageTooLarge, ServingError
from pixloop.in_order import map_in_order
from pixloop.records import Decision, Detection, Prediction
from pixloop.serving.app import build_app
from pixloop.serving.client import Client
from pixloop.serving.codec import decode_request
from pixloop.serving.detector import Detector
from pixloop.serving.predictor import Predictor
from pixloop.serving.retries import wait_s

Make = Callable[..., bytes]
Answering = Callable[[Request, bytes], Awaitable[Response]]


class StandIn:
    """A server that says ``answer`` to every request, and notes what it was sent."""

    def __init__(self, answer: Answering) -> None:
        self._answer = answer
        self.headers: list[dict[str, str]] = []
        self.bodies: list[bytes] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        request = Request(scope, receive)
        body = await request.body()
        self.headers.append(dict(request.headers))
        self.bodies.append(body)
        response = await self._answer(request, body)
        await response(scope, receive, send)


def labels_of(request: Request, body: bytes) -> list[str]:
    """The pictures of a request, which are words here."""
    pictures = decode_request(body, request.headers["content-type"]).pictures
    return [picture.decode() for picture in pictures]


def said(labels: list[str]) -> Response:
    """An answer as the server's, with these labels."""
    predictions = [
        {"label": each, "score": 1, "decision": "accept", "probabilities": {each: 1}}
        for each in labels
    ]
    return JSONResponse({"model": "words", "predictions": predictions})


async def echo(request: Request, body: bytes) -> Response:
    return said(labels_of(request, body))


def after(failures: int, failure: Answering) -> StandIn:
    """A server that fails a few times before it answers."""
    left = iter(range(failures))

    async def answer(request: Request, body: bytes) -> Response:
        return await (echo if next(left, None) is None else failure)(request, body)

    return StandIn(answer)


def problem(status: int, detail: str, kind: str = "about:blank", **headers: str) -> Response:
    document = {"type": kind, "title": "", "status": status, "detail": detail}
    return JSONResponse(document, status, headers, "application/problem+json")


async def busy(request: Request, body: bytes) -> Response:
    return problem(503, "Too many requests are waiting.", **{"Retry-After": "0"})


async def hang(request: Request, body: bytes) -> Response:
    await asyncio.sleep(60)
    raise AssertionError("the client should have gone")


@contextmanager
def asking(app: Any, **options: Any) -> Iterator[Client]:
    """A client of the server with ``app``."""
    with serving(app) as url, Client(url, **options) as client:
        yield client


@pytest.fixture(scope="module")
def url(predictor: Predictor) -> Iterator[str]:
    settings = ServingConfig(max_body_bytes=100_000)
    with serving(build_app(predictor, "colours:1", settings)) as address:
        yield address


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with Client(url) as client:
        yield client


def test_answers_are_the_models(client: Client, predictor: Predictor, make_picture: Make) -> None:
    pictures = [make_picture(colour) for colour in ("red", "blue") * 20]
    answers = client.predict(pictures)
    assert [answer.label for answer in answers] == ["red", "blue"] * 20
    known = predictor.predict(pictures[:1])[0]
    assert answers[0].decision is known.decision is Decision.ACCEPT
    assert answers[0].probabilities == pytest.approx(known.probabilities)
    assert client.predict([]) == []
    assert client.ping() == "colours:1"


def test_detections_are_the_models(detector: Detector, make_scene: Make) -> None:
    pictures = [make_scene(((0, 204, 0), (i, 10, i + 40, 50))) for i in range(0, 80, 8)]
    with serving(build_app(detector, "things:1", ServingConfig())) as url, Client(url) as client:
        *found, nothing = client.predict([*pictures, make_scene()])
    assert nothing == Detection((), 128, 96)
    for got, known in zip(found, detector.predict(pictures), strict=True):
        assert (got.width, got.height) == (known.width, known.height)
        (box,), (known_box,) = got.boxes, known.boxes
        assert (box.label, box.decision) == (known_box.label, known_box.decision)
        assert box.score == pytest.approx(known_box.score, abs=1e-6)
        assert box.xyxy == pytest.approx(known_box.xyxy, abs=0.01)


@pytest.mark.parametrize("address", ["{url}/invocations", "{url}/", "{url}"])
def test_an_address_may_name_the_route(url: str, make_picture: Make, address: str) -> None:
    with Client(address.format(url=url)) as client:
        assert client.predict([make_picture("red")])[0].label == "red"
        assert client.ping() == "colours:1"


def test_bad_pictures_among_good_ones_stop_nothing(client: Client, make_picture: Make) -> None:
    bad = {3: b"nonsense", 4: b"", 10: make_picture()[:60], 20: b" \n", 21: b"\0" * 200_000}
    stream = (bad.get(i, make_picture("blue")) for i in range(30))
    answers = list(client.predict_each(stream))
    assert len(answers) == 30
    for i, answer in enumerate(answers):
        if i in bad:
            assert isinstance(answer, ImageError), i
        else:
            assert isinstance(answer, Prediction)
            assert answer.label == "blue"
    assert isinstance(answers[21], ImageTooLarge)
    assert "empty" in str(answers[4])


def test_predict_says_which_picture_is_bad(client: Client, make_picture: Make) -> None:
    with pytest.raises(ImageError, match=r"^picture 1: .*cannot be read"):
        client.predict([make_picture(), b"nonsense"])
    with pytest.raises(ImageTooLarge, match="picture 0: The body is larger than 100,000 bytes"):
        client.predict([b"\0" * 200_000])
    assert client.predict([make_picture()])[0].label == "red"


def test_pictures_that_fit_a_request_one_by_one_need_not_fit_together() -> None:
    async def answer(request: Request, body: bytes) -> Response:
        return problem(413, "Too large.") if len(body) > 10 else said(labels_of(request, body))

    with asking(StandIn(answer)) as client:
        assert [each.label for each in client.predict([b"one", b"two"])] == ["one", "two"]


def test_answers_keep_their_order_with_many_requests_at_once() -> None:
    words = [str(i).encode() for i in range(200)]

    async def slow_at_first(request: Request, body: bytes) -> Response:
        labels = labels_of(request, body)
        await asyncio.sleep(0.05 if int(labels[0]) % 32 == 0 else 0)
        return said(labels)

    with asking(StandIn(slow_at_first)) as client:
        assert [each.label.encode() for each in client.predict(words)] == words


def test_several_requests_are_in_flight_and_never_more_than_asked() -> None:
    now, most = 0, 0

    async def counted(request: Request, body: bytes) -> Response:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.02)
        now -= 1
        return said(labels_of(request, body))

    with asking(StandIn(counted), in_flight=3) as client:
        assert len(client.predict([b"a"] * 160)) == 160
    assert most == 3


def test_a_stream_is_read_as_its_answers_are_taken() -> None:
    read = 0

    def endless() -> Iterator[bytes]:
        nonlocal read
        while True:
            read += 1
            yield b"a"

    with asking(StandIn(echo), in_flight=2) as client:
        answers = client.predict_each(endless())
        assert read == 0
        for taken in range(1, 100):
            next(answers)
            assert read <= taken + 2 * 2 * 8
        answers.close()


def test_large_pictures_go_in_requests_of_their_own() -> None:
    async def count(request: Request, body: bytes) -> Response:
        pictures = decode_request(body, request.headers["content-type"]).pictures
        assert sum(map(len, pictures)) <= 8_000_000
        return said(["large"] * len(pictures))

    stand_in = StandIn(count)
    with asking(stand_in) as client:
        assert len(client.predict([b"x" * 5_000_000] * 3 + [b"y"])) == 4
    assert len(stand_in.bodies) == 3


def test_a_busy_server_is_asked_again_after_the_time_it_names() -> None:
    stand_in = after(2, busy)
    with asking(stand_in) as client:
        assert client.predict([b"a"])[0].label == "a"
    ids = {headers["x-request-id"] for headers in stand_in.headers}
    assert len(stand_in.headers) == 3
    assert len(ids) == 1  # one request, which the server's log tells apart from others


def test_a_busy_server_is_given_up_on_when_time_is_up() -> None:
    async def later(request: Request, body: bytes) -> Response:
        return problem(503, "Busy.", **{"Retry-After": "3600"})

    stand_in = StandIn(later)
    with (
        asking(stand_in, total_s=5) as client,
        pytest.raises(ServingError, match=r"answered 503: Busy \(request [0-9a-f]{32}\)"),
    ):
        client.predict([b"a"])
    assert len(stand_in.headers) == 1


def test_without_retries_nothing_is_sent_twice() -> None:
    stand_in = StandIn(busy)
    with (
        asking(stand_in, retries=0) as client,
        pytest.raises(ServingError, match="answered 503"),
    ):
        client.predict([b"a"])
    assert len(stand_in.headers) == 1


def test_a_failure_of_the_server_is_not_repeated() -> None:
    async def fail(request: Request, body: bytes) -> Response:
        return problem(500, "The server failed on this request.")

    stand_in = StandIn(fail)
    with (
        asking(stand_in) as client,
        pytest.raises(ServingError, match="answered 500") as caught,
    ):
        client.predict([b"a"])
    (headers,) = stand_in.headers
    assert headers["x-request-id"] in str(caught.value)


def test_the_server_is_told_how_long_the_client_waits() -> None:
    stand_in = StandIn(echo)
    with serving(stand_in) as url:
        for timeout_s, total_s in ((2, 60), (60, 2)):
            with Client(url, timeout_s, total_s=total_s) as client:
                client.predict([b"a"])
    for headers in stand_in.headers:
        assert 0 < int(headers["x-timeout-ms"]) <= 2000


def test_a_server_that_hangs_is_asked_again() -> None:
    stand_in = after(1, hang)
    with asking(stand_in, timeout_s=0.2) as client:
        assert client.predict([b"a"])[0].label == "a"
    assert len(stand_in.headers) == 2


def test_a_server_that_only_hangs_is_given_up_on() -> None:
    with (
        asking(StandIn(hang), timeout_s=0.1, retries=1) as client,
        pytest.raises(ServingError, match=r"no answer .* request [0-9a-f]{32}: timed out"),
    ):
        client.predict([b"a"])


@contextmanager
def resetting(connections: int) -> Iterator[str]:
    """A server that resets its first connections, and answers on the others."""
    body = b'{"predictions": [{"boxes": [], "width": 1, "height": 1}]}'

    def serve(listener: socket.socket) -> None:
        for i in range(connections + 1):
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                if i < connections:
                    # Closing with a linger of 0 sends a reset.
                    linger = b"\1\0\0\0\0\0\0\0"
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                else:
                    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
                    connection.sendall(head + body)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = Thread(target=serve, args=[listener])
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread.join()


def test_a_connection_that_breaks_is_made_again() -> None:
    with resetting(2) as url, Client(url) as client:
        assert client.predict([b"a"]) == [Detection((), 1, 1)]


def test_a_server_that_starts_meanwhile_is_found() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    started = Event()

    def start() -> None:
        started.wait()
        config = {"host": "127.0.0.1", "port": port, "lifespan": "off", "log_level": "critical"}
        server.append(uvicorn.Server(uvicorn.Config(StandIn(echo), **config)))
        server[0].run()

    server: list[uvicorn.Server] = []
    thread = Thread(target=start)
    thread.start()
    with Client(f"http://127.0.0.1:{port}", retries=10) as client, ThreadPoolExecutor(1) as pool:
        asked = pool.submit(client.predict, [b"a"])
        started.set()
        assert asked.result()[0].label == "a"
    server[0].should_exit = True
    thread.join()


@pytest.mark.parametrize("address", ["http://127.0.0.1:1", "nonsense", "http://"])
def test_nothing_that_answers_is_said_so(address: str) -> None:
    with Client(address, retries=0) as client:
        for ask in (client.ping, lambda: client.predict([b"any"])):
            with pytest.raises(ServingError, match="Is the server running"):
                ask()


def test_another_address_of_a_server_is_said_so(url: str) -> None:
    with Client(f"{url}/nowhere") as client:
        with pytest.raises(ServingError, match="answered 404: There is nothing at /nowhere/invoc"):
            client.predict([b"any"])
        with pytest.raises(ServingError, match="/nowhere/ping answered with status 404"):
            client.ping()


@pytest.mark.parametrize(
    "predictions",
    [
        [{"boxes": None, "width": 1, "height": 1}],
        [{"boxes": [{"label": "a"}], "width": 1, "height": 1}],
        [{"boxes": [{"label": "a", "score": 1, "xyxy": [1, 2], "decision": "accept"}]}],
        [{"boxes": []}],
        [{"label": "a"}],
        [None],
        None,
    ],
)
def test_what_is_no_answer_of_pixloops_is_said_so(predictions: object) -> None:
    async def answer(request: Request, body: bytes) -> Response:
        return JSONResponse({"predictions": predictions})

    with asking(StandIn(answer)) as client:
        for ask in (client.ping, lambda: client.predict([b"any"])):
            with pytest.raises(ServingError, match="as a pixloop server does"):
                ask()


def test_too_few_answers_are_said_so() -> None:
    async def answer(request: Request, body: bytes) -> Response:
        return said(["a"])

    with (
        asking(StandIn(answer)) as client,
        pytest.raises(ServingError, match="1 predictions for 2 pictures"),
    ):
        client.predict([b"a", b"b"])


def test_what_is_no_problem_document_is_said_so() -> None:
    async def answer(request: Request, body: bytes) -> Response:
        return Response("<html>", 400)

    with (
        asking(StandIn(answer)) as client,
        pytest.raises(ServingError, match=r"answered with status 400 \(request"),
    ):
        client.predict([b"a"])


def test_nobody_waits_for_a_client_that_is_closed() -> None:
    refused = Event()

    async def later(request: Request, body: bytes) -> Response:
        refused.set()
        return problem(503, "Busy.", **{"Retry-After": "100"})

    with ThreadPoolExecutor(1) as pool:
        with asking(StandIn(later)) as client:
            answers = pool.submit(client.predict, [b"a", b"b"])
            refused.wait()
        with pytest.raises(ServingError, match="answered 503"):
            answers.result()


def test_threads_share_a_client() -> None:
    with asking(StandIn(echo)) as client, ThreadPoolExecutor(8) as pool:
        words = [[f"{i}-{j}".encode() for j in range(20)] for i in range(8)]
        for asked, answers in zip(words, pool.map(client.predict, words), strict=True):
            assert [answer.label.encode() for answer in answers] == asked


@example(0, "3")
@given(st.integers(0, 2000), st.sampled_from([None, "0", "3", "nonsense", "-1", "1e9", ""]))
def test_waits_grow_up_to_a_limit_and_begin_after_what_the_server_asks(
    attempt: int, retry_after: str | None
) -> None:
    asked = 3 if retry_after == "3" else 0
    assert 0 <= wait_s(attempt, retry_after) - asked <= min(5.0, 0.1 * 2.0 ** min(attempt, 100))


def test_retry_after_may_be_a_date() -> None:
    date = datetime.now(UTC) + timedelta(hours=1)
    assert 3500 < wait_s(0, format_datetime(date, usegmt=True)) < 3700
    assert wait_s(0, "Wed, 21 Oct 2015 07:28:00 GMT") <= 0.1
    assert 3500 < wait_s(0, date.strftime("%a, %d %b %Y %H:%M:%S -0000")) < 3700


@given(st.lists(st.integers()), st.integers(1, 5), st.integers(1, 9))
def test_results_come_in_the_order_of_the_stream(
    items: list[int], threads: int, ahead: int
) -> None:
    with ThreadPoolExecutor(threads) as pool:
        assert list(map_in_order(pool, str, items, ahead)) == list(map(str, items))


def test_an_error_ends_the_work_in_its_result_s_place() -> None:
    begun: list[int] = []
    ended = Event()

    def work(item: int) -> int:
        begun.append(item)
        if item > 3:
            ended.wait()
        return 1 // (3 - item)

    with ThreadPoolExecutor(1) as pool:
        results = map_in_order(pool, work, range(1000), 100)
        assert [next(results) for _ in range(3)] == [0, 0, 1]
        with pytest.raises(ZeroDivisionError):
            next(results)
        ended.set()
    assert len(begun) <= 5


def test_the_body_of_several_pictures_is_json() -> None:
    stand_in = StandIn(echo)
    with asking(stand_in) as client:
        client.predict([b"one", b"two"])
    (body,) = stand_in.bodies
    assert json.loads(body) == {"instances": [{"b64": "b25l"}, {"b64": "dHdv"}]}
