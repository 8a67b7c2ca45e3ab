"""What a frozen network's last layers see, computed fast.

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
from pixloop.training.cut import CutNetwork

#: Those of 100 pictures of 200×200, which torch computes in about as long as the conversion takes.
_PIXELS_BY_TORCH = 4_000_000

_log = logging.getLogger(__name__)

#: Features, float32 (N, D), and the maps that late layers take; without a cut empty, (0,).
Seen = tuple[Tensor, Tensor]
_Extract = Callable[[Tensor], Seen]


class FrozenFeatures:
    """Pictures, uint8 (N, size, size, 3) → what the last layers see of them, on the CPU."""

    def __init__(
        self, classifier: Classifier, cut: CutNetwork | None = None, bfloat16: bool = False
    ) -> None:
        """Nothing is computed yet.

        Args:
            classifier: in eval mode; its network is one of timm's, and stays as it is.
            cut: where maps are taken.
            bfloat16: whether OpenVINO may compute in it, where the CPU does: 1.45 instead of 2.6 ms
                a picture (mobilenetv2_100, 224 px, two cores); or torch, on a GPU. What is scored
                should be exact.
        """
        self._features = _Features(classifier, cut).eval()
        self._device = classifier.device
        self._bfloat16 = bfloat16
        self._pixels = 0
        self._compiled: _Extract | None = None

    def __call__(self, pictures: Tensor) -> Seen:
        """Shapes and types are those of the class's description."""
        # By what was seen and not by the clock, so that the same pictures give the same features.
        if self._device.type == "cpu" and self._pixels <= _PIXELS_BY_TORCH:
            self._pixels += pictures[..., 0].numel()
            if self._pixels > _PIXELS_BY_TORCH:
                precision = "bf16" if self._bfloat16 else "f32"
                self._compiled = _compile(self._features, pictures.shape[1], precision)
        if self._compiled is not None:
            return self._compiled(pictures)
        in_half = self._bfloat16 and self._device.type == "cuda"
        with torch.no_grad(), torch.autocast(self._device.type, torch.bfloat16, enabled=in_half):
            features, maps = self._features(pictures.to(self._device))
        return features.cpu(), maps.cpu()


class _Features(nn.Module):
    def __init__(self, classifier: Classifier, cut: CutNetwork | None) -> None:
        super().__init__()
        self._early = cut.early if cut else None
        self._late = cut.late if cut else classifier.network
        # Not a part of it: what traces a module looks at all that a Lightning one has.
        self._normalise = classifier.normalise

    def forward(self, pictures: Tensor) -> Seen:
        late: Any = self._late
        given = self._normalise(pictures)
        if self._early is not None:
            early: Any = self._early
            given = early.forward_features(given)
        features: Tensor = late.forward_head(late.forward_features(given), pre_logits=True)
        maps = given if self._early is not None else torch.empty(0)
        return features.float(), maps.float()


def _compile(features: nn.Module, size: int, precision: str) -> _Extract | None:
    """None where OpenVINO does not take the network."""
    try:
        compiled = _by_openvino(features, size, precision)
    except Exception as e:  # a converter meets any network, and says what it likes
        _log.debug("OpenVINO does not take this network (%s); torch computes it.", e)
        return None

    def extract(pictures: Tensor) -> Seen:
        found = compiled(pictures.numpy())
        return torch.from_numpy(found[0].copy()), torch.from_numpy(found[1].copy())

    return extract


def _by_openvino(features: nn.Module, size: int, precision: str) -> Any:
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
    options = {"INFERENCE_PRECISION_HINT": precision}
    compiled = openvino_core().compile_model(model, "CPU", options)
    compiled(example.numpy())  # what cannot be computed is found out here
    return compiled
