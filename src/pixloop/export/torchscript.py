"""The TorchScript graph, for users who run torch or its C++ library.

pixloop's server starts without torch and serves it only where asked to.
"""

import warnings
from pathlib import Path

import torch
from torch import nn

from pixloop.bundle import Graph, Task
from pixloop.errors import ExportError
from pixloop.files import atomic_path
from pixloop.imaging import Preprocessing

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
