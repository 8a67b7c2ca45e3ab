"""What a frozen network's last layer sees, computed fast.

On a CPU, OpenVINO computes it: its kernels are fused, which those of eager torch are not. It takes
half a second to convert a network, so torch computes the first few pictures.
"""

import logging
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from pixloop.openvino_runtime import import_openvino, openvino_core
from pixloop.training.classifier import Classifier

#: Those of 100 pictures of 200×200, which torch computes in about as long as the conversion takes.
_PIXELS_BY_TORCH = 4_000_000

_log = logging.getLogger(__name__)

#: Pictures, uint8 (N, size, size, 3) → features, float32 (N, D), on the CPU.
_Extract = Callable[[Tensor], Tensor]


class FrozenFeatures:
    """Pictures, uint8 (N, size, size, 3) → features, float32 (N, D), on the CPU."""

    def __init__(self, classifier: Classifier) -> None:
        """``classifier``: in eval mode; its network is one of timm's, and stays as it is."""
        self._features = _Features(classifier).eval()
        self._device = classifier.device
        self._pixels = 0
        self._compiled: _Extract | None = None

    def __call__(self, pictures: Tensor) -> Tensor:
        """Shapes and types are those of the class's description."""
        # By what was seen and not by the clock, so that the same pictures give the same features.
        if self._device.type == "cpu" and self._pixels <= _PIXELS_BY_TORCH:
            self._pixels += pictures[..., 0].numel()
            if self._pixels > _PIXELS_BY_TORCH:
                self._compiled = _compile(self._features, pictures.shape[1])
        if self._compiled is not None:
            return self._compiled(pictures)
        with torch.no_grad():
            features: Tensor = self._features(pictures.to(self._device))
        return features.cpu()


class _Features(nn.Module):
    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self._network = classifier.network
        # Not a part of it: what traces a module looks at all that a Lightning one has.
        self._normalise = classifier.normalise

    def forward(self, pictures: Tensor) -> Tensor:
        network: Any = self._network
        maps = network.forward_features(self._normalise(pictures))
        features: Tensor = network.forward_head(maps, pre_logits=True).float()
        return features


def _compile(features: nn.Module, size: int) -> _Extract | None:
    """None where OpenVINO does not take the network."""
    try:
        compiled = _by_openvino(features, size)
    except Exception as e:  # a converter meets any network, and says what it likes
        _log.debug("OpenVINO does not take this network (%s); torch computes it.", e)
        return None

    def extract(pictures: Tensor) -> Tensor:
        return torch.from_numpy(compiled(pictures.numpy())[0].copy())

    return extract


def _by_openvino(features: nn.Module, size: int) -> Any:
    import_openvino()  # first, so that its converter, which has a telemetry client, is not
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    # Two pictures: one could be taken for a constant.
    example = torch.zeros(2, size, size, 3, dtype=torch.uint8)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of tracing, about shapes that do not change here
        traced = torch.jit.trace(features, (example,), check_trace=False)  # type: ignore[no-untyped-call]  # torch has no types here
    decoder = TorchScriptPythonDecoder(traced)  # the front end does not keep it alive
    front_end = FrontEndManager().load_by_framework("pytorch")
    model = front_end.convert(front_end.load(decoder))
    # As exact as torch: these features choose the head, whose scores are compared with others.
    compiled = openvino_core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    compiled(example.numpy())  # what cannot be computed is found out here
    return compiled
