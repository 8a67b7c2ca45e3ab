"""What a server's own metrics say of it."""

import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from pixloop.errors import MonitoringError
from pixloop.monitoring.server_rates import read_rates, read_server


def metrics(statuses: dict[str, int], seconds: list[float]) -> str:
    registry = CollectorRegistry()
    requests = Counter("pixloop_requests", "", ("model", "status"), registry=registry)
    took = Histogram(
        "pixloop_request_seconds", "", ("model",), registry=registry, buckets=(0.01, 0.02, 0.1)
    )
    for status, count in statuses.items():
        requests.labels("pets:1", status).inc(count)
    for each in seconds:
        took.labels("pets:1").observe(each)
    return generate_latest(registry).decode()


def test_failures_refusals_and_wrong_requests_are_told_apart():
    text = metrics({"200": 90, "500": 1, "503": 5, "400": 4}, [])
    rates = read_rates(text, "http://here")
    assert (rates.requests, rates.failed, rates.refused, rates.wrong) == (100, 0.01, 0.05, 0.04)
    assert rates.p50_ms is None


def test_latency_lies_within_its_bucket():
    rates = read_rates(metrics({"200": 100}, [0.005] * 40 + [0.015] * 58 + [0.05] * 2), "")
    assert 10 < rates.p50_ms < 20
    assert 20 < rates.p99_ms < 100


def test_what_is_slower_than_all_bounds_is_at_least_the_last():
    assert read_rates(metrics({"200": 1}, [5.0]), "").p99_ms == 100


def test_before_the_first_request_nothing_failed():
    rates = read_rates(metrics({}, []), "")
    assert (rates.requests, rates.failed, rates.p50_ms) == (0, 0.0, None)


def test_who_is_no_server_of_ours_is_named():
    with pytest.raises(ValueError, match="pixloop_requests"):
        read_rates("up 1\n", "")
    with pytest.raises(MonitoringError, match=r"127\.0\.0\.1:9/metrics"):
        read_server("http://127.0.0.1:9")
