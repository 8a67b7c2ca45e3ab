"""The TorchScript graph, for users who run torch or its C++ library, and the engine to check it.

pixloop's server has no torch, so this graph is certified and shipped but not served.
"""

import warnings
from pathlib import Path

import torch
from torch import nn

from pixloop.bundle import Graph, Task
from pixloop.errors import BundleError, ExportError, ServingError
from pixloop.files import atomic_path
from pixloop.imaging import InputArray, Preprocessing
from pixloop.serving.engines import Outputs

FILE = "graphs/model.pt"


def write(
    network: nn.Module,
    preprocessing: Preprocessing,
    folder: Path,
    task: Task = "classification",
) -> Graph:
    """Trace the network and write ``folder/graphs/model.pt``.

    Args:
        network: in eval mode, float32, on the CPU; of a detector its ``DetectorGraph``.
        preprocessing: gives the size of the input.
        folder: the bundle's.
        task: of no matter here; its outputs have no names.

    Raises:
        ExportError: the network cannot be traced.
    """
    del task
    size = preprocessing.image_size
    with warnings.catch_warnings(), torch.no_grad(), atomic_path(folder / FILE) as temporary:
        # torch calls tracing deprecated; whoever runs libtorch still needs it. Parity, not the
        # tracer's warnings, says whether a traced condition matters.
        warnings.simplefilter("ignore")
        try:
            example = torch.zeros(2, 3, size, size)
            # torch leaves torch.jit untyped.
            traced = torch.jit.trace(network, example, check_trace=False)  # type: ignore[no-untyped-call]
            torch.jit.save(traced, str(temporary))
        except Exception as e:  # tracing runs the network's own code
            reason = " ".join(str(e).split())[:300]
            raise ExportError(f"the network cannot be traced: {reason}") from e
    return Graph(format="torchscript", file=FILE)


class TorchScriptEngine:
    """A ``serving.engines.Engine`` on torch. Load only graphs of your own making."""

    def __init__(self, path: Path) -> None:
        """Load the graph; ``BundleError`` where it is none."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                module = torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call] # as above
                self._module = module.eval()
        except (RuntimeError, ValueError, OSError) as e:
            raise BundleError(f"{path} cannot be loaded as a torchscript graph: {e}") from e

    def __call__(self, images: InputArray) -> Outputs:
        """The outputs for ``images``, float32 (N, 3, size, size)."""
        try:
            with torch.inference_mode():
                answer = self._module(torch.from_numpy(images))
        except RuntimeError as e:
            raise ServingError(f"TorchScript failed on input of shape {images.shape}: {e}") from e
        outputs = answer if isinstance(answer, tuple) else (answer,)
        return tuple(output.numpy() for output in outputs)
