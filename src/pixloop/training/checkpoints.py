"""Checkpoints: the best weights, and all that a run needs to go on after a kill.

::

    checkpoints/
      last.ckpt                        where training was last; names the best weights
      epoch-0003-5f2a90c1.safetensors  the best weights so far of a run, which has this number

The best weights are written before ``last.ckpt`` and older ones removed after it, so that
whatever ``last.ckpt`` names is always there. It is written after every epoch, in a long one every
few minutes, and when a SIGTERM comes between two steps of an epoch.

Of several processes only the first reads and writes here: the others, whose host may have another
folder or an older one, are told what it read.
"""

import hashlib
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO
from pydantic import BaseModel, ConfigDict
from safetensors.torch import load_file, save_file
from torch import nn

from pixloop.files import atomic_path
from pixloop.training.distributed import from_first, mean, rank, world
from pixloop.training.learner import Learner
from pixloop.training.scores import better
from pixloop.training.termination import Termination

LAST = "last.ckpt"

#: What a kill may cost in a long epoch. Writing takes about a second, in which nothing is learned.
_SECONDS_BETWEEN = 300.0
#: How often several processes ask one another: each must know of it before any of them begins. In
#: an epoch of fewer steps they ask twice, and in any before its last step.
_STEPS_BETWEEN_QUESTIONS = 20

_log = logging.getLogger(__name__)


class Epoch(BaseModel):
    """What one epoch reached. Epoch 0 is the warm start: head and late layers alone."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    epoch: int  #: from 1 on; 0 is the warm start
    train_loss: float | None = None  #: mean over its steps
    learning_rate: float | None = None  #: after its last step
    validation: dict[str, float] = {}  #: by name, as in ``scores``; empty without pictures
    head: dict[str, float] | None = None  #: of epoch 0, the same with the head alone

    def better_than(self, other: "Epoch | None") -> bool:
        """By its scores; the first is better than none."""
        return other is None or better(self.validation, other.validation)


class AtomicCheckpoints(TorchCheckpointIO):  # type: ignore[misc]  # Lightning is Any to mypy
    """Lightning's checkpoint file, written so that a kill leaves the old one or the new one."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        """Called by Lightning."""
        with atomic_path(Path(path)) as temporary:
            torch.save(checkpoint, temporary)

    def load_checkpoint(self, path: Any, *args: Any, **options: Any) -> dict[str, Any]:
        """Called by Lightning, in every process."""
        load = super().load_checkpoint
        content: dict[str, Any] = from_first(lambda: load(path, *args, **options))
        return content


class EpochKeeper(Checkpoint):  # type: ignore[misc]  # Lightning is Any to mypy
    """Keeps the best epoch, stops when none gets better, and writes the checkpoints.

    Attributes:
        history: every finished epoch so far, epoch 0 included where there was one.
        best: the best of them.
    """

    def __init__(
        self,
        folder: Path,
        fingerprint: str,
        patience: int,
        on_epoch: Callable[[Epoch], None] | None = None,
    ) -> None:
        """``fingerprint``: of all that a run depends on; only an equal run is resumed.

        ``on_epoch`` is told of every epoch that is trained, once its checkpoint is written.
        """
        self.history: list[Epoch] = []
        self.best: Epoch | None = None
        self._folder, self._fingerprint, self._patience = folder, fingerprint, patience
        self._on_epoch = on_epoch
        self._batches = 0  # of the epoch after the history's last, that were learned
        self._written_at = time.monotonic()
        self._termination = Termination()

    @property
    def position(self) -> tuple[int, int]:
        """How many epochs are finished, and how many batches of the next one."""
        return self._epoch, self._batches

    @property
    def exhausted(self) -> bool:
        """Whether the last ``patience`` epochs were no better than the best."""
        return self.best is not None and self._epoch - self.best.epoch >= self._patience

    @property
    def _epoch(self) -> int:
        return self.history[-1].epoch if self.history else 0

    def resume_from(self) -> Path | None:
        """The checkpoint of an equal run that was interrupted, if there is one.

        Also takes its history over, so that a run that was over is known to be.
        """
        found = from_first(self._find_interrupted)
        if found is None:
            return None
        path, state = found
        self.load_state_dict(state)
        return path

    def _find_interrupted(self) -> tuple[Path, dict[str, Any]] | None:
        path = self._folder / LAST
        if not path.is_file():
            return None
        try:
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            state = content["callbacks"][self.state_key]
        except Exception as e:  # torch.load raises whatever the zip and pickle readers meet
            _log.warning("%s cannot be read (%s); training starts anew.", path, e)
            return None
        if state["fingerprint"] != self._fingerprint:
            _log.warning("%s is of another configuration or data; training starts anew.", path)
            return None
        return path, state

    def keep(self, epoch: Epoch, network: nn.Module) -> None:
        """Add an epoch; where it is the best, write its weights."""
        self.history.append(epoch)
        if epoch.better_than(self.best):
            self.best = epoch
            if rank() == 0:
                tensors = {k: v.cpu().contiguous() for k, v in network.state_dict().items()}
                with atomic_path(self._weights(epoch)) as temporary:
                    save_file(tensors, temporary)

    def restore_best(self, network: nn.Module) -> None:
        """Load the best epoch's weights."""
        if self.best is not None:
            network.load_state_dict(load_file(self._weights(self.best)))

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Called by Lightning, after it has begun to handle signals."""
        self._written_at = time.monotonic()
        self._termination.listen()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Called by Lightning, after a step. After the last one of an epoch, that is kept."""
        self._batches = batch_idx + 1
        steps = trainer.num_training_batches
        if self._batches < steps and self._is_due(steps):
            self._write(trainer)
            self._end_where_asked()

    def on_validation_batch_end(self, *_: Any, **__: Any) -> None:
        """Called by Lightning: validation is not interrupted to be resumed, but not finished."""
        self._end_where_asked()

    def _is_due(self, steps: int) -> bool:
        """Whether to write now, in the middle of an epoch of so many; all processes agree."""
        between = min(_STEPS_BETWEEN_QUESTIONS, max(1, steps // 2))
        if world() > 1 and self._batches % between and self._batches != steps - 1:
            return False
        late = rank() == 0 and time.monotonic() - self._written_at >= _SECONDS_BETWEEN
        return mean(float(late or self._termination.asked)) > 0

    def _write(self, trainer: pl.Trainer) -> None:
        trainer.save_checkpoint(self._folder / LAST)  # the first process writes, all wait
        self._written_at = time.monotonic()

    def _end_where_asked(self) -> None:
        if self._termination.asked:
            self._termination.end()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Called by Lightning, after validation."""
        assert isinstance(pl_module, Learner)  # noqa: S101  (``train`` gives no other)
        epoch = Epoch(
            epoch=trainer.current_epoch + 1,
            train_loss=pl_module.train_loss,
            learning_rate=trainer.optimizers[0].param_groups[-1]["lr"],
            validation=pl_module.scores,
        )
        self.keep(epoch, pl_module.network)
        self._batches = 0
        self._write(trainer)
        if rank() == 0:
            self._remove_others()
        trainer.should_stop = self.exhausted
        if self._on_epoch is not None:
            self._on_epoch(epoch)
        self._end_where_asked()

    def _remove_others(self) -> None:
        for path in self._folder.glob("epoch-*.safetensors"):
            if self.best is not None and path != self._weights(self.best):
                path.unlink()

    def state_dict(self) -> dict[str, Any]:
        """Called by Lightning: plain values, which can be loaded without running anything."""
        return {
            "fingerprint": self._fingerprint,
            "history": [epoch.model_dump() for epoch in self.history],
            "best": self.best.model_dump() if self.best else None,
            "batches": self._batches,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Called by Lightning."""
        self.history = [Epoch.model_validate(epoch) for epoch in state_dict["history"]]
        self.best = Epoch.model_validate(state_dict["best"]) if state_dict["best"] else None
        self._batches = state_dict.get("batches", 0)  # once, only finished epochs were kept

    def _weights(self, epoch: Epoch) -> Path:
        # Another run may begin in this folder, and be killed before it writes what names them.
        run = hashlib.sha256(self._fingerprint.encode()).hexdigest()[:8]
        return self._folder / f"epoch-{epoch.epoch:04d}-{run}.safetensors"
