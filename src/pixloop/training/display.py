# ruff: noqa: D102  (the hooks are described by Lightning)
"""What one sees of a training run: progress, and TensorBoard."""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import lightning.pytorch as pl
import numpy as np
from lightning.pytorch.callbacks import Callback
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from pixloop.progress import Advance, progress
from pixloop.training.classifier import Classifier
from pixloop.training.loaders import Batch
from pixloop.training.scores import confusion

_SHOWN_PICTURES = 16
_SHOWN_COUNTS = 20  # beyond so many classes the matrix's numbers cannot be read


class ProgressReport(Callback):  # type: ignore[misc]  # Lightning is Any to mypy
    """Reports each step through ``progress``: ``epoch 3/10 loss 0.31 F1 0.93``."""

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
    """Loss, learning rate, macro F1, precision and recall, a batch of pictures, and the confusion.

    The confusion matrix is drawn once, at the end of training: drawing takes longer than an epoch
    of a small data set.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self._classes = classes

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: Any, batch: Batch, batch_idx: int
    ) -> None:
        if batch_idx == 0 and trainer.current_epoch == 0:
            figure = draw_batch(*batch, self._classes)
            _writer(trainer).add_figure("training pictures", figure, 0)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, *_: Any
    ) -> None:
        if trainer.global_step % trainer.log_every_n_steps == 0:
            rate = trainer.optimizers[0].param_groups[-1]["lr"]
            writer, step = _writer(trainer), trainer.global_step
            writer.add_scalar("loss/train", float(outputs["loss"]), step)
            writer.add_scalar("learning rate", rate, step)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Classifier) -> None:
        for name, value in pl_module.scores.items():
            tag = "loss/validation" if name == "loss" else f"validation/{name}"
            _writer(trainer).add_scalar(tag, value, trainer.global_step)

    def on_train_end(self, trainer: pl.Trainer, pl_module: Classifier) -> None:
        if len(pl_module.targets):
            matrix = confusion(pl_module.logits, pl_module.targets).numpy()
            figure = draw_confusion(matrix, self._classes)
            _writer(trainer).add_figure("confusion/validation", figure, trainer.global_step)


def draw_confusion(matrix: NDArray[np.int64], classes: Sequence[str]) -> Figure:
    """A confusion matrix, shape (K, K), rows true and columns predicted; colours are row shares."""
    figure = Figure(figsize=(6, 6), layout="constrained")
    axes = figure.subplots()
    axes.imshow(matrix / matrix.sum(axis=1, keepdims=True).clip(1), cmap="Blues", vmin=0, vmax=1)
    axes.set(xlabel="predicted", ylabel="true")
    if len(classes) <= _SHOWN_COUNTS:
        axes.set_xticks(range(len(classes)), classes, rotation=45, ha="right")
        axes.set_yticks(range(len(classes)), classes)
        for (row, column), count in np.ndenumerate(matrix):
            dark = count > matrix[row].sum() / 2
            axes.text(column, row, str(count), ha="center", va="center", color="w" if dark else "k")
    return figure


def draw_batch(pictures: Tensor, labels: Tensor, classes: Sequence[str]) -> Figure:
    """The first pictures of a training batch, as the network sees them, under their labels."""
    figure = Figure(figsize=(8, 8), layout="constrained")
    grid = figure.subplots(4, _SHOWN_PICTURES // 4).ravel()
    for axes in grid:
        axes.axis("off")
    for axes, picture, label in zip(grid, pictures.cpu().numpy(), labels.tolist(), strict=False):
        axes.imshow(picture)
        axes.set_title(classes[label], fontsize=8)
    return figure


def _note(trainer: pl.Trainer, classifier: Classifier) -> str:
    f1 = classifier.scores.get("f1_macro")
    score = f" F1 {f1:.3f}" if f1 is not None else ""
    epoch = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
    return f"{epoch} loss {classifier.train_loss:.2f}{score}"


def _writer(trainer: pl.Trainer) -> Any:
    assert trainer.logger is not None  # noqa: S101  (``train`` gives one)
    return trainer.logger.experiment


def _ignore(n: int = 1, note: str = "") -> None:
    """What ``advance`` is before training starts."""
