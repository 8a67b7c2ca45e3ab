# ruff: noqa: D102  (the hooks are described by Lightning)
"""What training a classifier and training a detector share: optimizer, schedule, loss."""

import math
from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from pixloop.config import TrainingConfig
from pixloop.errors import TrainingError
from pixloop.imaging import Preprocessing
from pixloop.training.distributed import gather, mean, rank, world
from pixloop.training.optimizers import create_optimizer
from pixloop.training.parts import WHOLE

_WARM_UP = 0.1
#: A GPU works on while its losses are not looked at; looking waits for all that it was asked for.
_STEPS_BETWEEN_LOOKS = 20
_LOSSES = "epoch_losses"  # in a checkpoint


class Learner(pl.LightningModule):  # type: ignore[misc]  # Lightning is Any to mypy
    """A network, with all that it takes to train it.

    Attributes:
        network: float32 (N, 3, size, size) → what its task gives.
        train_loss: the mean loss of the steps of this epoch so far, on a GPU of those that were
            looked at; NaN before the first. Of several processes, each knows its own until the
            epoch is over.
        scores: of the last validation, by name; empty before the first.
        fixed_statistics: names of layers of batch normalisation that go on using the running
            statistics that came with the weights, instead of each batch's own.
        weight: of a batch's loss among those of several processes, by the batch's number.
        validation_pictures: how many there are for all processes together.
        parts: in how many each batch is learned, see ``memory``.
    """

    def __init__(
        self, network: nn.Module, preprocessing: Preprocessing, config: TrainingConfig, steps: int
    ) -> None:
        """``steps``: how many batches there are in all epochs together."""
        super().__init__()
        self.fixed_statistics: frozenset[str] = frozenset()
        self.weight: Callable[[int], float] | None = None
        self.validation_pictures = 0
        self.parts = WHOLE
        self.network = network.to(memory_format=torch.channels_last)
        self._config, self._steps = config, steps
        centre, std = torch.tensor(preprocessing.mean), torch.tensor(preprocessing.std)
        self.register_buffer("_mean", (centre * 255.0).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("_scale", (1.0 / (std * 255.0)).view(1, 3, 1, 1), persistent=False)
        self.scores: dict[str, float] = {}
        self.train_loss = math.nan
        self._losses: list[float] = []
        self._unseen: list[Tensor] = []

    def normalise(self, pictures: Tensor) -> Tensor:
        """uint8 (N, size, size, 3) → the network's input, as ``imaging.normalise`` gives it."""
        # Seen as channels-first, memory of this order is what torch calls channels-last.
        normalised: Tensor = (pictures.permute(0, 3, 1, 2) - self._mean) * self._scale
        return normalised

    def loss(self, batch: Any) -> Tensor:
        """The mean loss over a batch of the loader, or a part of one."""
        raise NotImplementedError

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.note_loss(self._learn(batch, batch_idx), batch_idx)

    def _learn(self, batch: Any, batch_idx: int) -> Tensor:
        """The batch's loss. Of its parts but the last, the gradients are already there."""
        if self.parts.count > 1:
            self.optimizers().zero_grad()
        *parts, last = self.parts.split(batch)
        if not parts:
            return self.loss(last)
        weight = self.weight(batch_idx) if world() > 1 and self.weight is not None else 1.0
        noted = torch.zeros((), device=self.device)
        for part in parts:
            loss = self.loss(part) * (len(part[0]) / len(batch[0]))
            with torch.autocast(self.device.type, enabled=False):
                (loss * weight).backward()  # type: ignore[no-untyped-call]  # torch has no types here
            noted += loss.detach()
        return self.loss(last) * (len(last[0]) / len(batch[0])) + noted

    def optimizer_zero_grad(self, *args: Any) -> None:
        # Lightning calls it between a step's loss and its gradients: too late where there are some.
        if self.parts.count == 1:
            super().optimizer_zero_grad(*args)

    def note_loss(self, loss: Tensor, batch_idx: int) -> Tensor:
        """Keep a step's loss for the epoch's mean; what is learned from is returned.

        Raises:
            TrainingError: it, or that of a step not yet looked at, is no number.
        """
        if world() > 1 and self.weight is not None:
            loss = loss * self.weight(batch_idx)
        self._unseen.append(loss.detach())
        is_last = batch_idx + 1 == self.trainer.num_training_batches
        if not loss.is_cuda or len(self._unseen) == _STEPS_BETWEEN_LOOKS or is_last:
            self._look_at_losses()
        return loss

    def _look_at_losses(self) -> None:
        for loss in torch.stack(self._unseen).tolist():
            self._losses.append(loss)
            if not math.isfinite(loss):
                where = f"in epoch {self.current_epoch + 1}, step {len(self._losses)}"
                raise diverged(self._config, loss, where)
        self._unseen = []
        self.train_loss = math.fsum(self._losses) / len(self._losses)

    def on_train_epoch_start(self) -> None:
        self._losses, self._unseen, self.train_loss = [], [], math.nan

    def on_train_start(self) -> None:
        # An epoch that is resumed does not start once more.
        for name in self.fixed_statistics:
            self.network.get_submodule(name).eval()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the losses of the epoch so far, for its mean: a column a process."""
        if self._unseen:
            self._look_at_losses()
        losses = gather(self._losses, len(self._losses) * world())
        columns = world() if rank() == 0 else 1
        checkpoint[_LOSSES] = torch.tensor(losses, dtype=torch.float64).view(-1, columns)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        losses = checkpoint.get(_LOSSES, torch.empty(0, 1))
        same = losses.shape[1] == world()  # or another number of processes goes on
        self._losses = (losses[:, rank()] if same else losses.mean(dim=1)).tolist()

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        # Dropout and its like follow from the seed and the step, so that a resumed run repeats it.
        # Other processes learn other pictures, with chances of their own.
        torch.manual_seed(self._config.seed * 1_000_003 + self.global_step + (rank() << 40))

    def on_train_epoch_end(self) -> None:
        if world() > 1:
            self.train_loss = mean(self.train_loss)

    def optimizer_options(self) -> dict[str, Any]:
        """What ``timm.optim.create_optimizer_v2`` is told besides the optimizer and its rate."""
        return {"weight_decay": self._config.weight_decay}  # timm spares biases and norms

    def configure_optimizers(self) -> Any:
        optimizer = create_optimizer(self.network, self._config, **self.optimizer_options())
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self._rate)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def _rate(self, step: int) -> float:
        """The learning rate at a step, as a share of the highest."""
        return rate(self._config, step, self._steps)


def diverged(config: TrainingConfig, loss: float, where: str) -> TrainingError:
    """What to say of a loss that is no number."""
    return TrainingError(
        f"The loss became {loss} {where}. Try a tenth of the learning rate"
        f" (training.learning_rate={config.learning_rate / 10:g}), or training.precision=float32."
    )


def rate(config: TrainingConfig, step: int, steps: int) -> float:
    """The learning rate at one of ``steps`` steps, as a share of the highest."""
    return 1.0 if config.schedule == "constant" else warm_cosine(step, steps)


def warm_cosine(step: int, steps: int) -> float:
    """A linear rise over the first tenth of the steps, then half a cosine down to zero.

    Loshchilov and Hutter 2017, without restarts.

    >>> [round(warm_cosine(step, 100), 2) for step in (0, 9, 10, 55, 100)]
    [0.1, 1.0, 1.0, 0.5, 0.0]
    """
    warm_up = max(1, round(steps * _WARM_UP))
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warm_up) / max(1, steps - warm_up))))
