import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from tests.serving.observing.test_metrics import exchange, prediction

from pixloop.serving.observing import tracing
from pixloop.serving.observing.observation import Exchange
from pixloop.serving.observing.tracing import Tracer

pytest.importorskip("opentelemetry.sdk")

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

SECOND = 1_000_000_000


class Collector:
    """An OTLP collector over HTTP that keeps what it is sent."""

    def __init__(self) -> None:
        self.requests: list[ExportTraceServiceRequest] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                assert self.path == "/v1/traces"
                assert self.headers["Content-Type"] == "application/x-protobuf"
                collector.requests.append(ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *arguments: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def spans(self) -> dict[str, Any]:
        """By name."""
        return {
            span.name: span
            for request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        }

    def service(self) -> dict[str, Any]:
        return plain(self.requests[0].resource_spans[0].resource.attributes)


def plain(attributes: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    collector = Collector()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    yield collector
    collector.server.shutdown()
    collector.server.server_close()


def trace(collector: Collector, *exchanges: Exchange) -> dict[str, Any]:
    tracer = Tracer()
    for each in exchanges:
        tracer(each)
    tracer.close()
    return collector.spans()


def test_an_exchange_is_a_span_with_its_parts(collector: Collector) -> None:
    answered = exchange(
        received_at=1_000.0,
        total_s=0.5,
        queue_s=0.125,
        work_s=0.25,
        body=b"12345",
        answer=b"123",
        predictions=[prediction()] * 2,
        batch=8,
    )
    spans = trace(collector, answered)
    server, wait, compute = spans["POST /invocations"], spans["wait"], spans["compute"]
    assert server.kind == server.SPAN_KIND_SERVER
    assert not server.parent_span_id
    assert plain(server.attributes) == {
        "http.request.method": "POST",
        "http.route": "/invocations",
        "url.path": "/invocations",
        "url.scheme": "http",
        "http.response.status_code": 200,
        "http.request.body.size": 5,
        "http.response.body.size": 3,
        "pixloop.request_id": "id",
        "pixloop.model": "pets",
        "pixloop.pictures": 2,
        "pixloop.batch": 8,
    }
    assert server.status.code == server.status.STATUS_CODE_UNSET
    times = [(s.start_time_unix_nano, s.end_time_unix_nano) for s in (server, wait, compute)]
    start = 1_000 * SECOND
    assert times == [
        (start, start + SECOND // 2),
        (start + SECOND // 8, start + SECOND // 4),
        (start + SECOND // 4, start + SECOND // 2),
    ]
    for part in (wait, compute):
        assert part.trace_id == server.trace_id
        assert part.parent_span_id == server.span_id
    assert collector.service()["service.name"] == "pixloop"


def test_the_clients_trace_goes_on(collector: Collector) -> None:
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    span = trace(collector, exchange(traceparent=parent))["POST /invocations"]
    assert span.trace_id.hex() == "0af7651916cd43dd8448eb211c80319c"
    assert span.parent_span_id.hex() == "b7ad6b7169203331"


def test_what_the_client_does_not_sample_is_not_sent(collector: Collector) -> None:
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
    assert not trace(collector, exchange(traceparent=parent))


@pytest.mark.parametrize("parent", ["nonsense", "00-0-0-01", "\x00", "00-" + "0" * 32])
def test_a_parent_that_makes_no_sense_is_ignored(collector: Collector, parent: str) -> None:
    span = trace(collector, exchange(traceparent=parent))["POST /invocations"]
    assert not span.parent_span_id


def test_a_refusal_has_no_parts_and_is_an_error(collector: Collector) -> None:
    spans = trace(collector, exchange(503, queue_s=0.0, work_s=0.0))
    (span,) = spans.values()
    assert plain(span.attributes)["error.type"] == "503"
    assert span.status.code == span.status.STATUS_CODE_ERROR


def test_the_clients_mistake_is_no_error_of_the_server(collector: Collector) -> None:
    span = trace(collector, exchange(415))["POST /invocations"]
    assert "error.type" not in plain(span.attributes)
    assert span.status.code == span.status.STATUS_CODE_UNSET


def test_the_environment_names_the_service(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "shop")
    trace(collector, exchange())
    assert collector.service()["service.name"] == "shop"


def test_closing_does_not_wait_for_a_collector_that_is_silent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tracing, "FLUSH_S", 0.05)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
        tracer = Tracer()
        tracer(exchange())
        tracer.close()
        (still_trying,) = [each for each in threading.enumerate() if each.name == "traces"]
        still_trying.join(20)
    assert not still_trying.is_alive()


def test_a_collector_that_is_not_there_is_survived(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "8")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "8")
    tracer = Tracer()
    for _ in range(10):  # more than are kept
        tracer(exchange())
    tracer.close()
    assert "export" in caplog.text


def test_without_the_extra_it_says_what_to_install() -> None:
    code = (
        "import sys\n"
        "sys.modules['opentelemetry.exporter'] = None\n"
        "from pixloop.errors import ServingError\n"
        "from pixloop.serving.observing.tracing import Tracer\n"
        "assert 'opentelemetry' not in sys.modules\n"
        "try:\n    Tracer()\nexcept ServingError as e:\n    print(e)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'pixloop[otel]'" in done.stdout
