import io
import json
import re
import sys
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.serving.observing.test_metrics import exchange, prediction

from pixloop.records import Decision
from pixloop.serving.observing.emf import EmbeddedMetrics
from pixloop.serving.observing.metrics import Metrics

UNITS = {"Count", "Milliseconds", "Seconds", "Bytes"}


def check(line: str) -> dict[str, Any]:
    """The rules of CloudWatch's "Specification: Embedded metric format"; the parsed line."""
    assert line.endswith("\n")
    assert len(line) <= 256_000
    assert "\n" not in line[:-1]
    document: dict[str, Any] = json.loads(line)
    metadata = document["_aws"]
    assert set(metadata) == {"Timestamp", "CloudWatchMetrics"}
    assert type(metadata["Timestamp"]) is int
    for directive in metadata["CloudWatchMetrics"]:
        assert set(directive) == {"Namespace", "Dimensions", "Metrics"}
        assert 1 <= len(directive["Namespace"]) <= 255
        assert len(directive["Dimensions"]) >= 1
        for dimensions in directive["Dimensions"]:
            assert len(dimensions) <= 9
            for name in dimensions:
                assert re.fullmatch(r"[!-~][ -~]{0,1023}", document[name])
        assert 1 <= len(directive["Metrics"]) <= 100
        for metric in directive["Metrics"]:
            assert set(metric) == {"Name", "Unit"}
            assert metric["Unit"] in UNITS
            check_target(document[metric["Name"]])
    return document


def check_target(target: Any) -> None:
    if isinstance(target, dict):
        assert set(target) == {"Values", "Counts", "Min", "Max", "Count", "Sum"}
        assert 1 <= len(target["Values"]) == len(target["Counts"]) <= 100
        assert target["Count"] == sum(target["Counts"])
        assert all(target["Min"] <= value <= target["Max"] for value in target["Values"])
        assert all(count > 0 for count in target["Counts"])
    else:
        assert isinstance(target, float | int)


def report(metrics: Metrics, emf: EmbeddedMetrics, written: list[str]) -> dict[str, dict[str, Any]]:
    """What the next lines say, by model; the server's is under an empty name."""
    written.clear()
    emf._report()
    documents = [check(line) for line in "".join(written).splitlines(keepends=True)]
    return {document.get("model", ""): document for document in documents}


def make(model: str = "pets") -> tuple[Metrics, EmbeddedMetrics, list[str]]:
    metrics, written = Metrics(model), list[str]()
    return metrics, EmbeddedMetrics(metrics.registry, written.append), written


def test_each_line_holds_what_happened_since_the_last() -> None:
    metrics, emf, written = make()
    metrics.serves("pets", classes=("cat", "dog"))
    answers = [prediction(), prediction("dog"), prediction("dog", Decision.REFER)]
    for status in (200, 200, 400, 415, 500, 503, 499):
        metrics(exchange(status, predictions=answers if status == 200 else ()))
    counts = {
        "Requests": 7,
        "ClientErrors": 2,
        "ServerErrors": 1,
        "Refused": 1,
        "Abandoned": 1,
        "Pictures": 6,
        "Accepted": 4,
        "Referred": 2,
    }
    line = report(metrics, emf, written)["pets"]
    assert {name: line[name] for name in counts} == counts
    metrics(exchange(503))
    line = report(metrics, emf, written)["pets"]
    assert line["Requests"] == line["Refused"] == 1
    assert line["Pictures"] == line["Accepted"] == line["Abandoned"] == 0
    assert "Latency" not in line  # nothing was answered


def test_times_are_in_milliseconds_and_add_up() -> None:
    metrics, emf, written = make()
    for total in (0.0055, 0.0056, 0.04, 20.0):
        metrics(exchange(total_s=total, batch=4))
    latency = report(metrics, emf, written)["pets"]["Latency"]
    assert latency["Values"] == [6.25, 40.0, 10_000.0]
    assert latency["Counts"] == [2, 1, 1]
    assert latency["Sum"] == pytest.approx(20_051.1)
    metrics(exchange(total_s=0.0055, batch=4))
    line = report(metrics, emf, written)["pets"]
    assert line["Latency"]["Counts"] == [1]
    assert line["BatchSize"]["Values"] == [3]
    assert line["BatchSize"]["Sum"] == 4
    assert line["WorkTime"]["Sum"] == pytest.approx(4)


def test_the_server_has_a_line_without_dimensions() -> None:
    metrics, emf, written = make()
    metrics.watch(waiting=lambda: 3, in_flight=lambda: 5, oldest_waiting_s=lambda: 0.5)
    line = report(metrics, emf, written)[""]
    assert line["_aws"]["CloudWatchMetrics"][0]["Dimensions"] == [[]]
    assert (line["Waiting"], line["InFlight"], line["OldestWaiting"]) == (3, 5, 0.5)
    assert line["Memory"] > 1_000_000


def test_a_model_that_comes_back_counts_from_zero() -> None:
    metrics, emf, written = make()
    metrics.serves("late")
    for _ in range(3):
        metrics(exchange(model="late"))
    assert report(metrics, emf, written)["late"]["Requests"] == 3
    metrics.forget("late")
    metrics.serves("late")
    metrics(exchange(model="late"))
    line = report(metrics, emf, written)
    assert line["late"]["Requests"] == 1
    assert line["late"]["Latency"]["Count"] == 1
    assert line["pets"]["Requests"] == 0


@given(
    st.text(),
    st.lists(st.tuples(st.sampled_from([200, 400, 499, 503]), st.floats(0, 1e4)), max_size=20),
)
def test_every_line_is_valid(model: str, requests: list[tuple[int, float]]) -> None:
    metrics, emf, written = make(model)
    for status, seconds in requests:
        metrics(exchange(status, model=model, total_s=seconds))
    lines = report(metrics, emf, written)
    assert sum(line.get("Requests", 0) for line in lines.values()) == len(requests)


def test_a_thread_writes_and_closing_writes_the_rest() -> None:
    metrics, written, wrote = Metrics("pets"), list[str](), threading.Event()

    def write(lines: str) -> None:
        written.append(lines)
        wrote.set()

    emf = EmbeddedMetrics(metrics.registry, write, interval_s=0.01)
    metrics(exchange())
    emf.start()
    assert wrote.wait(5)
    emf.close()
    metrics(exchange())
    lines = [check(line) for text in written for line in text.splitlines(keepends=True)]
    assert sum(line.get("Requests", 0) for line in lines) == 1

    late = EmbeddedMetrics(metrics.registry, written.append)
    late.start()
    written.clear()
    late.close()
    assert check(written[0].splitlines(keepends=True)[1])["Requests"] == 2


def test_an_output_that_is_gone_is_survived(caplog: pytest.LogCaptureFixture) -> None:
    def gone(lines: str) -> None:
        raise BrokenPipeError("gone")

    emf = EmbeddedMetrics(Metrics("pets").registry, gone)
    emf.start()
    emf.close()
    assert "cannot be written: gone" in caplog.text


def test_standard_output_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw))  # as a pipe: it keeps what it can
    emf = EmbeddedMetrics(Metrics("pets").registry)
    emf.start()
    emf.close()
    server, model = raw.getvalue().decode().splitlines(keepends=True)
    assert check(model)["model"] == "pets"
    assert "model" not in check(server)
