"""How many pictures a second a trainer takes, once it runs evenly."""

import time
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from subjects import Steps


def now() -> float:
    """Seconds, after all that the GPU was asked for is done."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


class StepClock(Callback):  # type: ignore[misc]  # Lightning is Any to mypy
    """Times the measured steps of an epoch and ends it after them.

    Attributes:
        seconds: what the measured steps took.
        waited: how much of that went by between one step's end and the next one's start: waiting
            for pictures, and Lightning's own work.
    """

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self._started = self._ended = 0.0
        self.seconds = self.waited = 0.0

    @property
    def pictures_s(self) -> float:
        return self._steps.measured * self._steps.batch_size / self.seconds

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx > self._steps.warm_up:
            self.waited += time.perf_counter() - self._ended

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx + 1 == self._steps.warm_up:
            self._started = now()
        elif batch_idx + 1 == self._steps.warm_up + self._steps.measured:
            self.seconds = now() - self._started
            trainer.should_stop = True
        self._ended = time.perf_counter()
