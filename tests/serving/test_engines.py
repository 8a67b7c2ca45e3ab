"""Detectors' graphs, whose outputs are several. ``tests/contracts`` has what engines do alike."""

import gc
import os
import subprocess
import sys
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from tests.small_bundles import SIDE, letterboxed

from pixloop.bundle import Bundle
from pixloop.errors import BundleError, ServingError
from pixloop.serving import engines
from pixloop.serving.engines import (
    Engine,
    EngineSettings,
    PixelBatch,
    open_engine,
    side_by_side,
)

FORMATS = ["onnx", "openvino"]


@pytest.fixture(params=FORMATS)
def engine(request: pytest.FixtureRequest, detector_bundle: Bundle) -> Engine:
    path = detector_bundle.graph_path(request.param)
    return open_engine(path, request.param, "detection", letterboxed())


def pictures(*brightness: int) -> PixelBatch:
    """Each with a green thing that is so bright, 0 to 255."""
    batch = np.zeros((len(brightness), SIDE, SIDE, 3), np.uint8)
    for picture, value in zip(batch, brightness, strict=True):
        picture[16:32, 8:24, 1] = value
    return batch


def test_outputs_come_in_the_order_of_the_task_whatever_the_graphs_is(engine: Engine) -> None:
    # The graph of these tests names its labels first.
    boxes, scores, labels = engine(pictures(204, 0))
    assert (boxes.shape, scores.shape, labels.shape) == ((2, 3, 4), (2, 3), (2, 3))
    assert (boxes.dtype, scores.dtype, labels.dtype) == (np.float32, np.float32, np.int64)
    np.testing.assert_allclose(scores, [[0, 0.8, 0], [0, 0, 0]], rtol=1e-6)
    np.testing.assert_array_equal(labels, [[0, 1, 2]] * 2)
    np.testing.assert_allclose(boxes[0, 1], [8, 16, 24, 32])


def test_threads_share_one_and_answers_stay_as_they_were(engine: Engine) -> None:
    values = range(140, 240, 5)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda value: engine(pictures(value)), values))
    for value, (_, scores, _) in zip(values, answers, strict=True):
        assert scores[0, 1] == pytest.approx(value / 255)


def test_a_wrong_shape_is_a_serving_error(engine: Engine) -> None:
    with pytest.raises(ServingError, match=r"\(1, 7, 7, 3\)"):
        engine(np.zeros((1, 7, 7, 3), np.uint8))


@pytest.mark.parametrize("streams", [1, 2, 3, 6])
def test_any_number_of_pictures_is_computed_alike_alone_and_side_by_side(
    detector_bundle: Bundle, streams: int
) -> None:
    path, settings = detector_bundle.graph_path("openvino"), EngineSettings(2, streams)
    engine = open_engine(path, "openvino", "detection", letterboxed(), settings=settings)
    batches = [pictures(*range(130, 130 + count)) for count in range(1, 10)]
    with ThreadPoolExecutor(streams) as pool:
        beside = list(pool.map(side_by_side(engine), batches))
    for batch, many in zip(batches, beside, strict=True):
        one_by_one = [engine(batch[i : i + 1]) for i in range(len(batch))]
        for found, alone in zip(many, zip(*one_by_one, strict=True), strict=True):
            np.testing.assert_allclose(found, np.concatenate(alone), rtol=1e-6)


def test_an_engine_that_nobody_needs_is_gone_at_once(
    detector_bundle: Bundle, no_garbage_collector: None
) -> None:
    for format_ in FORMATS:
        engine = open_engine(
            detector_bundle.graph_path(format_), format_, "detection", letterboxed()
        )
        side_by_side(engine)(pictures(*range(140, 145)))
        gone = weakref.ref(engine)
        del engine
        assert gone() is None, format_


@pytest.fixture
def no_garbage_collector() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


_WRONG_SHAPE_ON_ONE_CORE = """
import os, sys
from pathlib import Path
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
import numpy as np
from pixloop.errors import ServingError
from pixloop.imaging import Preprocessing
from pixloop.serving.engines import open_engine

engine = open_engine(Path(sys.argv[1]), sys.argv[2], "detection", Preprocessing(image_size=64))
try:
    engine(np.zeros((1, 7, 7, 3), np.uint8))
except ServingError:
    print("refused")
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system cannot bind to a core")
@pytest.mark.parametrize("format_", FORMATS)
def test_a_wrong_shape_is_refused_on_one_core_as_well(
    detector_bundle: Bundle, format_: str
) -> None:
    path = detector_bundle.graph_path(format_)
    command = [sys.executable, "-c", _WRONG_SHAPE_ON_ONE_CORE, str(path), format_]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "refused\n"), done.stderr


_DROP_IN_ANOTHER_THREAD = """
import faulthandler, os, signal, sys, threading
from pathlib import Path
from pixloop.imaging import Preprocessing
from pixloop.serving.engines import open_engine

faulthandler.enable()  # gives the first thread a stack for signals, as servers and pytest do
signal.signal(signal.SIGUSR1, lambda *_: print("handled"))
engines = [
    open_engine(Path(sys.argv[1]), sys.argv[2], "detection", Preprocessing(image_size=64))
]
thread = threading.Thread(target=engines.clear)
thread.start()
thread.join()
os.kill(os.getpid(), signal.SIGUSR1)
"""


@pytest.mark.parametrize("format_", FORMATS)
def test_a_process_survives_signals_when_another_thread_drops_an_engine(
    detector_bundle: Bundle, format_: str
) -> None:
    path = detector_bundle.graph_path(format_)
    command = [sys.executable, "-c", _DROP_IN_ANOTHER_THREAD, str(path), format_]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr


@pytest.mark.parametrize("format_", FORMATS)
def test_a_graph_of_another_task_is_not_opened(
    bundle: Bundle, detector_bundle: Bundle, format_: str
) -> None:
    for wrong, task in ((bundle, "detection"), (detector_bundle, "classification")):
        path: Path = wrong.graph_path(format_)
        with pytest.raises(BundleError, match=path.name):
            open_engine(path, format_, task, letterboxed())


@pytest.mark.parametrize("format_", FORMATS)
def test_a_graph_for_pictures_of_another_size_is_not_opened(
    detector_bundle: Bundle, format_: str
) -> None:
    path = detector_bundle.graph_path(format_)
    larger = letterboxed().model_copy(update={"image_size": SIDE + 1})
    with pytest.raises(BundleError, match=f"(?s){path.name}.*{SIDE + 1}"):
        open_engine(path, format_, "detection", larger)


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "max 100000\n"}, 8),
        ({"cpu.max": "200000 100000\n"}, 2),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "6400000 100000\n"}, 8),
        ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
        ({"cpu.max": "nonsense"}, 8),
        ({}, 8),
    ],
)
def test_a_containers_quota_bounds_the_usable_cores(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, files: dict[str, str], cores: int
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(engines, "CGROUP", tmp_path)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert engines.usable_cores() == cores


_OPEN = """
import sys
from pathlib import Path
from pixloop.bundle import Bundle
from pixloop.serving.predictor import open_predictor

open_predictor(Bundle.open(Path(sys.argv[1])), sys.argv[2]).warm_up()
print(*sorted({"openvino", "onnxruntime", "torch"} & sys.modules.keys()))
"""


@pytest.mark.parametrize(
    ("format_", "imported"), [("onnx", "onnxruntime"), ("openvino", "openvino")]
)
def test_only_the_graphs_own_runtime_is_imported(
    bundle: Bundle, format_: str, imported: str
) -> None:
    command = [sys.executable, "-c", _OPEN, str(bundle.path), format_]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, f"{imported}\n"), done.stderr
