import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

import httpx
import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text
from starlette.applications import Starlette

from pixloop.records import Decision, DetectedBox, Detection, Prediction
from pixloop.serving.observing.metrics import MAX_CLASSES, Metrics
from pixloop.serving.observing.observation import Exchange


def prediction(label: str = "cat", decision: Decision = Decision.ACCEPT) -> Prediction:
    return Prediction(label, 0.9, {label: 0.9}, decision)


def exchange(status: int = 200, model: str = "pets", **fields: Any) -> Exchange:
    usual = {"queue_s": 0.001, "work_s": 0.004, "total_s": 0.0055, "batch": 1}
    return Exchange("id", model, status=status, **{"received_at": 1.8e9, **usual, **fields})


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def get(metrics: Metrics, **headers: str) -> httpx.Response:
    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(Starlette(routes=metrics.routes()))
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            return await client.get("/metrics", headers=headers)

    return asyncio.run(ask())


def test_requests_are_counted_by_status() -> None:
    metrics = Metrics("pets")
    for status in (200, 200, 503, 499, 418):
        metrics(exchange(status))
    counts = {
        status: value(metrics, "pixloop_requests_total", model="pets", status=status)
        for status in ("200", "400", "418", "499", "503")
    }
    assert counts == {"200": 2, "400": 0, "418": 1, "499": 1, "503": 1}


def test_only_answered_requests_are_timed() -> None:
    metrics = Metrics("pets")
    metrics(exchange(predictions=[prediction()] * 3, batch=8))
    metrics(exchange(503, total_s=0.0001, queue_s=0, work_s=0, batch=0))
    for name, total in (("", 0.0055), ("_queue", 0.001), ("_work", 0.004)):
        assert value(metrics, f"pixloop_request{name}_seconds_count", model="pets") == 1
        assert value(metrics, f"pixloop_request{name}_seconds_sum", model="pets") == total
    assert value(metrics, "pixloop_request_seconds_bucket", model="pets", le="0.005") == 0
    assert value(metrics, "pixloop_request_seconds_bucket", model="pets", le="0.0075") == 1
    assert value(metrics, "pixloop_request_batch_pictures_bucket", model="pets", le="4.0") == 0
    assert value(metrics, "pixloop_request_batch_pictures_bucket", model="pets", le="8.0") == 1
    assert value(metrics, "pixloop_pictures_total", model="pets") == 3


def predicted(metrics: Metrics, model: str = "pets") -> dict[tuple[str, str], float]:
    """Label and decision → how many, of those that there are."""
    return {
        (sample.labels["label"], sample.labels["decision"]): sample.value
        for metric in metrics.registry.collect()
        for sample in metric.samples
        if sample.name == "pixloop_predictions_total"
        and sample.labels["model"] == model
        and sample.value
    }


def test_predictions_are_counted_by_label_and_decision() -> None:
    metrics = Metrics("pets")
    metrics.serves("pets", classes=("cat", "dog"))
    answers = [prediction(), prediction("dog", Decision.REFER), prediction("dog", Decision.REFER)]
    metrics(exchange(predictions=answers))
    assert predicted(metrics) == {("cat", "accept"): 1, ("dog", "refer"): 2}
    assert value(
        metrics, "pixloop_predictions_total", model="pets", label="cat", decision="refer"
    ) == pytest.approx(0)


def test_a_detectors_boxes_are_its_predictions() -> None:
    metrics = Metrics("pets")
    metrics.serves("pets", classes=("cat", "dog"))
    boxes = tuple(
        DetectedBox(label, 0.5, (0, 0, 1, 1), decision)
        for label, decision in (("cat", Decision.ACCEPT), ("cat", Decision.REFER))
    )
    metrics(exchange(predictions=[Detection(boxes, 9, 9), Detection((), 9, 9)]))
    assert predicted(metrics) == {("cat", "accept"): 1, ("cat", "refer"): 1}
    assert value(metrics, "pixloop_pictures_total", model="pets") == 2


@pytest.mark.parametrize(("count", "label"), [(MAX_CLASSES, "7"), (MAX_CLASSES + 1, "")])
def test_many_classes_are_not_labels(count: int, label: str) -> None:
    metrics = Metrics("pets")
    metrics.serves("pets", classes=[str(i) for i in range(count)])
    metrics(exchange(predictions=[prediction("7")]))
    assert predicted(metrics) == {(label, "accept"): 1}


def test_names_that_clients_invent_make_no_series() -> None:
    metrics = Metrics("pets")
    metrics(exchange(404, model="first"))
    before = sum(1 for _ in samples(metrics))
    for i in range(100):
        metrics(exchange(404, model=f"invented-{i}"))
    assert sum(1 for _ in samples(metrics)) == before
    assert value(metrics, "pixloop_requests_total", model="other", status="404") == 101
    metrics.serves("invented-1")
    metrics(exchange(model="invented-1"))
    assert value(metrics, "pixloop_requests_total", model="invented-1", status="200") == 1


def samples(metrics: Metrics) -> Iterator[Any]:
    for metric in metrics.registry.collect():
        yield from metric.samples


def test_a_model_says_what_it_is_until_it_is_forgotten() -> None:
    metrics = Metrics("pets")
    metrics.serves("pets", bundle="v7", graph="openvino", precision="float32")
    metrics.serves("pets", bundle="v8", graph="openvino-int8", precision="int8")
    described = {"model": "pets", "graph": "openvino-int8", "precision": "int8"}
    assert value(metrics, "pixloop_model_info", **described, bundle="v8") == 1
    assert value(metrics, "pixloop_model_info", **described, bundle="v7") is None
    metrics(exchange(predictions=[prediction()]))
    metrics.swapped("pets", "taken")
    metrics.swapped("pets", "taken")
    assert value(metrics, "pixloop_model_swaps_total", model="pets", result="taken") == 2
    metrics.forget("pets")
    assert not [each for each in samples(metrics) if "model" in each.labels]
    metrics(exchange(500))
    assert value(metrics, "pixloop_requests_total", model="other", status="500") == 1


def test_what_is_watched_is_read_when_asked() -> None:
    metrics = Metrics("pets")
    queue: list[float] = []
    metrics.watch(
        waiting=lambda: len(queue),
        in_flight=lambda: len(queue) + 1,
        oldest_waiting_s=lambda: queue[0] if queue else 0,
    )
    assert value(metrics, "pixloop_oldest_waiting_seconds") == 0
    queue += [0.5, 0.25]
    assert value(metrics, "pixloop_waiting_requests") == 2
    assert value(metrics, "pixloop_in_flight_requests") == 3
    assert value(metrics, "pixloop_oldest_waiting_seconds") == 0.5


def names(families: Sequence[Metric]) -> set[str]:
    return {family.name for family in families}


def test_prometheus_can_read_it() -> None:
    metrics = Metrics('a "strange"\nname\\')
    metrics.serves('a "strange"\nname\\', classes=("über", "x"), bundle="b")
    metrics(exchange(model='a "strange"\nname\\', predictions=[prediction("über")]))
    answer = get(metrics)
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    families = list(read_text(answer.text))
    assert {"pixloop_requests", "pixloop_request_seconds", "pixloop_model_info"} <= names(families)
    assert {"process_resident_memory_bytes", "process_cpu_seconds"} <= names(families)
    counted = [s for f in families for s in f.samples if s.name == "pixloop_predictions_total"]
    assert {(s.labels["model"], s.labels["label"]) for s in counted if s.value} == {
        ('a "strange"\nname\\', "über")
    }
    assert "_created" not in answer.text


def test_openmetrics_is_answered_where_it_is_asked_for() -> None:
    metrics = Metrics("pets")
    metrics(exchange())
    answer = get(metrics, accept="application/openmetrics-text; version=1.0.0, text/plain;q=0.5")
    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    families = list(read_openmetrics(answer.text))
    assert {"pixloop_requests", "pixloop_request_batch_pictures"} <= names(families)


def test_servers_in_one_process_do_not_mix() -> None:
    first, second = Metrics("pets"), Metrics("pets")
    first(exchange())
    assert value(second, "pixloop_requests_total", model="pets", status="200") == 0


def test_captures_are_counters_that_are_read() -> None:
    numbers = {"captured": 3, "dropped": 1}
    metrics = Metrics("m")
    metrics.watch_captures(captured=lambda: numbers["captured"], dropped=lambda: numbers["dropped"])
    assert metrics.registry.get_sample_value("pixloop_captured_requests_total") == 3
    numbers["dropped"] = 5
    assert metrics.registry.get_sample_value("pixloop_dropped_captures_total") == 5
