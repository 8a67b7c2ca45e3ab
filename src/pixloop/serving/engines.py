"""Engines that run a graph on this machine's CPU, without torch.

All compute in float32: what ships is what was measured. OpenVINO would otherwise take bfloat16
where the CPU has it, which the parity certificate has not seen.
"""

import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from pixloop.errors import BundleError, ServingError
from pixloop.imaging import InputArray

Logits = NDArray[np.float32]
#: float32 images (N, 3, size, size) → float32 logits (N, K). Any N ≥ 1; threads may share one.
Engine = Callable[[InputArray], Logits]

#: What every graph calls its input and its output.
INPUT, OUTPUT = "images", "logits"


def open_engine(path: Path, format_: str, threads: int | None = None) -> Engine:
    """Load a graph.

    Args:
        path: the graph's file; OpenVINO's .bin lies beside its .xml.
        format_: ``openvino`` or ``onnx``.
        threads: how many threads compute; without a number, one for each usable core.

    Raises:
        BundleError: the file is no such graph, or the format needs torch.
    """
    opener = _OPENERS.get(format_)
    if opener is None:
        raise BundleError(
            f"{path}: a {format_} graph is not served; use one of {', '.join(_OPENERS)}."
        )
    try:
        return opener(path, threads or usable_cores())
    except Exception as e:  # each engine has its own errors, some of them bare RuntimeErrors
        raise BundleError(f"{path} cannot be loaded as an {format_} graph: {e}") from e


def usable_cores() -> int:
    """The cores that this process may use; at least 1."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class OpenVinoEngine:
    """OpenVINO on the CPU, set up to answer a lone request fast."""

    def __init__(self, path: Path, threads: int) -> None:
        settings = {
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
        }
        self._model = import_openvino().Core().compile_model(str(path), "CPU", settings)
        self._of_thread = threading.local()

    def __call__(self, images: InputArray) -> Logits:
        """Logits (N, K) of ``images`` (N, 3, size, size)."""
        request = getattr(self._of_thread, "request", None)
        if request is None:
            request = self._of_thread.request = self._model.create_infer_request()
        try:
            request.infer({0: images})
        except Exception as e:  # OpenVINO raises bare RuntimeErrors
            raise ServingError(f"OpenVINO failed on input of shape {images.shape}: {e}") from e
        # The request owns its output and writes the next one over it.
        return np.array(request.get_output_tensor(0).data, np.float32)


class OnnxEngine:
    """ONNX Runtime on the CPU."""

    def __init__(self, path: Path, threads: int) -> None:
        # Imported here because a server uses one engine, and each costs a good part of its start.
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3  # errors
        self._session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )

    def __call__(self, images: InputArray) -> Logits:
        """Logits (N, K) of ``images`` (N, 3, size, size)."""
        try:
            outputs = self._session.run([OUTPUT], {INPUT: images})
        except Exception as e:  # ONNX Runtime's errors share no class but Exception
            raise ServingError(f"ONNX Runtime failed on input of shape {images.shape}: {e}") from e
        return cast(Logits, outputs[0])


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


_OPENERS: dict[str, Callable[[Path, int], Engine]] = {
    "openvino": OpenVinoEngine,
    "onnx": OnnxEngine,
}
