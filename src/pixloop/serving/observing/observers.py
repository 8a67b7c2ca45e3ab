"""Whoever is told of a server's requests, as the settings say."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pixloop.config import ServingConfig
from pixloop.serving.jobs import Version
from pixloop.serving.models.served import Outcome
from pixloop.serving.observing.logs import RequestLog
from pixloop.serving.observing.metrics import Metrics
from pixloop.serving.observing.observation import Observer

if TYPE_CHECKING:
    from pixloop.serving.models.following import Find
    from pixloop.serving.shadow import Shadow


@dataclass(frozen=True, slots=True)
class Observers:
    """The observers of one server.

    Attributes:
        metrics: the numbers at ``/metrics``.
        each: all of them, metrics included.
        shadow: what asks a challenger as well, if anything does.
    """

    metrics: Metrics
    each: tuple[Observer, ...]
    shadow: "Shadow | None" = None

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
def observing(
    name: str, settings: ServingConfig, captures: Path, challenger: "Find | None" = None
) -> Iterator[Observers]:
    """Observers for as long as the context lasts; then what they hold is written and sent.

    Args:
        name: what answers give as ``model``.
        settings: which there are.
        captures: the folder for captured requests, where the settings name none.
        challenger: gives the version that answers what is captured as well, unseen.

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
        shadow = None
        if challenger is not None:
            shadow = _open_shadow(challenger, settings, captures, metrics)
            stack.callback(shadow.close)
        if settings.capture_share > 0:
            from pixloop.serving.capture.capture import Capture

            capture = Capture(
                settings.capture_to,
                captures,
                settings.capture_share,
                settings.capture_max_bytes,
                endpoint=name,
                file_s=settings.capture_file_s,
                also=shadow,
            )
            stack.callback(capture.close)
            each.append(capture)
            metrics.watch_captures(
                captured=lambda: capture.captured, dropped=lambda: capture.dropped
            )
        yield Observers(metrics, tuple(each), shadow)


def _open_shadow(
    challenger: "Find", settings: ServingConfig, folder: Path, metrics: Metrics
) -> "Shadow":
    from pixloop.serving.capture.capture import Capture
    from pixloop.serving.shadow import Shadow, check_share, remove_old_captures

    check_share(settings.capture_share)

    def open_captures(endpoint: str) -> Capture:
        here = settings.capture_to
        remove_old_captures(folder if here is None or "://" in here else Path(here), endpoint)
        most = settings.capture_max_bytes
        return Capture(here, folder, 1.0, most, endpoint, file_s=settings.capture_file_s)

    shadow = Shadow(challenger, open_captures, settings.follow_s or 5.0)
    metrics.watch_shadow(
        answered=lambda: shadow.answered,
        dropped=lambda: shadow.dropped,
        failed=lambda: shadow.failed,
    )
    return shadow
