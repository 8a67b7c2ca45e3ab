"""One training run: loaders, learner and Lightning's trainer, put together."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy
from torch.utils.data import DataLoader

from pixloop.config import Config
from pixloop.data.dataset import Dataset, SplitName
from pixloop.errors import TrainingError
from pixloop.training.batch_norm import normalise_together
from pixloop.training.built_model import BuiltModel
from pixloop.training.checkpoints import AtomicCheckpoints, Epoch, EpochKeeper
from pixloop.training.classifier import Classifier
from pixloop.training.detector import Detector
from pixloop.training.display import ProgressReport, TensorBoard
from pixloop.training.distributed import from_first, local_world, rank, world
from pixloop.training.epoch_batches import EpochBatches
from pixloop.training.learner import Learner
from pixloop.training.loaders import (
    plain_loader,
    plain_rows,
    suitable_workers,
    training_loader,
)
from pixloop.training.parts import WHOLE, Parts
from pixloop.training.precision import choose_precision
from pixloop.training.warm_start import warm_start

#: To fit a head, and to validate: a linear layer gains nothing from more, scores hardly change, and
#: features and answers fit in memory.
_MOST_PICTURES = 50_000
_LOG_EVERY_STEPS = 20
_LARGEST_GRADIENT = 5.0  # a detector's early losses would else throw the weights about

_log = logging.getLogger(__name__)


class TrainingRun:
    """One training run's parts, put together."""

    def __init__(
        self,
        config: Config,
        data: Dataset,
        built: BuiltModel,
        checkpoints: Path,
        logs: Path,
        fingerprint: str,
        on_epoch: Callable[[Epoch], None] | None = None,
        parts: Parts = WHOLE,
    ) -> None:
        settings = config.training
        self._config, self._data, self._built, self.parts = config, data, built, parts
        self._workers = settings.workers
        if self._workers is None:
            self._workers = suitable_workers(torch.cuda.is_available(), local_world())
        self._training = training_loader(
            data.split("train"),
            built.preprocessing,
            config.task,
            augmentations=settings.augmentations,
            batch_size=settings.batch_size,
            seed=settings.seed,
            workers=self._workers,
            rank=rank(),
            world=world(),
        )
        self._validates = self._has_validation()
        self.precision = choose_precision(settings.precision, config.task)
        self._on_epoch = on_epoch
        #: What learns; there once ``fit`` was called.
        self.learner: Learner | None = None
        #: Is told of the head's scores, and of those of each epoch of the late layers.
        self.after_warm_epoch: Callable[[dict[str, float]], None] = lambda scores: None
        self.keeper = EpochKeeper(checkpoints, fingerprint, settings.patience, on_epoch)
        self._trainer = self._build_trainer(logs)
        self.device = str(self._trainer.strategy.root_device)

    def _build_trainer(self, logs: Path) -> pl.Trainer:
        settings = self._config.training
        trainer = pl.Trainer(
            accelerator=_accelerator(),
            devices=local_world(),
            num_nodes=world() // local_world(),
            strategy=DDPStrategy() if world() > 1 else "auto",
            use_distributed_sampler=False,  # the loaders know whose pictures are whose
            precision="bf16-mixed" if self.precision == "bfloat16" else "32-true",
            max_epochs=settings.epochs,
            gradient_clip_val=_LARGEST_GRADIENT if self._config.task == "detection" else None,
            num_sanity_val_steps=0,
            log_every_n_steps=min(_LOG_EVERY_STEPS, len(self._training)),
            callbacks=[*self._displays(), self.keeper],
            logger=TensorBoardLogger(logs, name="", version="", log_graph=False),
            plugins=[AtomicCheckpoints()],
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        # ``Termination`` sees to SIGTERM. Lightning's processes would ask one another at each step
        # whether there was one, and each GPU's queue would run empty for the answer.
        trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None
        return trainer

    def fit(self) -> None:
        """Learn the last layers where that is asked for, then the whole network.

        Raises:
            TrainingError: neither is left to do.
        """
        if world() > 1:
            normalise_together(self._built.network, self._built.fixed_statistics)
        learner = self.learner = self._learner()
        last = self.keeper.resume_from()
        if last is not None:
            _log.info("Training goes on after epoch %d and %d steps.", *self.keeper.position)
            self._batches.resume(*self.keeper.position)
        elif self._head_first and isinstance(learner, Classifier):
            # The others get these layers when the trainer makes all networks equal.
            epoch = from_first(lambda: self._warm_start(learner))
            if epoch is not None:
                self.keeper.keep(epoch, learner.network)
        if self._on_epoch is not None:
            for epoch in self.keeper.history:
                self._on_epoch(epoch)
        if self._config.training.epochs == 0 and not self.keeper.history:
            raise TrainingError(
                "training.epochs=0 leaves nothing to do: without pretrained weights,"
                " training.head_first and a linear last layer, the whole network must learn."
                " Try training.epochs=10."
            )
        if self._config.training.epochs > 0 and not self.keeper.exhausted:
            validation = self._plain("validation", shared=True) if self._validates else None
            self._trainer.fit(
                learner, self._training, validation, ckpt_path=last, weights_only=True
            )

    @property
    def _head_first(self) -> bool:
        return self._config.training.head_first and self._built.pretrained

    @property
    def _parts_alone(self) -> Parts:
        """In how many parts the first process takes whole batches, where it works for all of them.

        A GPU has room for its slice. On CPUs the parts are those of a single process, and with them
        the last digits of all that is learned.
        """
        slices = world() if torch.cuda.is_available() else 1
        return Parts(self.parts.count * slices, self.parts.fewest)

    @property
    def _batches(self) -> EpochBatches:
        batches = self._training.sampler
        assert isinstance(batches, EpochBatches)  # noqa: S101  (``training_loader`` takes these)
        return batches

    def _learner(self) -> Learner:
        settings, built = self._config.training, self._built
        steps = settings.epochs * len(self._training)
        parts = (built.network, built.preprocessing, settings, steps)
        learner: Learner
        if self._config.task == "detection":
            learner = Detector(*parts, pretrained=built.pretrained)
        else:
            learner = Classifier(*parts)
        # A head is fitted on features under these statistics. Under each batch's own, it would be
        # wrong from the first step: hand-drawn shapes, which are far from the photos that the
        # weights were trained on, then start at a loss of 13 instead of 1. A detector's batches
        # are too small for statistics of their own.
        learner.fixed_statistics = built.fixed_statistics
        learner.weight, learner.parts = self._batches.weight, self.parts
        if self._validates:
            rows = plain_rows(self._data.split("validation"), _MOST_PICTURES)
            learner.validation_pictures = len(rows)
        return learner

    def _warm_start(self, classifier: Classifier) -> Epoch | None:
        classifier.to(self._trainer.strategy.root_device)
        found = warm_start(
            classifier,
            self._config.training,
            self._built.preprocessing.image_size,
            self._plain("train"),
            self._plain("validation") if self._validates else None,
            bfloat16=self.precision == "bfloat16",
            parts=self._parts_alone,
            after_epoch=self.after_warm_epoch,
        )
        if found is None:
            _log.warning("%s has no linear head to fit first.", self._config.model.name)
            return None
        head, kept = found
        return Epoch(epoch=0, validation=kept, head=head)

    def _has_validation(self) -> bool:
        counts = self._data.info.counts.get("validation", {})
        if any(counts.values()):
            return True
        what = "boxes" if self._config.task == "detection" else "pictures"
        _log.warning(f"There are no validation {what}: the last epoch's weights are kept.")
        return False

    def _plain(self, split: SplitName, *, shared: bool = False) -> "DataLoader[Any]":
        """All pictures of a split or, ``shared``, those of this process."""
        parts = self.parts.count * world() if shared else self._parts_alone.count
        return plain_loader(
            self._data.split(split),
            self._built.preprocessing,
            self._config.task,
            batch_size=-(-self._config.training.batch_size // parts),
            workers=self._workers or 0,
            limit=_MOST_PICTURES,
            rank=rank() if shared else 0,
            world=world() if shared else 1,
        )

    def _displays(self) -> list[Callback]:
        return [ProgressReport(), TensorBoard(self._data.info.classes)] if rank() == 0 else []


def _accelerator() -> str:
    """What learns, in Lightning's words. Several processes cannot share an Apple GPU."""
    return "cpu" if world() > 1 and not torch.cuda.is_available() else "auto"
