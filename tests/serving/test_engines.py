"""Detectors' graphs, whose outputs are several. ``tests/contracts`` has what engines do alike."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pixloop.bundle import Bundle
from pixloop.errors import BundleError, ServingError
from pixloop.serving.engines import Engine, open_engine

FORMATS = ["onnx", "openvino"]


@pytest.fixture(params=FORMATS)
def engine(request: pytest.FixtureRequest, detector_bundle: Bundle) -> Engine:
    return open_engine(detector_bundle.graph_path(request.param), request.param, "detection")


def images(*brightness: float) -> NDArray[np.float32]:
    batch = np.zeros((len(brightness), 3, 64, 64), np.float32)
    for image, value in zip(batch, brightness, strict=True):
        image[1, 16:32, 8:24] = value
    return batch


def test_outputs_come_in_the_order_of_the_task_whatever_the_graphs_is(engine: Engine) -> None:
    # The graph of these tests names its labels first.
    boxes, scores, labels = engine(images(0.75, 0.0))
    assert (boxes.shape, scores.shape, labels.shape) == ((2, 3, 4), (2, 3), (2, 3))
    assert (boxes.dtype, scores.dtype, labels.dtype) == (np.float32, np.float32, np.int64)
    np.testing.assert_allclose(scores, [[0, 0.75, 0], [0, 0, 0]])
    np.testing.assert_array_equal(labels, [[0, 1, 2]] * 2)
    np.testing.assert_allclose(boxes[0, 1], [8, 16, 24, 32])


def test_threads_share_one_and_answers_stay_as_they_were(engine: Engine) -> None:
    values = [0.55 + 0.02 * i for i in range(20)]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda value: engine(images(value)), values))
    for value, (_, scores, _) in zip(values, answers, strict=True):
        assert scores[0, 1] == pytest.approx(value)


def test_a_wrong_shape_is_a_serving_error(engine: Engine) -> None:
    with pytest.raises(ServingError, match=r"\(1, 1, 7, 7\)"):
        engine(np.zeros((1, 1, 7, 7), np.float32))


_WRONG_SHAPE_ON_ONE_CORE = """
import os, sys
from pathlib import Path
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
import numpy as np
from pixloop.errors import ServingError
from pixloop.serving.engines import open_engine

engine = open_engine(Path(sys.argv[1]), sys.argv[2], "detection")
try:
    engine(np.zeros((1, 1, 7, 7), np.float32))
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
from pixloop.serving.engines import open_engine

faulthandler.enable()  # gives the first thread a stack for signals, as servers and pytest do
signal.signal(signal.SIGUSR1, lambda *_: print("handled"))
engines = [open_engine(Path(sys.argv[1]), sys.argv[2], "detection")]
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
            open_engine(path, format_, task)
