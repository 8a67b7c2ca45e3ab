# ruff: noqa: D102  (the hooks are described by Lightning)
"""What one sees of a training run: progress, and TensorBoard."""

import math
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback

from pixloop.progress import Advance, progress
from pixloop.training.classifier import Classifier
from pixloop.training.detector import Detector
from pixloop.training.drawings import draw_batch, draw_box_batch, draw_confusion, draw_examples
from pixloop.training.learner import Learner
from pixloop.training.scores import confusion

#: The score that progress shows, and what it is called there.
_SHOWN_SCORES = {"f1_macro": "F1", "map_50": "AP50"}


class ProgressReport(Callback):  # type: ignore[misc]  # Lightning is Any to mypy
    """Reports each step through ``progress``: ``epoch 3/10 loss 0.31 F1 0.930``.

    A detector's has ``AP50 0.870`` instead of F1.
    """

    def __init__(self) -> None:
        self._open = ExitStack()
        self._advance: Advance = _ignore

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        total = int(trainer.estimated_stepping_batches)
        self._advance = self._open.enter_context(progress("training", total))
        self._advance(trainer.global_step)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        self._advance(1, _note(trainer, pl_module))

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self._advance(0, _note(trainer, pl_module))

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._open.close()

    def on_exception(self, trainer: pl.Trainer, pl_module: Any, exception: BaseException) -> None:
        self._open.close()


class TensorBoard(Callback):  # type: ignore[misc]  # Lightning is Any to mypy
    """Loss, learning rate, the validation's scores, a batch of pictures, and what was answered.

    The answers (a confusion matrix, or boxes) are drawn once, at the end of training: drawing takes
    longer than an epoch of a small data set.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self._classes = classes

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: Learner, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx == 0 and trainer.current_epoch == 0:
            draw: Any = draw_box_batch if isinstance(pl_module, Detector) else draw_batch
            _writer(trainer).add_figure("training pictures", draw(*batch, self._classes), 0)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, *_: Any
    ) -> None:
        if trainer.global_step % trainer.log_every_n_steps == 0:
            rate = trainer.optimizers[0].param_groups[-1]["lr"]
            writer, step = _writer(trainer), trainer.global_step
            writer.add_scalar("loss/train", float(outputs["loss"]), step)
            writer.add_scalar("learning rate", rate, step)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Learner) -> None:
        for name, value in pl_module.scores.items():
            tag = "loss/validation" if name == "loss" else f"validation/{name}"
            _writer(trainer).add_scalar(tag, value, trainer.global_step)

    def on_train_end(self, trainer: pl.Trainer, pl_module: Learner) -> None:
        writer, step = _writer(trainer), trainer.global_step
        if isinstance(pl_module, Detector) and pl_module.examples:
            figure = draw_examples(pl_module.examples, self._classes)
            writer.add_figure("boxes/validation", figure, step)
        if isinstance(pl_module, Classifier) and len(pl_module.targets):
            matrix = confusion(pl_module.logits, pl_module.targets).numpy()
            figure = draw_confusion(matrix, self._classes)
            writer.add_figure("confusion/validation", figure, step)


def _note(trainer: pl.Trainer, learner: Learner) -> str:
    note = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
    if not math.isnan(learner.train_loss):
        note += f" loss {learner.train_loss:.2f}"
    for name, shown in _SHOWN_SCORES.items():
        if name in learner.scores:
            note += f" {shown} {learner.scores[name]:.3f}"
    return note


def _writer(trainer: pl.Trainer) -> Any:
    assert trainer.logger is not None  # noqa: S101  (``train`` gives one)
    return trainer.logger.experiment


def _ignore(n: int = 1, note: str = "") -> None:
    """What ``advance`` is before training starts."""
