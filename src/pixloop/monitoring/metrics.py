"""What a monitor knows, for Prometheus."""

from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, Gauge, start_http_server

from pixloop.errors import MonitoringError
from pixloop.monitoring.look import Look

_HOST = "127.0.0.1"


class MonitorMetrics:
    """Gauges that say what the last look found."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(
                f"pixloop_monitor_{name}", text, ("model", *labels), registry=self.registry
            )

        self._evidence = gauge(
            "drift_evidence",
            "Log of a signal's capital over its limit; 0 and above is an alarm.",
            "signal",
            "group",
        )
        self._alarms = gauge("open_alarms", "Alarms that nobody has acknowledged.", "kind")
        self._seen = gauge("pictures_seen", "Pictures looked at.")
        self._damaged = gauge("damaged_captures", "Captures that could not be read.")
        self._referred = gauge("referral_rate", "Share of the latest pictures that is referred.")
        self._accuracy = gauge("estimated_accuracy", "Accuracy estimated without labels.", "bound")
        self._quality = gauge("quality", "Share of right answers that people checked.", "bound")
        self._labels = gauge("checked_pictures", "Pictures that quality is judged on.")

    def show(self, look: Look) -> None:
        """Tell what a look found."""
        model = look.model
        for signal in look.evidence.signals:
            self._evidence.labels(model, signal.name, signal.group).set(signal.evidence)
        for kind in ("drift", "quality"):
            count = sum(alarm.kind == kind for alarm in look.open_alarms)
            self._alarms.labels(model, kind).set(count)
        self._seen.labels(model).set(look.seen)
        self._damaged.labels(model).set(look.damaged)
        if look.referral_rate is not None:
            self._referred.labels(model).set(look.referral_rate)
        if look.accuracy is not None:
            _bounds(self._accuracy, model, look.accuracy.accuracy, look.accuracy)
        if look.quality is not None:
            _bounds(self._quality, model, look.quality.value, look.quality)
            self._labels.labels(model).set(look.quality.labels)

    def listen(self, port: int) -> WSGIServer:
        """Answer ``/metrics`` on 127.0.0.1 from a thread of its own; port 0 takes a free one.

        Raises:
            MonitoringError: the port is taken.
        """
        try:
            server, _ = start_http_server(port, addr=_HOST, registry=self.registry)
        except OSError as e:
            raise MonitoringError(
                f"metrics cannot be served at {_HOST}:{port}: {e.strerror}. Choose another port "
                "with --listen."
            ) from e
        return server


def _bounds(gauge: Gauge, model: str, value: float, interval: object) -> None:
    gauge.labels(model, "value").set(value)
    for bound in ("low", "high"):
        gauge.labels(model, bound).set(getattr(interval, bound))
