"""Detectors rewritten for graphs: a batch in, boxes of fixed shape out.

torchvision's detectors loop over pictures, and what they compute has as many rows as there are
boxes. An exporter writes such a loop for the number of pictures that it saw, which is why exported
detectors are known to break on other batch sizes and on pictures without objects. Here the parts
that were trained are taken over as they are, and what lies between and behind them is written
again: for all pictures at once, with as many places as there can be boxes, some of them empty.
Whether it says the same as torchvision's own forward is what the certificate measures.
"""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN, RetinaNet
from torchvision.models.detection.ssd import SSD

from pixloop.errors import ExportError
from pixloop.export.box_arithmetic import Found
from pixloop.export.one_stage import RetinaNetGraph, SsdGraph
from pixloop.export.two_stage import FasterRcnnGraph

_GRAPHS: Mapping[type[nn.Module], Callable[[Any, int], nn.Module]] = {
    FasterRCNN: FasterRcnnGraph,
    RetinaNet: RetinaNetGraph,
    SSD: SsdGraph,
}


class DetectorGraph(nn.Module):
    """A trained detector as one function of a batch; shares the network's parameters."""

    def __init__(self, network: nn.Module, image_size: int) -> None:
        """Take over a detector's parts.

        Args:
            network: one of torchvision's, in eval mode, on the CPU.
            image_size: side of the input, in pixels; another size needs another graph.

        Raises:
            ExportError: it is of a kind that is not known here.
        """
        super().__init__()
        for kind, graph in _GRAPHS.items():
            if isinstance(network, kind):
                self.detector = graph(network, image_size).eval()
                return
        known = ", ".join(kind.__name__ for kind in _GRAPHS)
        raise ExportError(f"a {type(network).__name__} cannot be exported; use one of {known}.")

    def forward(self, images: Tensor) -> Found:
        """Boxes of each picture, the surest first.

        Args:
            images: float32 (N, 3, size, size), normalised.

        Returns:
            boxes float32 (N, D, 4) xyxy in pixels of the input, scores float32 (N, D), labels
            int64 (N, D), indices into the classes (without background). Places without a box
            hold zeros.
        """
        found: Found = self.detector(images)
        return found
