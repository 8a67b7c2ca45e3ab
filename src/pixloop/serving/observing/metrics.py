"""What Prometheus reads at ``/metrics``.

Every series carries the model's name. Names come from clients where one server has many models, so
only models that the server was told of have series of their own; the rest is ``other``. Class
names are labels only where there are at most ``MAX_CLASSES`` of them.

``_created`` series are turned off in the whole process: they would double what is read.
"""

from collections.abc import Callable, Iterator, Sequence

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import CounterMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pixloop.records import Decision, Detection
from pixloop.serving.observing.observation import Exchange

#: A model of more classes has its predictions counted without their labels.
MAX_CLASSES = 100
#: Requests for models that are not served here are counted under this name.
OTHER = "other"

# Upper edges. Neighbours differ by at most a factor of two where answers are expected, so that a
# quantile that is read from them is right within that factor.
_SECONDS = (
    *(0.001, 0.0015, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075),
    *(0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0),
)
_PICTURES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
# These exist before the first such request: a rate needs a zero to start from.
_EXPECTED_STATUSES = (200, 400, 499, 500, 503)


class Metrics:
    """Counts every exchange; an Observer.

    ====================================  ==========================================================
    ``pixloop_requests_total``            by ``status``; 503 are those refused, 499 those whose
                                          client had gone
    ``pixloop_pictures_total``            pictures answered
    ``pixloop_predictions_total``         by ``label`` and ``decision``; of a detector, its boxes
    ``pixloop_request_seconds``           from a request's head to its answer
    ``pixloop_request_queue_seconds``     of that, waiting for a worker
    ``pixloop_request_work_seconds``      of that, decoding, computing and encoding
    ``pixloop_request_batch_pictures``    pictures in the batch that a request was computed in
    ``pixloop_model_info``                ``bundle``, ``graph`` and ``precision`` of what is served
    ``pixloop_model_swaps_total``         exchanges of a model's version, by ``result``
    ``pixloop_waiting_requests``          see ``watch``, as the next two
    ``pixloop_in_flight_requests``
    ``pixloop_oldest_waiting_seconds``
    ``process_*``                         memory, processor time, open files
    ====================================  ==========================================================

    The four histograms hold only requests that were answered with predictions: a refusal takes
    microseconds and would make the server look fast when it is overloaded.
    """

    def __init__(self, model: str) -> None:
        """``model``: the name of the model served; ``serves`` says more of it, or adds others."""
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = registry = CollectorRegistry()
        self._requests = Counter(
            "pixloop_requests", "Requests by HTTP status.", ("model", "status"), registry=registry
        )
        self._pictures = Counter(
            "pixloop_pictures", "Pictures answered.", ("model",), registry=registry
        )
        self._predictions = Counter(
            "pixloop_predictions",
            "Predictions, or a detector's boxes.",
            ("model", "label", "decision"),
            registry=registry,
        )
        self._total, self._queue, self._work, self._batch = (
            Histogram(f"pixloop_request_{name}", text, ("model",), registry=registry, buckets=edges)
            for name, text, edges in (
                ("seconds", "From a request's head to its answer.", _SECONDS),
                ("queue_seconds", "Waiting for a worker.", _SECONDS),
                ("work_seconds", "Decoding, computing and encoding.", _SECONDS),
                ("batch_pictures", "Pictures in the batch of a request.", _PICTURES),
            )
        )
        self._info = Info("pixloop_model", "What is served.", ("model",), registry=registry)
        self._swaps = Counter(
            "pixloop_model_swaps",
            "Exchanges of a model's version.",
            ("model", "result"),
            registry=registry,
        )
        ProcessCollector(registry=registry)
        self._models = {model: self._bind(model)}

    def __call__(self, exchange: Exchange) -> None:
        """Count an exchange."""
        series = self._models.get(exchange.model)
        if series is None:
            series = self._models.get(OTHER) or self._models.setdefault(OTHER, self._bind(OTHER))
        series.count(exchange)

    def serves(
        self,
        model: str,
        *,
        bundle: str = "",
        graph: str = "",
        precision: str = "",
        classes: Sequence[str] = (),
    ) -> None:
        """Say what a model is, when it is loaded and when it was exchanged.

        Args:
            model: its name, as ``Exchange.model`` gives it.
            bundle: which bundle it is: a name, a version or a hash.
            graph: the name of the graph that computes.
            precision: such as float32.
            classes: its classes' names.
        """
        series = self._models.get(model) or self._models.setdefault(model, self._bind(model))
        if len(classes) <= MAX_CLASSES:
            series.bind_labels(classes)
        described = {"bundle": bundle, "graph": graph, "precision": precision}
        self._info.labels(model).info(described)

    def forget(self, model: str) -> None:
        """Drop the series of a model that is no longer served."""
        self._models.pop(model, None)
        for metric in (
            *(self._requests, self._pictures, self._predictions, self._info, self._swaps),
            *(self._total, self._queue, self._work, self._batch),
        ):
            metric.remove_by_labels({"model": model})

    def swapped(self, model: str, result: str) -> None:
        """Count that a model's version was exchanged, or not.

        ``result``: one of a few words of the server's own, such as ``taken`` or ``refused``.
        """
        self._swaps.labels(model, result).inc()

    def watch(
        self,
        *,
        waiting: Callable[[], float],
        in_flight: Callable[[], float],
        oldest_waiting_s: Callable[[], float],
    ) -> None:
        """Ask these at every reading, from any thread: called once, by the server.

        Args:
            waiting: requests that wait for a worker.
            in_flight: requests that are not answered yet, those that wait included.
            oldest_waiting_s: how long the one that waits longest has; 0 where none does.
        """
        for name, text, read in (
            ("pixloop_waiting_requests", "Requests that wait for a worker.", waiting),
            ("pixloop_in_flight_requests", "Requests not answered yet.", in_flight),
            ("pixloop_oldest_waiting_seconds", "Age of the oldest waiting.", oldest_waiting_s),
        ):
            Gauge(name, text, registry=self.registry).set_function(read)

    def watch_captures(self, *, captured: Callable[[], int], dropped: Callable[[], int]) -> None:
        """Ask these at every reading as well; both only grow.

        Args:
            captured: exchanges that were kept.
            dropped: that were chosen, and could not be kept.
        """
        self.registry.register(
            _Counts(
                ("pixloop_captured_requests", "Requests kept with their answers.", captured),
                ("pixloop_dropped_captures", "Requests chosen, and not kept.", dropped),
            )
        )

    def watch_shadow(
        self,
        *,
        answered: Callable[[], int],
        dropped: Callable[[], int],
        failed: Callable[[], int],
    ) -> None:
        """Ask these at every reading as well; all only grow.

        Args:
            answered: exchanges that a challenger has answered as well.
            dropped: that there was no time for.
            failed: that it failed on.
        """
        self.registry.register(
            _Counts(
                ("pixloop_shadow_answers", "Requests that a challenger has answered.", answered),
                ("pixloop_shadow_dropped", "Requests that it had no time for.", dropped),
                ("pixloop_shadow_failed", "Requests that it failed on.", failed),
            )
        )

    def routes(self) -> list[Route]:
        """``GET /metrics``: Prometheus' text format, or OpenMetrics where Accept asks for it."""
        return [Route("/metrics", self._answer)]

    async def _answer(self, request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(self.registry), headers={"content-type": content_type})

    def _bind(self, model: str) -> "_Series":
        return _Series(
            model=model,
            requests=self._requests,
            pictures=self._pictures.labels(model),
            predictions=self._predictions,
            total=self._total.labels(model),
            queue=self._queue.labels(model),
            work=self._work.labels(model),
            batch=self._batch.labels(model),
        )


class _Counts(Collector):
    """Numbers that others count themselves: a name, what it is, and what gives it."""

    def __init__(self, *counts: tuple[str, str, Callable[[], int]]) -> None:
        self._counts = counts

    def collect(self) -> Iterator[CounterMetricFamily]:
        """All of them, as they are now."""
        for name, text, read in self._counts:
            yield CounterMetricFamily(name, text, value=read())


class _Series:
    """One model's series, bound to their labels once: looking them up costs more than counting."""

    def __init__(
        self,
        *,
        model: str,
        requests: Counter,
        pictures: Counter,
        predictions: Counter,
        total: Histogram,
        queue: Histogram,
        work: Histogram,
        batch: Histogram,
    ) -> None:
        self._model, self._requests, self._predictions = model, requests, predictions
        self._pictures = pictures
        self._total, self._queue, self._work, self._batch = total, queue, work, batch
        self._by_status = {status: self._status(status) for status in _EXPECTED_STATUSES}
        self._by_label: dict[str, tuple[Counter, Counter]] = {}
        self._unlabelled = self._label("")

    def bind_labels(self, labels: Sequence[str]) -> None:
        self._by_label = {label: self._label(label) for label in labels}

    def count(self, exchange: Exchange) -> None:
        counter = self._by_status.get(exchange.status)
        if counter is None:
            counter = self._by_status[exchange.status] = self._status(exchange.status)
        counter.inc()
        if exchange.status >= 400:
            return
        self._total.observe(exchange.total_s)
        self._queue.observe(exchange.queue_s)
        self._work.observe(exchange.work_s)
        self._batch.observe(exchange.batch)
        self._pictures.inc(len(exchange.predictions))
        for answer in exchange.predictions:
            for prediction in answer.boxes if isinstance(answer, Detection) else (answer,):
                accepted, referred = self._by_label.get(prediction.label, self._unlabelled)
                (accepted if prediction.decision is Decision.ACCEPT else referred).inc()

    def _status(self, status: int) -> Counter:
        return self._requests.labels(self._model, status)

    def _label(self, label: str) -> tuple[Counter, Counter]:
        accepted, referred = (
            self._predictions.labels(self._model, label, decision.value)
            for decision in (Decision.ACCEPT, Decision.REFER)
        )
        return accepted, referred
