"""The engine of TorchScript graphs: the one part of the server that needs torch.

It is imported only where such a graph is asked for. Load only graphs of your own making.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path

import torch

from pixloop.bundle import Precision
from pixloop.errors import ServingError
from pixloop.imaging import Preprocessing
from pixloop.serving.engines import (
    EngineSettings,
    Outputs,
    PixelBatch,
    check_pixels,
    normalise_batch,
)


class TorchScriptEngine:
    """TorchScript on the CPU."""

    def __init__(
        self,
        path: Path,
        outputs: Sequence[str],
        preprocessing: Preprocessing,
        precision: Precision,
        settings: EngineSettings,
    ) -> None:
        del outputs, precision, settings  # a traced graph's outputs are in the order of writing
        self._preprocessing = preprocessing
        with warnings.catch_warnings():
            # torch calls tracing deprecated.
            warnings.simplefilter("ignore")
            module = torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]
        self._module = module.eval()

    def __call__(self, pixels: PixelBatch) -> Outputs:
        """The outputs for ``pixels``."""
        check_pixels(pixels, self._preprocessing)
        images = torch.from_numpy(normalise_batch(pixels, self._preprocessing))
        try:
            with torch.inference_mode():
                answer = self._module(images)
        except RuntimeError as e:
            raise ServingError(f"TorchScript failed on input of shape {pixels.shape}: {e}") from e
        outputs = answer if isinstance(answer, tuple) else (answer,)
        return tuple(output.numpy() for output in outputs)
