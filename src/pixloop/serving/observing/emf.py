"""The metrics in CloudWatch's embedded metric format, on standard output.

CloudWatch Logs makes metrics of lines that are written so. Source: "Specification: Embedded metric
format" in the Amazon CloudWatch user guide; distributions are written as values and their counts,
as AWS's own OpenTelemetry exporters do.
"""

import json
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from math import inf
from typing import Any

from prometheus_client import CollectorRegistry

NAMESPACE = "pixloop"
INTERVAL_S = 60.0
#: How long ``close`` waits for the last lines to be taken.
_CLOSE_S = 2.0

#: A sample's name and labels, and its value.
_Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]
#: What one line holds: a metric's name → its unit and its value.
_Measures = dict[str, tuple[str, Any]]

_log = logging.getLogger(__name__)


class EmbeddedMetrics:
    """Writes what happened since the last time: a line for the server, and one for each model.

    A model's line has the dimension ``model``; the server's has none. A thread of its own writes,
    so that an output that nobody reads holds up nothing else.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        write: Callable[[str], object] | None = None,
        interval_s: float = INTERVAL_S,
    ) -> None:
        """Use ``start``.

        Args:
            registry: of ``Metrics``.
            write: takes whole lines; without one they go to standard output.
            interval_s: seconds between two writings.
        """
        self._registry, self._write, self._interval_s = registry, write or _print, interval_s
        self._last: _Samples = {}
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="embedded-metrics", daemon=True)

    def start(self) -> None:
        """Begin to write, one interval from now."""
        self._thread.start()

    def close(self) -> None:
        """Write what happened since the last time, and end; after two seconds in any case."""
        self._closing.set()
        self._thread.join(_CLOSE_S)

    def _run(self) -> None:
        while not self._closing.wait(self._interval_s):
            self._report()
        self._report()

    def _report(self) -> None:
        samples = {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for metric in self._registry.collect()
            for sample in metric.samples
        }
        now_ms = int(time.time() * 1000)
        try:
            self._write("".join(_lines(samples, self._last, now_ms)))
        except (OSError, ValueError) as e:
            _log.warning("The embedded metrics cannot be written: %s.", e)
        self._last = samples


def _print(lines: str) -> None:
    sys.stdout.write(lines)
    sys.stdout.flush()


def _lines(samples: _Samples, last: _Samples, now_ms: int) -> Iterator[str]:
    yield _line({}, _server_measures(samples), now_ms)
    models: dict[str, _Samples] = {}
    for (name, labels), value in samples.items():
        model = dict(labels).get("model")
        if model is not None:
            # A model that was unloaded and loaded again counts from zero.
            before = last.get((name, labels), 0.0)
            since = value - before if value >= before else value
            models.setdefault(model, {})[name, labels] = since
    for model, since_last in models.items():
        yield _line({"model": _dimension(model)}, _model_measures(since_last), now_ms)


def _line(dimensions: Mapping[str, str], measures: _Measures, now_ms: int) -> str:
    directive = {
        "Namespace": NAMESPACE,
        "Dimensions": [list(dimensions)],
        "Metrics": [{"Name": name, "Unit": unit} for name, (unit, _) in measures.items()],
    }
    values = {name: value for name, (_, value) in measures.items()}
    metadata = {"Timestamp": now_ms, "CloudWatchMetrics": [directive]}
    return json.dumps({"_aws": metadata, **dimensions, **values}) + "\n"


def _server_measures(samples: _Samples) -> _Measures:
    known = {
        "pixloop_waiting_requests": ("Waiting", "Count"),
        "pixloop_in_flight_requests": ("InFlight", "Count"),
        "pixloop_oldest_waiting_seconds": ("OldestWaiting", "Seconds"),
        "process_resident_memory_bytes": ("Memory", "Bytes"),
    }
    return {
        known[name][0]: (known[name][1], value)
        for (name, _), value in samples.items()
        if name in known
    }


def _model_measures(since: _Samples) -> _Measures:
    statuses = _sums(since, "pixloop_requests_total", "status")
    decisions = _sums(since, "pixloop_predictions_total", "decision")
    refused, abandoned = statuses.pop("503", 0.0), statuses.pop("499", 0.0)
    counts = {
        "Requests": sum(statuses.values()) + refused + abandoned,
        "ClientErrors": sum(n for status, n in statuses.items() if status.startswith("4")),
        "ServerErrors": sum(n for status, n in statuses.items() if status.startswith("5")),
        "Refused": refused,
        "Abandoned": abandoned,
        "Pictures": sum(_sums(since, "pixloop_pictures_total", "model").values()),
        "Accepted": decisions.get("accept", 0.0),
        "Referred": decisions.get("refer", 0.0),
    }
    distributions = {
        "Latency": ("Milliseconds", _distribution(since, "pixloop_request_seconds", 1000)),
        "QueueTime": ("Milliseconds", _distribution(since, "pixloop_request_queue_seconds", 1000)),
        "WorkTime": ("Milliseconds", _distribution(since, "pixloop_request_work_seconds", 1000)),
        "BatchSize": ("Count", _distribution(since, "pixloop_request_batch_pictures", 1)),
    }
    # A distribution of nothing cannot be written.
    some = {name: pair for name, pair in distributions.items() if pair[1] is not None}
    return {name: ("Count", count) for name, count in counts.items()} | some


def _sums(samples: _Samples, name: str, label: str) -> dict[str, float]:
    """The samples of a name, summed over all labels but one."""
    sums: dict[str, float] = {}
    for (sample, labels), value in samples.items():
        if sample == name:
            key = dict(labels)[label]
            sums[key] = sums.get(key, 0.0) + value
    return sums


def _distribution(samples: _Samples, name: str, scale: float) -> dict[str, Any] | None:
    """A histogram as values and counts: every bucket's middle, or its edge where it has one only.

    The sum is the true one, so that CloudWatch's average is; its percentiles are as fine as the
    buckets. None where nothing was measured.
    """
    values, counts = [], []
    edge_below, up_to_here = 0.0, 0.0
    buckets = _sums(samples, f"{name}_bucket", "le")
    for edge, cumulative in sorted((float(le), n) for le, n in buckets.items()):
        if cumulative > up_to_here:
            middle = edge_below if edge == inf else (edge_below + edge) / 2
            values.append(round(middle * scale, 6))
            counts.append(cumulative - up_to_here)
        edge_below, up_to_here = edge, cumulative
    if not values:
        return None
    total = sum(_sums(samples, f"{name}_sum", "model").values())
    return {
        "Values": values,
        "Counts": counts,
        "Min": values[0],
        "Max": values[-1],
        "Count": sum(counts),
        "Sum": round(total * scale, 6),
    }


def _dimension(value: str) -> str:
    """As CloudWatch takes it: printable ASCII, at most 1,024 characters, not empty."""
    plain = value.encode("ascii", "backslashreplace").decode()
    return "".join(c if c.isprintable() else "?" for c in plain)[:1024].strip() or "-"
