"""The real server, told to stop while it is busy."""

import json
import signal
import socket
import subprocess
import threading
from base64 import b64encode
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.serving.test_server import running

from pixloop.bundle import Bundle

pytestmark = pytest.mark.integration

Make = Callable[..., bytes]


def connect(url: str) -> socket.socket:
    host, _, port = url.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), timeout=60)


def head(length: int, content_type: str = "image/png") -> bytes:
    return (
        f"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {length}\r\n\r\n"
    ).encode()


def read_answer(connection: socket.socket) -> bytes:
    """What comes until the server closes; the connection is closed then."""
    answer = b""
    with connection:
        try:
            while more := connection.recv(65536):
                answer += more
        except ConnectionError:
            pass
    return answer


def is_whole(answer: bytes) -> bool:
    head, _, body = answer.partition(b"\r\n\r\n")
    length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
    return length.isdigit() and len(body) == int(length)


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    code = process.wait(30)
    assert process.stderr is not None
    return code, process.stderr.read()


def test_nothing_that_was_accepted_is_lost(bundle: Bundle, make_picture: Make) -> None:
    picture = b64encode(make_picture("blue")).decode()
    body = json.dumps({"instances": [{"b64": picture}] * 200}).encode()
    with running(str(bundle.path), "--queue", "100") as (url, process):
        connections = [connect(url) for _ in range(40)]
        for connection in connections:  # all are at work: their last byte is missing
            connection.sendall(head(len(body), "application/json") + body[:-1])
        with connect(url) as last:  # its answer says that all before it were read
            last.sendall(b"GET /ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert b"200" in read_answer(last)
        with ThreadPoolExecutor(40) as pool:
            answers = [pool.submit(read_answer, each) for each in connections]
            for each in connections[:20]:
                each.sendall(body[-1:])
            process.send_signal(signal.SIGTERM)
            process.send_signal(signal.SIGTERM)  # who is impatient changes nothing
            for each in connections[20:]:
                each.sendall(body[-1:])
            for answer in answers:
                text = answer.result(60)
                assert text.startswith(b"HTTP/1.1 200"), text[:300]
                assert text.count(b'"label": "blue"') == 200
        assert ended(process) == (0, "")


def test_under_load_each_request_is_answered_or_was_never_accepted(
    bundle: Bundle, make_picture: Make
) -> None:
    picture = make_picture("blue")
    busy = threading.Semaphore(0)

    def ask(url: str) -> list[bytes]:
        answers = []
        try:
            with connect(url) as connection:
                while True:
                    connection.sendall(head(len(picture)) + picture)
                    answer = b""
                    while not is_whole(answer):
                        if not (more := connection.recv(65536)):
                            return [*answers, answer] if answer else answers
                        answer += more
                    answers.append(answer)
                    busy.release()
        except OSError:
            return answers

    with running(str(bundle.path)) as (url, process), ThreadPoolExecutor(16) as pool:
        clients = [pool.submit(ask, url) for _ in range(16)]
        for _ in range(100):
            assert busy.acquire(timeout=60)
        process.send_signal(signal.SIGTERM)
        answers = [answer for client in clients for answer in client.result(60)]
        assert ended(process) == (0, "")
    for answer in answers:
        assert answer[9:12] in (b"200", b"503")
        assert is_whole(answer)


def test_a_signal_before_the_first_request_is_heard(bundle: Bundle) -> None:
    with running(str(bundle.path)) as (_, process):
        process.send_signal(signal.SIGTERM)
        assert ended(process) == (0, "")


def test_who_is_impatient_to_the_very_end_changes_nothing(bundle: Bundle) -> None:
    with running(str(bundle.path)) as (_, process):
        process.send_signal(signal.SIGTERM)
        while process.poll() is None:
            process.send_signal(signal.SIGTERM)
            threading.Event().wait(0.002)
        assert ended(process) == (0, "")


@pytest.mark.slow
def test_bodies_that_do_not_end_do_not_keep_it(bundle: Bundle) -> None:
    with running(str(bundle.path)) as (url, process):
        connections = [connect(url) for _ in range(5)]
        for i, connection in enumerate(connections):
            connection.sendall(head(1000) + bytes(i))
        with connect(url) as last:
            last.sendall(b"GET /ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert b"200" in read_answer(last)
        process.send_signal(signal.SIGTERM)
        for connection in connections:
            assert read_answer(connection)[9:12] == b"408"
        code, _ = ended(process)
        assert code == 0
