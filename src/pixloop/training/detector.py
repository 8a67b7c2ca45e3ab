# ruff: noqa: D102  (the hooks are described by Lightning)
"""A detector as Lightning trains it: its losses and its validation."""

from typing import Any, NamedTuple

import timm.optim
import torch
from torch import Tensor, nn

from pixloop.training.detectors import BACKBONE
from pixloop.training.distributed import from_first, gather
from pixloop.training.learner import Learner
from pixloop.training.loaders import BoxBatch, Target
from pixloop.training.scores import score_boxes

#: Pretrained features need smaller steps than the new layers above them.
_BACKBONE_RATE = 0.3
_KEPT_EXAMPLES = 16


class Example(NamedTuple):
    """One validation picture, for the eye."""

    picture: Tensor  #: uint8 (size, size, 3)
    found: Target  #: boxes (M, 4), scores (M,), labels (M,) from 1 on
    truth: Target  #: boxes (M, 4), labels (M,) from 1 on


class Detector(Learner):
    """A detector, as ``detectors`` describes it, with all that it takes to train it.

    RetinaNet's loss is a mean over pictures, so several processes learn what one would. Faster
    R-CNN's and SSD's are means over the regions of a batch: each process's counts by its pictures,
    and so does each part's where a batch is learned in parts.

    Attributes:
        examples: the first pictures of the last validation, and what was found in them.
    """

    def __init__(self, *args: Any, pretrained: bool = False) -> None:
        """Args are those of ``Learner``; ``pretrained``: whether the backbone was already."""
        super().__init__(*args)
        self._pretrained = pretrained
        self.examples: list[Example] = []
        self._found: list[Target] = []
        self._truth: list[Target] = []

    def forward(self, pictures: Tensor) -> list[Target]:
        """uint8 (N, size, size, 3) → what is found in each: boxes, scores, labels from 1 on."""
        found: list[Target] = self.network(self.normalise(pictures))
        return found

    def loss(self, batch: BoxBatch) -> Tensor:
        pictures, targets = batch
        losses: dict[str, Tensor] = self.network(self.normalise(pictures), targets)
        return torch.stack([loss.float() for loss in losses.values()]).sum()

    def on_validation_epoch_start(self) -> None:
        self.examples, self._found, self._truth = [], [], []

    def validation_step(self, batch: BoxBatch, batch_idx: int) -> None:
        pictures, targets = batch
        # What is served is float32, so that is what chooses the epoch.
        with torch.autocast(self.device.type, enabled=False):
            found = [_on_cpu(one) for one in self(pictures)]
        truth = [_on_cpu(one) for one in targets]
        self._found += found
        self._truth += truth
        examples = map(Example, pictures.cpu(), found, truth)
        self.examples += list(examples)[: _KEPT_EXAMPLES - len(self.examples)]

    def on_validation_epoch_end(self) -> None:
        found = gather(self._found, self.validation_pictures)
        truth = gather(self._truth, self.validation_pictures)
        self.scores = from_first(lambda: score_boxes(found, truth))

    def optimizer_options(self) -> dict[str, Any]:
        return {"param_group_fn": self._group_parameters}

    def _group_parameters(self, network: nn.Module) -> list[dict[str, Any]]:
        """The usual groups, each in two: the backbone, which may learn slower, and the rest."""
        body = {
            id(parameter)
            for name, parameter in network.named_parameters()
            if name.startswith(BACKBONE)
        }
        full = self._config.learning_rate
        slow = full * _BACKBONE_RATE if self._pretrained else full
        return [
            group | {"params": chosen, "lr": slow if in_body else full}
            for in_body in (True, False)
            for group in timm.optim.param_groups_weight_decay(network, self._config.weight_decay)
            if (chosen := [p for p in group["params"] if (id(p) in body) == in_body])
        ]


def _on_cpu(found: Target) -> Target:
    return {name: value.detach().cpu() for name, value in found.items()}
