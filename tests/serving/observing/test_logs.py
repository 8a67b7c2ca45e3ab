import asyncio
import io
import json
import logging
import os
import re
import subprocess
import sys
import threading
import time
from typing import Any, Literal

import httpx
import pytest
import uvicorn
from hypothesis import given
from hypothesis import strategies as st
from tests.serving.observing.test_metrics import exchange, prediction

from pixloop.serving.observing import logs
from pixloop.serving.observing.logs import RequestLog, configured
from pixloop.serving.observing.observation import Exchange
from pixloop.serving.problems import RequestProblem, encode_problem

log = logging.getLogger("pixloop.serving.here")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def failed(status: int, detail: str = "The body is empty.", **fields: Any) -> Exchange:
    answer = encode_problem(RequestProblem(status, detail))
    return exchange(status, answer=answer, work_s=0.0, **fields)


def logged(*exchanges: Exchange, log_all: bool = False) -> list[dict[str, Any]]:
    stream = io.StringIO()
    with configured("json", stream):
        requests = RequestLog(log_all)
        for each in exchanges:
            requests(each)
        requests.close()
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_failures_are_logged_with_their_reason() -> None:
    bad = failed(415, "'text/csv' is not read here.", body=b"secret", total_s=0.0012)
    (line,) = logged(exchange(), bad, exchange(499))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("time"))
    assert line == {
        "level": "warning",
        "logger": "pixloop.serving",
        "message": "'text/csv' is not read here.",
        "request_id": "id",
        "model": "pets",
        "status": 415,
        "ms": 1.2,
    }
    assert "secret" not in str(line)


def test_a_failure_of_the_server_is_an_error() -> None:
    (line,) = logged(exchange(500, answer=b"no JSON"))
    assert (line["level"], line["message"]) == ("error", "The request failed.")


@pytest.mark.parametrize("answer", [b"", b"[]", b"{}", b"7", b"\xff", b'{"detail": null}'])
def test_any_answer_of_a_failure_can_be_logged(answer: bytes) -> None:
    assert logged(exchange(400, answer=answer))[0]["status"] == 400


def test_all_requests_are_logged_where_asked() -> None:
    answered, gone = logged(
        exchange(predictions=[prediction()] * 2, batch=8), exchange(499), log_all=True
    )
    wanted = {"level": "info", "status": 200, "pictures": 2, "batch": 8, "ms": 5.5}
    assert {name: answered[name] for name in wanted} == wanted
    assert (answered["queue_ms"], answered["work_ms"]) == (1.0, 4.0)
    assert gone["message"] == "The client had gone."


def test_a_flood_of_refusals_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    stream = io.StringIO()
    requests = RequestLog(log_all=False)
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs.JsonLines())
    logging.getLogger("pixloop.serving").addHandler(handler)
    try:
        for _ in range(3500):
            requests(failed(503, "Too many requests are waiting."))
            now[0] += 0.001
        now[0] += 5
        requests(exchange())
        requests(failed(503, "Too many requests are waiting."))
        requests.close()
    finally:
        logging.getLogger("pixloop.serving").removeHandler(handler)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    first, *counted = lines
    assert first["message"] == "Too many requests are waiting."
    assert first["request_id"] == "id"
    assert 4 <= len(counted) <= 6
    assert sum(line["count"] for line in counted) == 3500
    assert all(line["status"] == 503 for line in counted)


def test_a_traceback_is_a_field() -> None:
    stream = io.StringIO()
    with configured("json", stream):
        try:
            raise KeyError("wrong\nname")
        except KeyError:
            log.exception("It %s.", "failed")
    (line,) = stream.getvalue().splitlines()
    assert json.loads(line)["message"] == "It failed."
    assert json.loads(line)["exception"].endswith("KeyError: 'wrong\\nname'")
    assert "Traceback" in json.loads(line)["exception"]


@given(st.text(alphabet=st.characters(), max_size=30))
def test_no_character_breaks_a_line(text: str) -> None:
    record = logging.makeLogRecord({"msg": "%s", "args": (text,), "request_id": text})
    as_json, as_text = logs.JsonLines().format(record), logs.TextLines().format(record)
    for line in (as_json, as_text):
        assert line.isprintable()
        assert len(line.splitlines()) == 1
    assert json.loads(as_json)["request_id"] == text


def test_a_traceback_in_text_cannot_pass_for_lines_of_the_log() -> None:
    try:
        raise ValueError("x\n2026-01-01T00:00:00.000Z INFO all is well\x1b[2J")
    except ValueError:
        record = logging.LogRecord("n", logging.ERROR, "", 0, "Failed.", None, sys.exc_info())
    first, *rest = logs.TextLines().format(record).split("\n")
    assert first.endswith(" ERROR   Failed.")
    assert all(line.startswith("  ") and line.isprintable() for line in rest)


def test_what_a_library_hides_in_records_is_no_field() -> None:
    record = logging.makeLogRecord({"msg": "Failed.", "_stamp": 7})
    assert "stamp" not in logs.JsonLines().format(record) + logs.TextLines().format(record)


def test_a_field_in_text_cannot_pass_for_two() -> None:
    record = logging.makeLogRecord({"msg": "Failed.", "model": 'x" status=200', "ms": 1.5})
    assert logs.TextLines().format(record).endswith(r' Failed. model="x\" status=200" ms=1.5')


@pytest.mark.parametrize(
    ("stream", "log_format", "as_json"),
    [
        (io.StringIO(), "auto", True),
        (Terminal(), "auto", False),
        (io.StringIO(), "text", False),
        (Terminal(), "json", True),
    ],
)
def test_the_form_follows_where_it_is_read(
    stream: io.StringIO, log_format: Literal["auto", "text", "json"], as_json: bool
) -> None:
    with configured(log_format, stream):
        log.warning("Hello.", extra={"request_id": "7"})
    assert stream.getvalue().startswith("{") is as_json
    assert stream.getvalue().endswith('"request_id": "7"}\n' if as_json else " request_id=7\n")


def test_other_libraries_are_heard_from_warnings_on() -> None:
    stream = io.StringIO()
    with configured("text", stream):
        logging.getLogger("some.library").info("chatter")
        logging.getLogger("some.library").warning("Careful.")
        log.info("Loaded.")
        log.debug("chatter")
    log.warning("Not here any more.")
    assert [line.split(maxsplit=2)[2] for line in stream.getvalue().splitlines()] == [
        "Careful.",
        "Loaded.",
    ]


class Stuck(io.StringIO):
    """Takes nothing until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()

    def write(self, text: str) -> int:
        self.go.wait(10)
        return super().write(text)


def test_a_stream_that_takes_nothing_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_MAX_WAITING", 3)
    stream = Stuck()
    with configured("json", stream):
        for i in range(20):
            log.warning("line %d", i)
        stream.go.set()
    lines = [json.loads(line)["message"] for line in stream.getvalue().splitlines()]
    (lost,) = [line for line in lines if "were lost" in line]
    assert int(lost.split()[0]) + len(lines) - 1 == 20


def test_what_was_logged_last_is_written_before_the_process_ends() -> None:
    code = (
        "import logging\nfrom pixloop.serving.observing.logs import configured\n"
        "with configured('json'):\n"
        "    [logging.getLogger('x').warning('line %d', i) for i in range(500)]\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stderr.splitlines()[-1])["message"] == "line 499"
    # A pipe whose reader is gone ends nothing.
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as gone:
        subprocess.run([sys.executable, "-c", code], stderr=gone, check=True)


@pytest.mark.integration
def test_uvicorn_logs_in_the_same_form() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError("the app failed")

    async def ask() -> int:
        config = uvicorn.Config(
            app, port=0, lifespan="off", log_config=None, log_level="warning", access_log=False
        )
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        async with httpx.AsyncClient() as client:
            answer = await client.get(f"http://127.0.0.1:{port}/")
        server.should_exit = True
        await serving
        return answer.status_code

    stream = io.StringIO()
    with configured("json", stream):
        assert asyncio.run(ask()) == 500
    (line,) = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert (line["level"], line["logger"]) == ("error", "uvicorn.error")
    assert line["message"] == "Exception in ASGI application"
    assert line["exception"].endswith("RuntimeError: the app failed")
