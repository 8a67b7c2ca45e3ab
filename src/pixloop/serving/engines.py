"""Engines that run a graph on this machine's CPU, without torch.

All compute in float32: what ships is what was measured. OpenVINO would otherwise take bfloat16
where the CPU has it, which the parity certificate has not seen.
"""

import functools
import os
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from pixloop.bundle import INPUT, OUTPUTS, Task
from pixloop.errors import BundleError, ServingError
from pixloop.imaging import InputArray

Logits = NDArray[np.float32]
#: What a graph answers: an array for each of ``bundle.OUTPUTS`` of its task, in that order. Their
#: shapes are those of ``bundle.Graph``; floats are float32, integers int64.
Outputs = tuple[NDArray[Any], ...]
#: float32 images (N, 3, size, size) → outputs. Any N ≥ 1; threads may share one.
Engine = Callable[[InputArray], Outputs]


def open_engine(path: Path, format_: str, task: Task, threads: int | None = None) -> Engine:
    """Load a graph.

    Args:
        path: the graph's file; OpenVINO's .bin lies beside its .xml.
        format_: ``openvino`` or ``onnx``.
        task: what the graph was made for; tells the names of its outputs.
        threads: how many threads compute; without a number, one for each usable core.

    Raises:
        BundleError: the file is no such graph, or not one of the task, or the format needs torch.
    """
    opener = _OPENERS.get(format_)
    if opener is None:
        raise BundleError(
            f"{path}: a {format_} graph is not served; use one of {', '.join(_OPENERS)}."
        )
    try:
        return opener(path, OUTPUTS[task], threads or usable_cores())
    except Exception as e:  # each engine has its own errors, some of them bare RuntimeErrors
        raise BundleError(f"{path} cannot be loaded as an {format_} graph: {e}") from e


def usable_cores() -> int:
    """The cores that this process may use; at least 1."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class OpenVinoEngine:
    """OpenVINO on the CPU, set up to answer a lone request fast."""

    def __init__(self, path: Path, outputs: Sequence[str], threads: int) -> None:
        settings = {
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
        }
        self._model = openvino_core().compile_model(str(path), "CPU", settings)
        # By name, since nothing promises an order; a graph without one of them fails here.
        self._outputs = [self._model.output(name) for name in outputs]
        self._shape = self._model.input(0).partial_shape
        self._of_thread = threading.local()

    def __call__(self, images: InputArray) -> Outputs:
        """The outputs for ``images``, float32 (N, 3, size, size)."""
        # On one core OpenVINO takes any shape in silence, reads past its end and answers nothing.
        if not self._shape.compatible(import_openvino().PartialShape(list(images.shape))):
            raise ServingError(f"The graph takes input of shape {self._shape}, not {images.shape}.")
        request = getattr(self._of_thread, "request", None)
        if request is None:
            request = self._of_thread.request = self._model.create_infer_request()
        try:
            request.infer({0: images})
        except Exception as e:  # OpenVINO raises bare RuntimeErrors
            raise ServingError(f"OpenVINO failed on input of shape {images.shape}: {e}") from e
        # The request owns its outputs and writes the next ones over them.
        return tuple(_copied(request.get_tensor(output).data) for output in self._outputs)


class OnnxEngine:
    """ONNX Runtime on the CPU."""

    def __init__(self, path: Path, outputs: Sequence[str], threads: int) -> None:
        self._outputs = list(outputs)
        # Imported here because a server uses one engine, and each costs a good part of its start.
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3  # errors
        self._session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        missing = set(outputs) - {output.name for output in self._session.get_outputs()}
        if missing:
            raise ValueError(f"it has no output called {', '.join(sorted(missing))}")

    def __call__(self, images: InputArray) -> Outputs:
        """The outputs for ``images``, float32 (N, 3, size, size)."""
        try:
            return tuple(self._session.run(self._outputs, {INPUT: images}))
        except Exception as e:  # ONNX Runtime's errors share no class but Exception
            raise ServingError(f"ONNX Runtime failed on input of shape {images.shape}: {e}") from e


def _copied(output: NDArray[Any]) -> NDArray[Any]:
    """An output of OpenVINO's as the network gave it: OpenVINO may narrow integers to int32."""
    return np.array(output, np.int64 if output.dtype.kind in "iu" else np.float32)


def openvino_core() -> Any:
    """OpenVINO's ``Core``, one for as long as the process lives.

    When its CPU plugin is loaded, it gives the thread at work a stack for signals. It is unloaded
    with the last that uses it, and unmaps that stack in whichever thread this happens. The next
    signal of the first thread then ends the process (SIGSEGV): Ctrl-C on a server that has changed
    its model is enough. So it stays loaded.
    """
    with _core_lock:
        return _only_core()


@functools.cache
def _only_core() -> Any:
    return import_openvino().Core()


def import_openvino() -> Any:
    """OpenVINO's runtime, without its converter.

    ``import openvino`` also tries to import the converter, which pulls in a telemetry client and
    takes longer than the runtime itself; it does without when that import fails.
    """
    converter = "openvino.tools.ovc"
    if "openvino" in sys.modules:
        return sys.modules["openvino"]
    sys.modules[converter] = cast(Any, None)
    try:
        import openvino
    finally:
        del sys.modules[converter]
    return openvino


_core_lock = threading.Lock()

_OPENERS: dict[str, Callable[[Path, Sequence[str], int], Engine]] = {
    "openvino": OpenVinoEngine,
    "onnx": OnnxEngine,
}
