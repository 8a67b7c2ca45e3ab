"""The late layers of a pretrained network learn, on maps that the frozen early ones gave."""

import copy
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from pixloop.config import TrainingConfig
from pixloop.training.built_model import normalisation_layers
from pixloop.training.learner import diverged, rate
from pixloop.training.maps import Maps
from pixloop.training.optimizers import create_optimizer
from pixloop.training.parts import WHOLE, Parts
from pixloop.training.scores import better, score


class LateLayers:
    """Late layers, and how they learn. Batch normalisation keeps its statistics."""

    def __init__(
        self,
        layers: nn.Module,
        config: TrainingConfig,
        bfloat16: bool,
        parts: Parts = WHOLE,
    ) -> None:
        """Nothing is changed yet.

        Args:
            layers: maps, float32 (N, C, height, width) → logits (N, K).
            config: its ``late_epochs`` and all that it says of optimizer and steps are used.
            bfloat16: whether to learn in it.
            parts: in how many each batch is learned.
        """
        self._layers, self._config, self._bfloat16 = layers, config, bfloat16
        self._parts = parts
        self._device = next(layers.parameters()).device

    def steps(self, training: Maps) -> int:
        """How many steps ``learn`` takes."""
        return self._config.late_epochs * math.ceil(training.pictures / self._config.batch_size)

    def learn(
        self,
        training: Maps,
        validation: Maps | None,
        each_step: Callable[[], None] = lambda: None,
        after_epoch: Callable[[dict[str, float]], None] = lambda scores: None,
    ) -> dict[str, float] | None:
        """Learn in place, and keep the best epoch's weights or, if none is better, those of before.

        Args:
            training: what is learned: each epoch in a new order, one view of each picture.
            validation: what chooses the epoch. Without it, the last is kept.
            each_step: is called after each step.
            after_epoch: is told of an epoch's scores; the layers are in eval mode.

        Returns:
            The kept epoch's scores on the validation maps, empty without them; None where no epoch
            was better.

        Raises:
            TrainingError: a loss is no number.
        """
        config, steps = self._config, self.steps(training)
        optimizer = create_optimizer(self._layers, config, weight_decay=config.weight_decay)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda n: rate(config, n, steps))
        random = torch.Generator().manual_seed(config.seed)
        torch.manual_seed(config.seed)  # dropout and its like
        before = best = self._look(validation)
        kept = copy.deepcopy(self._layers.state_dict())
        for _ in range(config.late_epochs):
            self._prepare()
            for rows in torch.split(_epoch(training, random), config.batch_size):
                optimizer.zero_grad()
                loss = self._learn(training.values[rows], training.targets[rows])
                if not math.isfinite(loss):
                    raise diverged(config, loss, "as the late layers learned")
                optimizer.step()
                schedule.step()
                each_step()
            found = self._look(validation)
            after_epoch(found)
            if better(found, best):
                best, kept = found, copy.deepcopy(self._layers.state_dict())
        self._layers.load_state_dict(kept)
        return None if best is before else best

    def _prepare(self) -> None:
        self._layers.train()
        for layer in normalisation_layers(self._layers).values():
            layer.eval()

    def _learn(self, maps: Tensor, targets: Tensor) -> float:
        """A batch's loss, whose gradients are then there: those of its parts add up."""
        loss = 0.0
        for some, their_targets in self._parts.split((maps, targets)):
            part = self._loss(some, their_targets) * (len(their_targets) / len(targets))
            part.backward()  # type: ignore[no-untyped-call]  # torch has no types here
            loss += part.item()
        return loss

    def _loss(self, maps: Tensor, targets: Tensor) -> Tensor:
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._bfloat16):
            logits = self._layers(maps.to(self._device).float())
        return functional.cross_entropy(
            logits.float(),
            targets.to(self._device),
            label_smoothing=self._config.label_smoothing,
        )

    @torch.no_grad()
    def _look(self, maps: Maps | None) -> dict[str, float]:
        self._layers.eval()
        if maps is None:
            return {}
        parts = torch.split(maps.values, math.ceil(self._config.batch_size / self._parts.count))
        logits = [self._layers(part.to(self._device).float()).float().cpu() for part in parts]
        return score(torch.cat(logits), maps.targets)


def _epoch(maps: Maps, random: torch.Generator) -> Tensor:
    """The rows of an epoch: any view of each picture, in any order."""
    order = torch.randperm(maps.pictures, generator=random)
    views = torch.randint(maps.views, (maps.pictures,), generator=random)
    return order * maps.views + views
