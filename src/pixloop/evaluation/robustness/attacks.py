"""Attacks by who knows the network: the pixels are changed so that it errs, by little.

FGSM (Goodfellow et al. 2015) takes one step along the sign of the loss's gradient; PGD (Madry et
al. 2018) takes ten smaller ones from a random start. Both are Captum's, on the trained network in
float32, between pixels of 0 and 255 and the normalisation, and within ±strength (L∞).

Needs torch; it is imported where a network is attacked.
"""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from captum.robust import FGSM, PGD
from numpy.typing import NDArray
from torch import Tensor, nn

from pixloop.imaging import Preprocessing

Json = dict[str, Any]
Pixels = NDArray[np.uint8]  #: shape (N, size, size, 3)

METHODS = ("fgsm", "pgd")
STEPS = 10
#: Pictures that are attacked at a time.
BATCH = 16

#: From pictures float32 (N, 3, size, size), 0 to 255, what they are and a strength to pictures.
Attack = Callable[[Tensor, Any, float], Tensor]
#: From what the network gives and what the pictures are to a loss, shape (1,).
Loss = Callable[[Any, Any], Tensor]


class PixelNetwork(nn.Module):
    """A network that takes pixels, 0 to 255; with targets where it is one that takes them."""

    def __init__(self, network: nn.Module, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.network = network
        self._mean = 255 * torch.tensor(preprocessing.mean).view(3, 1, 1)
        self._std = 255 * torch.tensor(preprocessing.std).view(3, 1, 1)

    def forward(self, pixels: Tensor, *targets: Any) -> Any:
        """What the network gives for float32 (N, 3, size, size)."""
        return self.network((pixels - self._mean) / self._std, *targets)


def attack_methods(forward: Callable[[Tensor], Any], loss: Loss) -> dict[str, Attack]:
    """The attacks of ``METHODS`` on what ``forward`` makes of pixels, by the loss's gradient.

    Each gives the same for the same pixels, and leaves torch's random numbers to others.
    """
    fgsm, pgd = FGSM(forward, loss, 0.0, 255.0), PGD(forward, loss, 0.0, 255.0)
    for method in (fgsm, pgd.fgsm):
        # Captum leaves pixels alone whose gradient is below 1e-6. By a level of 255, that is most
        # pixels of a picture that the network is sure of.
        method.zero_thresh = 0.0

    def step(pixels: Tensor, targets: Any, strength: float) -> Tensor:
        found: Tensor = fgsm.perturb(pixels, strength, targets)
        return found

    def descend(pixels: Tensor, targets: Any, strength: float) -> Tensor:
        # Steps that reach the ball's edge two and a half times over, as Madry et al. have it.
        size = 2.5 * strength / STEPS
        found: Tensor = pgd.perturb(pixels, strength, size, STEPS, targets, random_start=True)
        return found

    return {"fgsm": _repeatable(step), "pgd": _repeatable(descend)}


def _repeatable(method: Attack) -> Attack:
    def attack(pixels: Tensor, targets: Any, strength: float) -> Tensor:
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            # Captum warns that it turns on the gradients that it needs.
            warnings.filterwarnings("ignore", message="Input Tensor .* require gradients")
            torch.manual_seed(0)
            return method(pixels, targets, strength).detach()

    return attack


def from_levels(pixels: Pixels) -> Tensor:
    """As networks take them: float32 (N, 3, size, size)."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float()


def to_levels(pixels: Tensor) -> Pixels:
    """As pictures are: whole levels."""
    return pixels.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
