"""Engines that run a graph on this machine, without torch.

An engine takes pictures as ``imaging`` resizes them, and normalises them itself: OpenVINO does it
as part of the graph, which costs next to nothing, the others in an array of floats.

OpenVINO computes in the precision that the graph was certified in, and no other: left alone it
would take bfloat16 wherever the CPU has it.
"""

import functools
import os
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from pixloop.bundle import INPUT, OUTPUTS, GraphFormat, Precision, Task
from pixloop.errors import BundleError, ServingError
from pixloop.imaging import Preprocessing, normalise

#: Pictures as the network sees them, but for the normalisation: uint8 (N, size, size, 3).
PixelBatch = NDArray[np.uint8]
Logits = NDArray[np.float32]
#: What a graph answers: an array for each of ``bundle.OUTPUTS`` of its task, in that order. Their
#: shapes are those of ``bundle.Graph``; floats are float32, integers int64.
Outputs = tuple[NDArray[Any], ...]
#: Pictures → outputs. Any N ≥ 1; threads may share one.
Engine = Callable[[PixelBatch], Outputs]


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How an engine uses the machine.

    Attributes:
        threads: that compute, all together.
        streams: batches computed at once where many are asked for; each has its share of threads.
    """

    threads: int
    streams: int


class StreamingEngine(Protocol):
    """An engine that computes either one batch with all threads, or several side by side."""

    def __call__(self, pixels: PixelBatch, /) -> Outputs:
        """Compute with all threads: the fastest answer to a lone request."""

    @property
    def streams(self) -> Engine:
        """Computes each batch with its share of the threads: the most pictures a second."""


def open_engine(
    path: Path,
    format_: str,
    task: Task,
    preprocessing: Preprocessing,
    precision: Precision = "float32",
    settings: EngineSettings | None = None,
) -> Engine:
    """Load a graph.

    Args:
        path: the graph's file; OpenVINO's .bin lies beside its .xml.
        format_: ``openvino``, ``onnx``, or ``torchscript``, which needs torch.
        task: what the graph was made for; tells the names of its outputs.
        preprocessing: how pictures are normalised.
        precision: what is computed in.
        settings: without them, a thread and a stream for each usable core.

    Raises:
        BundleError: the file is no such graph, or not one of the task, or its runtime is missing.
    """
    opener = _OPENERS.get(cast(GraphFormat, format_))
    if opener is None:
        raise BundleError(
            f"{path}: a {format_} graph is not served; use one of {', '.join(_OPENERS)}."
        )
    cores = usable_cores()
    try:
        return opener(
            path, OUTPUTS[task], preprocessing, precision, settings or EngineSettings(cores, cores)
        )
    except Exception as e:  # each engine has its own errors, some of them bare RuntimeErrors
        raise BundleError(f"{path} cannot be loaded as an {format_} graph: {e}") from e


def check_pixels(pixels: PixelBatch, preprocessing: Preprocessing) -> None:
    """Refuse what is no batch of pictures as the network sees them.

    No engine can be left to notice: on one core OpenVINO takes any shape in silence, reads past
    its end and answers nothing.

    Raises:
        ServingError: it is not uint8 (N, size, size, 3) with N ≥ 1; the message says what it is.
    """
    side = preprocessing.image_size
    if pixels.shape[1:] != (side, side, 3) or not len(pixels) or pixels.dtype != np.uint8:
        raise ServingError(
            f"the graph takes uint8 pixels of shape (N, {side}, {side}, 3), "
            f"not {pixels.dtype} ones of shape {pixels.shape}."
        )


def normalise_batch(pixels: PixelBatch, preprocessing: Preprocessing) -> NDArray[np.float32]:
    """``imaging.normalise`` of every picture: float32 (N, 3, size, size)."""
    return np.stack([normalise(each, preprocessing) for each in pixels])


def side_by_side(engine: Engine) -> Engine:
    """What computes the most pictures a second where several batches are computed at once."""
    return getattr(engine, "streams", engine)


def computes_in_bfloat16() -> bool:
    """Whether this CPU does, so that OpenVINO would not only pretend to."""
    return "BF16" in openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def usable_cores() -> int:
    """The cores that this process may use; at least 1."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class OpenVinoEngine:
    """OpenVINO on the CPU."""

    def __init__(
        self,
        path: Path,
        outputs: Sequence[str],
        preprocessing: Preprocessing,
        precision: Precision,
        settings: EngineSettings,
    ) -> None:
        model = _fold_normalisation(openvino_core().read_model(str(path)), preprocessing)
        self._compile = functools.partial(
            _CompiledModel, model, outputs, preprocessing, precision, settings
        )
        self._alone = self._compile(streams=1)
        self._settings = settings

    def __call__(self, pixels: PixelBatch) -> Outputs:
        """The outputs for ``pixels``, computed with all threads."""
        return self._alone(pixels)

    @functools.cached_property
    def streams(self) -> Engine:
        """The same graph, compiled to compute several batches side by side."""
        return self._compile(streams=self._settings.streams)


class _CompiledModel:
    """A graph compiled for a number of streams."""

    def __init__(
        self,
        model: Any,
        outputs: Sequence[str],
        preprocessing: Preprocessing,
        precision: Precision,
        settings: EngineSettings,
        *,
        streams: int,
    ) -> None:
        self._preprocessing = preprocessing
        self._model = openvino_core().compile_model(
            model,
            "CPU",
            {
                # Integers are in the graph; what is not quantised stays as it was certified.
                "INFERENCE_PRECISION_HINT": "bf16" if precision == "bfloat16" else "f32",
                "NUM_STREAMS": streams,
                "INFERENCE_NUM_THREADS": settings.threads,
                # Decoding needs the cores as well; the system knows better who is to wait.
                "ENABLE_CPU_PINNING": False,
            },
        )
        # By name, since nothing promises an order; a graph without one of them fails here.
        self._outputs = [self._model.output(name) for name in outputs]
        self._of_thread = threading.local()

    def __call__(self, pixels: PixelBatch) -> Outputs:
        check_pixels(pixels, self._preprocessing)
        request = getattr(self._of_thread, "request", None)
        if request is None:
            request = self._of_thread.request = self._model.create_infer_request()
        try:
            request.infer({0: pixels}, share_inputs=True)
        except Exception as e:  # OpenVINO raises bare RuntimeErrors
            raise ServingError(f"OpenVINO failed on input of shape {pixels.shape}: {e}") from e
        # The request owns its outputs and writes the next ones over them.
        return tuple(_copied(request.get_tensor(output).data) for output in self._outputs)


def _fold_normalisation(model: Any, preprocessing: Preprocessing) -> Any:
    """The graph with ``imaging.normalise`` at its front: takes uint8 (N, size, size, 3)."""
    openvino = import_openvino()
    folded = openvino.preprocess.PrePostProcessor(model)
    tensor = folded.input().tensor()
    side = preprocessing.image_size
    tensor.set_element_type(openvino.Type.u8).set_layout(openvino.Layout("NHWC"))
    tensor.set_shape([-1, side, side, 3])  # fails here where the graph takes another size
    folded.input().model().set_layout(openvino.Layout("NCHW"))
    steps = folded.input().preprocess().convert_element_type(openvino.Type.f32)
    steps.mean([255 * mean for mean in preprocessing.mean])
    steps.scale([255 * std for std in preprocessing.std])
    return folded.build()


class OnnxEngine:
    """ONNX Runtime on the CPU."""

    def __init__(
        self,
        path: Path,
        outputs: Sequence[str],
        preprocessing: Preprocessing,
        precision: Precision,
        settings: EngineSettings,
    ) -> None:
        del precision  # it computes as the graph says
        self._outputs, self._preprocessing = list(outputs), preprocessing
        # Imported here because a server uses one engine, and each costs a good part of its start.
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = settings.threads
        options.log_severity_level = 3  # errors
        self._session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        missing = set(outputs) - {output.name for output in self._session.get_outputs()}
        if missing:
            raise ValueError(f"it has no output called {', '.join(sorted(missing))}")
        size = self._session.get_inputs()[0].shape[2:]  # names where any will do
        if any(isinstance(side, int) and side != preprocessing.image_size for side in size):
            raise ValueError(f"it takes pictures of {size} pixels, not {preprocessing.image_size}")

    def __call__(self, pixels: PixelBatch) -> Outputs:
        """The outputs for ``pixels``."""
        check_pixels(pixels, self._preprocessing)
        images = normalise_batch(pixels, self._preprocessing)
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

_Opener = Callable[[Path, Sequence[str], Preprocessing, Precision, EngineSettings], Engine]


def _torchscript(
    path: Path,
    outputs: Sequence[str],
    preprocessing: Preprocessing,
    precision: Precision,
    settings: EngineSettings,
) -> Engine:
    # torch takes seconds to import; only this graph needs it.
    from pixloop.serving.torchscript import TorchScriptEngine

    return TorchScriptEngine(path, outputs, preprocessing, precision, settings)


_OPENERS: dict[GraphFormat, _Opener] = {
    "openvino": OpenVinoEngine,
    "onnx": OnnxEngine,
    "torchscript": _torchscript,
}
