"""A trace of every request, by OpenTelemetry's protocol.

Where the traces go, and which are kept, is said by OpenTelemetry's own environment variables:
``OTEL_EXPORTER_OTLP_ENDPOINT``, ``OTEL_TRACES_SAMPLER``, ``OTEL_SERVICE_NAME`` and so on.
"""

import threading
from typing import TYPE_CHECKING

from pixloop import __version__
from pixloop.errors import ServingError
from pixloop.serving.observing.observation import Exchange

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.trace import Span

#: How long ``close`` waits for the last spans to be taken.
FLUSH_S = 2.0


class Tracer:
    """Makes a span of an exchange, and of its waiting and computing; an Observer.

    Attributes have the names of OpenTelemetry's semantic conventions for HTTP servers, and
    ``pixloop.*`` beyond them. A client's ``traceparent`` is the parent, and what it says of
    sampling is followed. Spans are sent in batches by a thread; while the collector is away, the
    newest are kept, up to 2,048 (``OTEL_BSP_MAX_QUEUE_SIZE``).
    """

    def __init__(self) -> None:
        """Begin to send.

        Raises:
            ServingError: OpenTelemetry is not installed, or its settings are wrong.
        """
        # Only who asks for traces pays for these imports.
        try:
            from opentelemetry.context import Context
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context
            from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
        except ImportError as e:
            raise ServingError(
                "serving.tracing needs OpenTelemetry. Install it: pip install 'pixloop[otel]'"
            ) from e
        try:
            # Ended by close, which does not wait for a collector that is away.
            self._provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
            self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        except ValueError as e:
            raise ServingError(
                f"OpenTelemetry cannot be set up: {e}. Look at the OTEL_* environment variables."
            ) from e
        self._tracer = self._provider.get_tracer("pixloop.serving")
        self._propagator, self._no_parent = TraceContextTextMapPropagator(), Context()
        self._kind, self._failed = SpanKind.SERVER, Status(StatusCode.ERROR)
        self._inside = set_span_in_context

    def __call__(self, exchange: Exchange) -> None:
        """Make the spans of an exchange."""
        parent = self._no_parent
        if exchange.traceparent:
            carrier = {"traceparent": exchange.traceparent}
            parent = self._propagator.extract(carrier, self._no_parent)
        span = self._tracer.start_span(
            "POST /invocations",
            parent,
            self._kind,
            {
                "http.request.method": "POST",
                "http.route": "/invocations",
                "url.path": "/invocations",
                "url.scheme": "http",
            },
            start_time=_nanoseconds(exchange.received_at),
        )
        end = exchange.received_at + exchange.total_s
        if span.is_recording():
            self._describe(span, exchange)
            self._divide(span, exchange, end)
        span.end(_nanoseconds(end))

    def close(self) -> None:
        """Send what is left, for at most ``FLUSH_S`` seconds."""
        # The provider's own shutdown may wait for half a minute.
        thread = threading.Thread(target=self._provider.shutdown, name="traces", daemon=True)
        thread.start()
        thread.join(FLUSH_S)

    def _describe(self, span: "Span", exchange: Exchange) -> None:
        span.set_attributes(
            {
                "http.response.status_code": exchange.status,
                "http.request.body.size": len(exchange.body),
                "http.response.body.size": len(exchange.answer),
                "pixloop.request_id": exchange.request_id,
                "pixloop.model": exchange.model,
                "pixloop.pictures": len(exchange.predictions),
                "pixloop.batch": exchange.batch,
            }
        )
        if exchange.status >= 500:
            span.set_attribute("error.type", str(exchange.status))
            span.set_status(self._failed)

    def _divide(self, span: "Span", exchange: Exchange, end: float) -> None:
        """The children: computing ends with the answer, waiting ends where it begins."""
        taken = end - exchange.work_s
        inside = self._inside(span, self._no_parent)
        for name, start, stop in (
            ("wait", taken - exchange.queue_s, taken),
            ("compute", taken, end),
        ):
            if stop > start:
                child = self._tracer.start_span(name, inside, start_time=_nanoseconds(start))
                child.end(_nanoseconds(stop))


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)


def _resource() -> "Resource":
    """What sends: ``OTEL_SERVICE_NAME``, or pixloop."""
    from opentelemetry.sdk.resources import Resource

    resource = Resource.create({"service.version": __version__})
    named = not str(resource.attributes["service.name"]).startswith("unknown_service")
    return resource if named else resource.merge(Resource({"service.name": "pixloop"}))
