# ruff: noqa: D102  (the hooks are described by Lightning)
"""A classifier as Lightning trains it: its loss and its validation."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from pixloop.training.distributed import from_first, gather
from pixloop.training.learner import Learner
from pixloop.training.loaders import Batch
from pixloop.training.optimizers import takes_fused
from pixloop.training.scores import score


class Classifier(Learner):
    """A network that gives logits (N, K), with all that it takes to train it.

    Attributes:
        logits: of the last validation, float32 (N, K).
        targets: of the last validation, int64 (N,).
    """

    def __init__(self, *args: Any) -> None:
        """Args are those of ``Learner``."""
        super().__init__(*args)
        self.logits, self.targets = torch.empty(0, 0), torch.empty(0, dtype=torch.int64)
        self._validation: list[tuple[Tensor, Tensor]] = []

    def forward(self, pictures: Tensor) -> Tensor:
        """uint8 (N, size, size, 3) → logits (N, K)."""
        logits: Tensor = self.network(self.normalise(pictures))
        return logits

    def loss(self, batch: Batch) -> Tensor:
        pictures, targets = batch
        return functional.cross_entropy(
            self(pictures).float(), targets, label_smoothing=self._config.label_smoothing
        )

    def optimizer_options(self) -> dict[str, Any]:
        fused = self.device.type == "cuda" and takes_fused(self._config.optimizer)
        return super().optimizer_options() | ({"fused": True} if fused else {})

    def on_validation_epoch_start(self) -> None:
        self._validation = []

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        pictures, targets = batch
        # What is served is float32, so that is what chooses the epoch.
        with torch.autocast(self.device.type, enabled=False):
            self._validation.append((self(pictures).float().cpu(), targets.cpu()))

    def on_validation_epoch_end(self) -> None:
        logits, targets = zip(*self._validation, strict=True)
        self.logits = gather(torch.cat(logits), self.validation_pictures)
        self.targets = gather(torch.cat(targets), self.validation_pictures)
        self.scores = from_first(lambda: score(self.logits, self.targets))
