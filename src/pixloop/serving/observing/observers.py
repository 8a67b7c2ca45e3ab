"""Whoever is told of a server's requests, as the settings say."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from pixloop.config import ServingConfig
from pixloop.serving.jobs import Version
from pixloop.serving.models.served import Outcome
from pixloop.serving.observing.logs import RequestLog
from pixloop.serving.observing.metrics import Metrics
from pixloop.serving.observing.observation import Observer


@dataclass(frozen=True, slots=True)
class Observers:
    """The observers of one server.

    Attributes:
        metrics: the numbers at ``/metrics``.
        each: all of them, metrics included.
    """

    metrics: Metrics
    each: tuple[Observer, ...]

    def introduce(self, version: Version, graph: str) -> None:
        """Let them know a version that serves from now on."""
        manifest = version.predictor.manifest
        precision = next((g.precision for g in manifest.graphs if g.name == graph), "float32")
        self.metrics.serves(
            version.name,
            bundle=manifest.name,
            graph=graph,
            precision=precision,
            classes=manifest.classes,
        )

    def tell_swap(self, version: str, outcome: Outcome) -> None:
        """Count what became of a version that was offered."""
        self.metrics.swapped(version, outcome.replace(" ", "_"))


@contextmanager
def observing(name: str, settings: ServingConfig, captures: Path) -> Iterator[Observers]:
    """Observers for as long as the context lasts; then what they hold is written and sent.

    Args:
        name: what answers give as ``model``.
        settings: which there are.
        captures: the folder for captured requests, where the settings name none.

    Raises:
        ServingError: what the settings ask for is not installed, or cannot write where it should.
    """
    with ExitStack() as stack:
        metrics = Metrics(name)
        requests = RequestLog(settings.log_requests)
        stack.callback(requests.close)
        each: list[Observer] = [metrics, requests]
        if settings.embedded_metrics:
            # Each of these is for those who ask for it, and none is needed to start.
            from pixloop.serving.observing.emf import EmbeddedMetrics

            embedded = EmbeddedMetrics(metrics.registry)
            stack.callback(embedded.close)
            embedded.start()
        if settings.tracing:
            from pixloop.serving.observing.tracing import Tracer

            tracer = Tracer()
            stack.callback(tracer.close)
            each.append(tracer)
        if settings.capture_share > 0:
            from pixloop.serving.capture.capture import Capture

            capture = Capture(
                settings.capture_to,
                captures,
                settings.capture_share,
                settings.capture_max_bytes,
                endpoint=name,
                file_s=settings.capture_file_s,
            )
            stack.callback(capture.close)
            each.append(capture)
            metrics.watch_captures(
                captured=lambda: capture.captured, dropped=lambda: capture.dropped
            )
        yield Observers(metrics, tuple(each))
