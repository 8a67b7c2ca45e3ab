"""Which streams and batches are chosen from what was measured, and how the choice is kept."""

import json
import os
from pathlib import Path

import pytest

from pixloop.bundle import Bundle
from pixloop.config import ServingConfig
from pixloop.serving import tuning
from pixloop.serving.predictor import open_predictor
from pixloop.serving.tuning import Candidate, Score, Tuning, choose, measure, tune


def score(fastest: float, cost_ms: float, cores: float = 4.0) -> Score:
    return Score(pictures=1000, cpu_s=cost_ms, fastest=fastest, cores=cores)


@pytest.mark.parametrize(
    ("costs_ms", "batch"),
    [
        ({1: 4.0, 4: 2.98, 8: 2.99, 16: 3.1}, 8),  # as good, and with less work around it
        ({1: 4.0, 4: 3.0, 8: 2.5, 16: 2.6}, 8),
        ({1: 4.0, 4: 4.0, 8: 4.0}, 8),
        ({1: 4.0, 4: 5.0}, 1),
        ({8: 4.0}, 8),
    ],
)
def test_the_largest_batch_that_costs_nearly_the_least(
    costs_ms: dict[int, float], batch: int
) -> None:
    scores = {(4, size): score(1000.0, cost) for size, cost in costs_ms.items()}
    assert choose(scores, threads=4) == Tuning(4, 4, batch, 1000.0)


@pytest.mark.parametrize(
    ("rates", "streams"),
    [
        ({1: 500, 2: 900, 4: 1000}, 4),
        ({1: 500, 2: 1020, 4: 1000}, 4),  # not clearly faster
        ({1: 500, 2: 1100, 4: 1000}, 2),
        ({1: 1300, 2: 1200, 4: 1000}, 1),
    ],
)
def test_the_streams_that_are_fastest_by_the_clock(rates: dict[int, float], streams: int) -> None:
    scores: dict[Candidate, Score] = {}
    for count, rate in rates.items():
        scores |= {(count, 1): score(rate / 2, 4.0), (count, 4): score(rate, 3.0)}
    assert choose(scores, threads=4) == Tuning(streams, 4, 4, rates[streams])


def test_on_a_busy_machine_the_clock_is_not_believed() -> None:
    scores = {(1, 1): score(900, 3.0, cores=1.0), (4, 1): score(100, 4.0, cores=0.5)}
    assert choose(scores, threads=4) == Tuning(4, 4, 1, None)


def test_measuring_tries_what_it_may_and_ends(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuning, "_BUDGET_S", 0.05)
    monkeypatch.setattr(tuning, "_TURN_S", 0.001)
    asked = []

    def open_(settings: tuning.EngineSettings) -> tuning.Model:
        asked.append(settings)
        return open_predictor(bundle, None, settings)

    found = measure(open_, 2, [1, 2], [1, 3])
    assert [(each.threads, each.streams) for each in asked] == [(2, 1), (2, 2)]
    assert found.threads == 2
    assert found.streams in (1, 2)
    assert found.max_batch in (1, 3)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[object, ...]]:
    """Every measurement that was made, none of which took long."""
    made: list[tuple[object, ...]] = []

    def record(of: Bundle, graph: str, threads: int, streams: object, batches: object) -> Tuning:
        made.append((threads, streams, batches))
        return Tuning(2, threads, 4, 123.4)

    monkeypatch.setattr(tuning, "_measure_apart", record)
    monkeypatch.setattr(tuning, "usable_cores", lambda: 6)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return made


Measured = list[tuple[object, ...]]


def test_what_was_measured_is_remembered(bundle: Bundle, measured: Measured) -> None:
    graph, settings = bundle.manifest.chosen_graph, ServingConfig()
    first = tune(bundle, graph, settings)
    assert first == Tuning(2, 6, 4, 123.4)
    assert measured == [(6, [1, 3, 6], [1, 2, 4, 8])]
    assert tune(bundle, graph, settings) == first
    assert len(measured) == 1


def test_another_graph_machine_or_engine_is_measured_again(
    bundle: Bundle, measured: Measured, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ServingConfig()
    tune(bundle, "onnx", settings)
    tune(bundle, "openvino", settings)
    assert len(measured) == 2
    monkeypatch.setattr(tuning, "cpu_name", lambda: "another")
    tune(bundle, "onnx", settings)
    monkeypatch.setattr(tuning, "usable_cores", lambda: 5)
    tune(bundle, "onnx", settings)
    monkeypatch.setattr("onnxruntime.__version__", "99")
    tune(bundle, "onnx", settings)
    assert len(measured) == 5


def test_settings_win(bundle: Bundle, measured: Measured) -> None:
    graph = bundle.manifest.chosen_graph
    assert tune(bundle, graph, ServingConfig(streams=3, max_batch=5)) == Tuning(3, 6, 5)
    assert tune(bundle, graph, ServingConfig(streams=3, threads=2, max_batch=5)) == Tuning(3, 2, 5)
    assert measured == []
    tune(bundle, graph, ServingConfig(streams=3))
    tune(bundle, graph, ServingConfig(max_batch=5))
    tune(bundle, graph, ServingConfig(threads=1))
    assert measured == [
        (6, [3], [1, 2, 4, 8]),
        (6, [1, 3, 6], [5]),
        (1, [1], [1, 2, 4, 8]),
    ]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        b"[]",
        b"{}",
        json.dumps({"streams": 0, "threads": 1, "max_batch": 1}).encode(),
        json.dumps({"streams": 1, "threads": "1", "max_batch": 1}).encode(),
        json.dumps({"streams": 1, "threads": 1, "max_batch": 1, "more": 1}).encode(),
    ],
)
def test_what_cannot_be_read_is_measured_again(
    bundle: Bundle, measured: Measured, tmp_path: Path, content: bytes
) -> None:
    graph, settings = bundle.manifest.chosen_graph, ServingConfig()
    found = tune(bundle, graph, settings)
    (file,) = (tmp_path / "cache").rglob("*.json")
    file.write_bytes(content)
    assert tune(bundle, graph, settings) == found
    assert len(measured) == 2
    assert tune(bundle, graph, settings) == found
    assert len(measured) == 2


@pytest.mark.parametrize("folder", ["file", "file/below"])
def test_where_nothing_can_be_kept_it_is_measured_each_time(
    bundle: Bundle,
    measured: Measured,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    folder: str,
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / folder))
    for _ in range(2):
        tune(bundle, bundle.manifest.chosen_graph, ServingConfig())
    assert len(measured) == 2


def test_what_a_busy_machine_gave_is_not_kept(
    bundle: Bundle, measured: Measured, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tuning, "_measure_apart", lambda *_: Tuning(6, 6, 4, None))
    assert tune(bundle, bundle.manifest.chosen_graph, ServingConfig()) == Tuning(6, 6, 4)
    assert not list(tmp_path.rglob("*.json"))


@pytest.mark.skipif(os.name != "posix", reason="homes are found by other names elsewhere")
def test_the_home_folder_has_the_cache_where_nothing_else_is_said(
    bundle: Bundle, measured: Measured, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    tune(bundle, bundle.manifest.chosen_graph, ServingConfig())
    assert len(list((tmp_path / ".cache/pixloop/tuning").glob("*.json"))) == 1


def test_what_cannot_be_measured_is_served_as_most_are(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("sys.executable", "false")
    threads = tuning.usable_cores()
    assert tune(bundle, bundle.manifest.chosen_graph, ServingConfig()) == Tuning(
        threads, threads, 4
    )
    assert not list(tmp_path.rglob("*.json"))


@pytest.mark.integration
def test_a_process_of_its_own_measures(bundle: Bundle) -> None:
    found = tuning._measure_apart(bundle, bundle.manifest.chosen_graph, 1, [1], [1, 4])
    assert (found.streams, found.threads) == (1, 1)
    assert found.max_batch in (1, 4)
