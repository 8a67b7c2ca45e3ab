"""A network that has learned nothing, but is otherwise like one that has."""

import copy

import torch
from torch import Tensor, nn

from pixloop.training.built_model import normalisation_layers

_SEED = 0


def randomise(network: nn.Module, images: Tensor) -> nn.Module:
    """A copy whose parameters' values are shuffled, each tensor within itself.

    What was learned is gone and the scales stay, where a fresh initialisation would let signals
    vanish in a deep network. The statistics of batch normalisation are those of ``images``.

    Args:
        network: stays as it is.
        images: float32 (N, 3, size, size), N > 1 pictures that it is shown.

    Returns:
        In eval mode.
    """
    random = copy.deepcopy(network)
    generator = torch.Generator().manual_seed(_SEED)
    with torch.no_grad():
        for parameter in random.parameters():
            order = torch.randperm(parameter.numel(), generator=generator)
            parameter.copy_(parameter.flatten()[order].view_as(parameter))
        layers = normalisation_layers(random)
        for layer in layers.values():
            layer.reset_running_stats()  # type: ignore[operator]
            layer.momentum = None  # type: ignore[assignment]  # the mean of what is seen
            layer.train()
        random(images)
    return random.eval()
