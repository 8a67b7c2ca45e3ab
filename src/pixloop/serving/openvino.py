"""The engine of OpenVINO's graphs, on the CPU.

OpenVINO computes in the precision that the graph was certified in, and no other: left alone it
would take bfloat16 wherever the CPU has it.
"""

import functools
import itertools
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixloop.bundle import Precision
from pixloop.errors import ServingError
from pixloop.imaging import Preprocessing
from pixloop.openvino_runtime import import_openvino, openvino_core
from pixloop.serving.engines import (
    Engine,
    EngineSettings,
    Outputs,
    PixelBatch,
    check_pixels,
)
from pixloop.serving.memory import forget_pages, give_back_free_memory

#: Pictures that a graph computes at once where there are as many: more were no faster on any CPU
#: tried, and take memory.
_AT_ONCE = 4
#: With more streams the copies' weights would take too much memory, and one more thread that waits
#: for a core is of no account.
_COPIES = 4
#: So few streams leave what is no full batch to the graph that uses all threads: as fast on two
#: cores, and 32 MB less. More have one of as many streams for it.
_SHARING = 2

#: Compiles a graph for a number of pictures, threads and streams.
_Compile = Callable[[int, int, int], "_CompiledModel"]
#: Makes one engine of those for one picture and for many.
_JoinSizes = Callable[[Engine, Engine], Engine]


class OpenVinoEngine:
    """A graph with the normalisation folded into it.

    It is compiled for one picture, and when as many are first asked for, for ``_AT_ONCE``. For a
    number that it knows, OpenVINO plans memory and layouts ahead: a small network computes 10 to
    15 % more pictures a second than one that takes any number, in less memory.
    """

    def __init__(
        self,
        path: Path,
        outputs: Sequence[str],
        preprocessing: Preprocessing,
        precision: Precision,
        settings: EngineSettings,
    ) -> None:
        # Nothing here holds the engine itself: it would have to wait for the garbage collector, and
        # a server that changes its model for as long be twice as large.
        model = _fold_normalisation(openvino_core().read_model(str(path)), preprocessing)
        make = functools.partial(_CompiledModel, model, outputs, preprocessing, precision)
        compile_ = functools.partial(_compile, path.with_suffix(".bin"), make)
        by_size = functools.partial(_BySize, preprocessing)
        threads, streams = settings.threads, settings.streams
        one = compile_(1, threads, 1)  # a graph that does not fit fails here
        self._alone = by_size(one, _Later(compile_, _AT_ONCE, threads, 1))
        #: The same graph, to compute several batches side by side.
        self.streams: Engine = self._alone
        if streams > 1:
            self.streams = _side_by_side(compile_, by_size, one, threads, streams)

    def __call__(self, pixels: PixelBatch) -> Outputs:
        """The outputs for ``pixels``, computed with all threads."""
        return self._alone(pixels)


def _side_by_side(
    compile_: _Compile, by_size: _JoinSizes, one: Engine, threads: int, streams: int
) -> Engine:
    if streams > _SHARING:
        one = _Later(compile_, 1, threads, streams)
    if streams > _COPIES:
        return by_size(one, _Later(compile_, _AT_ONCE, threads, streams))
    share = max(1, threads // streams)
    copies = (_Later(compile_, _AT_ONCE, share, 1) for _ in range(streams))
    return _Copies([by_size(one, copy) for copy in copies])


def _compile(
    weights: Path,
    make: _Compile,
    count: int,
    threads: int,
    streams: int,
) -> "_CompiledModel":
    compiled = make(count, threads, streams)
    # It has weights of its own, in the order in which it computes.
    forget_pages(weights)
    give_back_free_memory()
    return compiled


class _Later:
    """A graph that is compiled when it is first needed."""

    def __init__(self, compile_: _Compile, count: int, threads: int, streams: int) -> None:
        self._compile = functools.partial(compile_, count, threads, streams)
        self._lock = threading.Lock()

    def __call__(self, pixels: PixelBatch) -> Outputs:
        with self._lock:  # several threads may be the first
            compiled = self._compiled
        return compiled(pixels)

    @functools.cached_property
    def _compiled(self) -> "_CompiledModel":
        return self._compile()


class _BySize:
    """Any number of pictures: as many as it goes ``_AT_ONCE``, and the others one by one."""

    def __init__(self, preprocessing: Preprocessing, one: Engine, many: Engine) -> None:
        self._preprocessing, self._one, self._many = preprocessing, one, many

    def __call__(self, pixels: PixelBatch) -> Outputs:
        """The outputs for ``pixels``."""
        check_pixels(pixels, self._preprocessing)
        parts, done = [], 0
        while done < len(pixels):
            engine, count = self._many, _AT_ONCE
            if len(pixels) - done < count:
                engine, count = self._one, 1
            parts.append(engine(pixels[done : done + count]))
            done += count
        return parts[0] if len(parts) == 1 else tuple(map(np.concatenate, zip(*parts, strict=True)))


class _Copies:
    """A graph compiled once for each thread that asks.

    With a stream of its own OpenVINO computes in the thread that asks. With several in one compiled
    graph it hands over to threads of its own, which leaves a core idle now and then: on two cores
    these copies compute 6 to 8 % more pictures a second.
    """

    def __init__(self, copies: Sequence[Engine]) -> None:
        self._copies = itertools.cycle(copies)
        self._of_thread = threading.local()

    def __call__(self, pixels: PixelBatch) -> Outputs:
        copy = getattr(self._of_thread, "copy", None)
        if copy is None:
            copy = self._of_thread.copy = next(self._copies)
        outputs: Outputs = copy(pixels)
        return outputs


class _CompiledModel:
    """A graph compiled for a number of pictures, threads and streams."""

    def __init__(
        self,
        model: Any,
        outputs: Sequence[str],
        preprocessing: Preprocessing,
        precision: Precision,
        count: int,
        threads: int,
        streams: int,
    ) -> None:
        fixed, side = model.clone(), preprocessing.image_size
        fixed.reshape([count, side, side, 3])
        self._model = openvino_core().compile_model(
            fixed,
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
        self._of_thread = threading.local()

    def __call__(self, pixels: PixelBatch) -> Outputs:
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
