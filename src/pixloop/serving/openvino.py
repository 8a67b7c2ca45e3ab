"""The engine of OpenVINO's graphs, on the CPU.

OpenVINO computes in the precision that the graph was certified in, and no other: left alone it
would take bfloat16 wherever the CPU has it.
"""

import functools
import itertools
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixloop.bundle import Precision
from pixloop.errors import ServingError
from pixloop.imaging import Preprocessing
from pixloop.serving.engines import (
    Engine,
    EngineSettings,
    Outputs,
    PixelBatch,
    check_pixels,
    import_openvino,
    openvino_core,
)

#: With more streams the copies' weights would take too much memory, and one more thread that waits
#: for a core is of no account.
_COPIES = 4


class OpenVinoEngine:
    """A graph with the normalisation folded into it."""

    def __init__(
        self,
        path: Path,
        outputs: Sequence[str],
        preprocessing: Preprocessing,
        precision: Precision,
        settings: EngineSettings,
    ) -> None:
        model = _fold_normalisation(openvino_core().read_model(str(path)), preprocessing)
        self._compile = functools.partial(_CompiledModel, model, outputs, preprocessing, precision)
        self._alone = self._compile(settings.threads, streams=1)
        self._settings = settings
        self._lock = threading.Lock()

    def __call__(self, pixels: PixelBatch) -> Outputs:
        """The outputs for ``pixels``, computed with all threads."""
        return self._alone(pixels)

    @property
    def streams(self) -> Engine:
        """The same graph, compiled to compute several batches side by side."""
        with self._lock:  # the workers may all ask first
            return self._side_by_side

    @functools.cached_property
    def _side_by_side(self) -> Engine:
        engine = self._compile_side_by_side()
        # The graph as it was read is of no more use: it takes as much memory as its weights.
        del self._compile
        return engine

    def _compile_side_by_side(self) -> Engine:
        streams, threads = self._settings.streams, self._settings.threads
        if streams == 1:
            return self._alone
        if streams > _COPIES:
            return self._compile(threads, streams=streams)
        share = max(1, threads // streams)
        return _Copies([self._compile(share, streams=1) for _ in range(streams)])


class _Copies:
    """A graph compiled once for each thread that asks.

    With a stream of its own OpenVINO computes in the thread that asks. With several in one compiled
    graph it hands over to threads of its own, which leaves a core idle now and then: on two cores
    these copies compute 6 to 8 % more pictures a second.
    """

    def __init__(self, copies: Sequence["_CompiledModel"]) -> None:
        self._copies = itertools.cycle(copies)
        self._of_thread = threading.local()

    def __call__(self, pixels: PixelBatch) -> Outputs:
        copy = getattr(self._of_thread, "copy", None)
        if copy is None:
            copy = self._of_thread.copy = next(self._copies)
        outputs: Outputs = copy(pixels)
        return outputs


class _CompiledModel:
    """A graph compiled for a number of streams."""

    def __init__(
        self,
        model: Any,
        outputs: Sequence[str],
        preprocessing: Preprocessing,
        precision: Precision,
        threads: int,
        *,
        streams: int,
    ) -> None:
        self._model = openvino_core().compile_model(
            model,
            "CPU",
            {
                # Integers are in the graph; what is not quantised stays as it was certified.
                "INFERENCE_PRECISION_HINT": "bf16" if precision.endswith("bfloat16") else "f32",
                "NUM_STREAMS": streams,
                "INFERENCE_NUM_THREADS": threads,
                # Decoding needs the cores as well; the system knows better who is to wait.
                "ENABLE_CPU_PINNING": False,
            },
        )
        # By name, since nothing promises an order; a graph without one of them fails here.
        self._outputs = [self._model.output(name) for name in outputs]
        self._preprocessing = preprocessing
        self._of_thread = threading.local()

    def __call__(self, pixels: PixelBatch) -> Outputs:
        check_pixels(pixels, self._preprocessing)
        request = getattr(self._of_thread, "request", None)
        if request is None:
            request = self._of_thread.request = self._model.create_infer_request()
        try:
            # Shared: OpenVINO reads the array itself, unless it is not contiguous.
            request.infer({0: pixels}, share_inputs=True)
        except Exception as e:  # OpenVINO raises bare RuntimeErrors
            raise ServingError(f"OpenVINO failed on input of shape {pixels.shape}: {e}") from e
        # The request owns its outputs and writes the next ones over them.
        return tuple(_copied(request.get_tensor(output).data) for output in self._outputs)


def _fold_normalisation(model: Any, preprocessing: Preprocessing) -> Any:
    """The graph with ``imaging.normalise`` at its front: takes uint8 (N, size, size, 3)."""
    openvino, side = import_openvino(), preprocessing.image_size
    folded = openvino.preprocess.PrePostProcessor(model)
    tensor = folded.input().tensor()
    tensor.set_element_type(openvino.Type.u8).set_layout(openvino.Layout("NHWC"))
    tensor.set_shape([-1, side, side, 3])  # fails here where the graph takes another size
    folded.input().model().set_layout(openvino.Layout("NCHW"))
    steps = folded.input().preprocess().convert_element_type(openvino.Type.f32)
    steps.mean([255 * mean for mean in preprocessing.mean])
    steps.scale([255 * std for std in preprocessing.std])
    return folded.build()


def _copied(output: NDArray[Any]) -> NDArray[Any]:
    """An output of OpenVINO's as the network gave it: OpenVINO may narrow integers to int32."""
    return np.array(output, np.int64 if output.dtype.kind in "iu" else np.float32)
