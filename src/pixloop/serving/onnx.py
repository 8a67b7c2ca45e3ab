"""The engine of ONNX graphs: on the CPU of any machine, and on NVIDIA's GPUs."""

import functools
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pixloop.bundle import INPUT, Precision
from pixloop.errors import ServingError
from pixloop.imaging import Preprocessing
from pixloop.serving.engines import (
    Engine,
    EngineSettings,
    Outputs,
    PixelBatch,
    check_pixels,
    computes_on_cuda,
    normalise_batch,
)


class OnnxEngine:
    """ONNX Runtime, on a GPU where there is one that it can use."""

    def __init__(
        self,
        path: Path,
        outputs: Sequence[str],
        preprocessing: Preprocessing,
        precision: Precision,
        settings: EngineSettings,
    ) -> None:
        del precision  # it computes as the graph says
        self._path, self._settings = path, settings
        self._outputs, self._preprocessing = list(outputs), preprocessing
        self._cuda = computes_on_cuda()
        self._lock = threading.Lock()
        self._session = self._open(settings.threads)
        missing = set(outputs) - {output.name for output in self._session.get_outputs()}
        if missing:
            raise ValueError(f"it has no output called {', '.join(sorted(missing))}")
        size = self._session.get_inputs()[0].shape[2:]  # names where any will do
        if any(isinstance(side, int) and side != preprocessing.image_size for side in size):
            raise ValueError(f"it takes pictures of {size} pixels, not {preprocessing.image_size}")

    def __call__(self, pixels: PixelBatch) -> Outputs:
        """The outputs for ``pixels``, computed with all threads."""
        return _run(self._session, self._outputs, self._preprocessing, pixels)

    @property
    def streams(self) -> Engine:
        """Computes each batch with its share of the threads."""
        with self._lock:  # the workers may all ask first
            return self._side_by_side

    @functools.cached_property
    def _side_by_side(self) -> Engine:
        threads = self._settings.threads // self._settings.streams or 1
        alone = self._cuda or threads == self._settings.threads  # a GPU is one for all
        session = self._session if alone else self._open(threads)
        # Nothing that holds this engine: both would wait for the garbage collector.
        return functools.partial(_run, session, self._outputs, self._preprocessing)

    def _open(self, threads: int) -> Any:
        # Imported here because a server uses one engine, and each costs a good part of its start.
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3  # errors
        # Threads that wait for work would spin, and take the cores that decoding needs.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        providers: list[Any] = ["CPUExecutionProvider"]
        if self._cuda:
            # TensorFloat-32 rounds what was certified in float32.
            providers.insert(0, ("CUDAExecutionProvider", {"use_tf32": "0"}))
        return onnxruntime.InferenceSession(str(self._path), options, providers=providers)


def _run(
    session: Any, outputs: list[str], preprocessing: Preprocessing, pixels: PixelBatch
) -> Outputs:
    check_pixels(pixels, preprocessing)
    images = normalise_batch(pixels, preprocessing)
    try:
        return tuple(session.run(outputs, {INPUT: images}))
    except Exception as e:  # ONNX Runtime's errors share no class but Exception
        raise ServingError(f"ONNX Runtime failed on input of shape {images.shape}: {e}") from e
