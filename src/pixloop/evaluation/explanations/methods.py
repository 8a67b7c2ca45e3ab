"""Which pixels spoke for an answer: the methods, Captum's but for D-RISE.

Each gives a map: float32 (size, size), how much a pixel of the input speaks for the answer; what
speaks against it is negative. Only a map's order and shares mean something, not its scale.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from captum.attr import IntegratedGradients, LayerAttribution, LayerGradCam, Occlusion
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn

from pixloop.bundle import Task
from pixloop.evaluation.explanations.masking import random_masks
from pixloop.evaluation.explanations.questions import Question

Map = NDArray[np.float32]

_STEPS = 24  #: of the path that gradients are integrated along
_PATCHES = 5  #: patches side by side that cover the input; they move by half of their side
_MASKS = 96  #: random masks a box
_BATCH = 16
_LEAST_SIDE = 4  #: a coarser feature map points at nothing
_GRAIN = 32  #: the side of the input / the width over which gradients of single pixels are smoothed


@dataclass(frozen=True, slots=True)
class Method:
    """One way to find out which pixels spoke."""

    name: str
    title: str
    source: str  #: who published it
    explain: Callable[[Question], Map]


def explain_by_grad_cam(question: Question) -> Map:
    """Grad-CAM (Selvaraju et al. 2017) at the last stage whose features are still a map.

    Raises:
        ValueError: the network has no such stage; vision transformers have none.
    """
    layer = find_last_stage(question.network, question.image)
    if layer is None:
        raise ValueError("the network has no convolutional stage near its end")
    with torch.enable_grad():
        coarse = LayerGradCam(question.ask, layer).attribute(_gradient_input(question))
    fine = LayerAttribution.interpolate(coarse, tuple(question.image.shape[1:]), "bilinear")
    return _as_map(fine[0, 0])


def explain_by_integrated_gradients(question: Question) -> Map:
    """Integrated gradients (Sundararajan et al. 2017) from a picture of the mean colour."""
    with torch.enable_grad():
        pixels = IntegratedGradients(question.ask, multiply_by_inputs=True).attribute(
            _gradient_input(question), n_steps=_STEPS, internal_batch_size=_BATCH
        )
    summed = _as_map(pixels[0].sum(dim=0))
    return np.asarray(gaussian_filter(summed, len(summed) / _GRAIN), np.float32)


@torch.no_grad()
def explain_by_occlusion(question: Question) -> Map:
    """Occlusion (Zeiler & Fergus 2014): how much an answer loses where a grey patch lies."""
    side = max(1, round(question.image.shape[-1] / _PATCHES))
    step = max(1, side // 2)
    lost = Occlusion(question.ask).attribute(
        question.image[None],
        sliding_window_shapes=(3, side, side),
        strides=(3, step, step),
        perturbations_per_eval=_BATCH,
    )
    # The steps are no edges of what was seen.
    return np.asarray(gaussian_filter(_as_map(lost[0].mean(dim=0)), step / 2), np.float32)


@torch.no_grad()
def explain_by_masks(question: Question) -> Map:
    """D-RISE (Petsiuk et al. 2021): how much an answer holds where random masks leave a pixel.

    The mean strength with a pixel seen, less the mean strength; seeded.
    """
    masks = random_masks(_MASKS, question.image.shape[-1])
    seen = torch.cat(
        [question.ask(question.image * batch[:, None]) for batch in torch.split(masks, _BATCH)]
    )
    weights = seen - seen.mean()
    return _as_map(torch.tensordot(weights, masks, dims=1) / masks.sum(dim=0))


METHODS: Mapping[Task, tuple[Method, ...]] = MappingProxyType(
    {
        "classification": (
            Method("grad-cam", "Grad-CAM", "Selvaraju et al. 2017", explain_by_grad_cam),
            Method(
                "integrated-gradients",
                "Integrated gradients",
                "Sundararajan et al. 2017",
                explain_by_integrated_gradients,
            ),
            Method("occlusion", "Occlusion", "Zeiler & Fergus 2014", explain_by_occlusion),
        ),
        "detection": (Method("d-rise", "D-RISE", "Petsiuk et al. 2021", explain_by_masks),),
    }
)


def find_last_stage(network: nn.Module, image: Tensor) -> nn.Module | None:
    """The module that gives the last feature map of at least 4 × 4 places; None without one.

    A map is square, as the input is, and comes after the first quarter of the network: what cuts a
    picture into a transformer's patches gives none that means anything.
    """
    outputs: list[tuple[nn.Module, Any]] = []
    hooks = [
        # Hooks run as modules end, so a stage comes after its layers.
        module.register_forward_hook(lambda module, _, output: outputs.append((module, output)))
        for module in network.modules()
        if module is not network
    ]
    try:
        with torch.no_grad():
            network(image[None])
    finally:
        for hook in hooks:
            hook.remove()
    later = outputs[len(outputs) // 4 :]
    return next((module for module, output in reversed(later) if _is_feature_map(output)), None)


def _is_feature_map(output: object) -> bool:
    if not isinstance(output, Tensor) or output.ndim != 4:
        return False
    _, _, height, width = output.shape
    return height == width >= _LEAST_SIDE


def _gradient_input(question: Question) -> Tensor:
    return question.image[None].clone().requires_grad_()


def _as_map(values: Tensor) -> Map:
    return values.detach().cpu().numpy().astype(np.float32)
