"""What is explained: one answer of a network to one picture, as a number that pixels can move."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torchvision
from torch import Tensor, nn

#: From a network and pictures, float32 (N, 3, size, size), to how strongly it says so, (N,).
Strength = Callable[[nn.Module, Tensor], Tensor]

_BATCH = 16


@dataclass(frozen=True, slots=True)
class Question:
    """Why a network answers so to a picture.

    Attributes:
        network: in eval mode; as ``trained_network`` gives it.
        image: float32 (3, size, size), normalised; 0 is the mean colour.
        strength: what moves. It need not be bounded, and may have gradients.
        portion: from a strength to what it means, 0 to 1.
    """

    network: nn.Module
    image: Tensor
    strength: Strength
    portion: Callable[[Tensor], Tensor]

    def ask(self, images: Tensor) -> Tensor:
        """The strength in each of other pictures, (N,); with gradients where they are on."""
        return self.strength(self.network, images)

    @torch.no_grad()
    def measure(self, images: Tensor) -> Tensor:
        """How far the answer holds in each of other pictures: (N,), 0 to 1."""
        return torch.cat([self.portion(self.ask(batch)) for batch in torch.split(images, _BATCH)])


def ask_class(network: nn.Module, image: Tensor, label: int) -> Question:
    """Why a classifier takes a picture for a class.

    Strength is the class's log odds, ``logit - logsumexp(the other logits)``: unlike the
    probability it does not saturate, unlike the logit it counts what speaks for other classes.

    Args:
        network: a classifier.
        image: float32 (3, size, size).
        label: the index of the class.
    """

    def log_odds(network: nn.Module, images: Tensor) -> Tensor:
        logits = network(images)
        others = torch.cat([logits[:, :label], logits[:, label + 1 :]], dim=1)
        odds: Tensor = logits[:, label] - others.logsumexp(dim=1)
        return odds

    return Question(network, image, log_odds, torch.sigmoid)


def ask_box(network: nn.Module, image: Tensor, box: Tensor, label: int) -> Question:
    """Why a detector finds a box.

    Strength is that of the found box which is most like it, ``IoU × score`` among those of its
    class (D-RISE, Petsiuk et al. 2021; where they compare the scores of all classes, torchvision
    gives each box that of one).

    Args:
        network: a detector, as ``training.detectors`` describes it.
        image: float32 (3, size, size).
        box: float32 (4,), xyxy in pixels of the input.
        label: the index of its class; the background is not one of them.
    """

    def likeness(network: nn.Module, images: Tensor) -> Tensor:
        return torch.stack([_most_alike(found, box, label) for found in network(images)])

    return Question(network, image, likeness, lambda strength: strength)


def _most_alike(found: dict[str, Tensor], box: Tensor, label: int) -> Tensor:
    own = found["labels"] == label + 1  # 0 is the background
    overlaps = torchvision.ops.box_iou(box[None], found["boxes"][own])[0]
    return torch.cat([overlaps * found["scores"][own], torch.zeros(1)]).max()
