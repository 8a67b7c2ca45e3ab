"""Training: a data set in, a model and how it was made out."""

import hashlib
import json
import logging
import os
import time
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import timm
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from pydantic import BaseModel, ConfigDict
from torch.utils.data import DataLoader

from pixloop.config import Config, flatten
from pixloop.data.dataset import Dataset, Split
from pixloop.errors import TrainingError
from pixloop.files import sha256_file, write_text
from pixloop.progress import Advance, progress
from pixloop.training.checkpoints import AtomicCheckpoints, Epoch, EpochKeeper
from pixloop.training.classifier import Classifier
from pixloop.training.display import ProgressReport, TensorBoard
from pixloop.training.head import fit_head
from pixloop.training.loaders import Batch, plain_loader, suitable_workers, training_loader
from pixloop.training.models import BuiltModel, TrainedModel, build_model, save_model
from pixloop.training.precision import Precision, choose_precision

SUMMARY = "training.json"

_HEAD_PICTURES = 50_000  # a linear layer gains nothing from more, and their features fit in memory
_LOG_EVERY_STEPS = 20

_log = logging.getLogger(__name__)


class TrainingSummary(BaseModel):
    """The content of training.json: what a training run did and reached."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    epochs: int  #: that were run
    best_epoch: int  #: whose weights were kept; 0 is the head alone, on frozen features
    validation: dict[str, float]  #: of the best epoch, as ``scores.score`` names them
    head_only: dict[str, float] | None  #: of the head alone; None where none was fitted
    history: tuple[Epoch, ...]
    weights_origin: str
    precision: Precision
    device: str
    seconds: float  #: of this run; a resumed run counts from where it was resumed


def train(
    config: Config,
    dataset: Path,
    output: Path,
    checkpoints: Path,
    logs: Path,
    weights: Path | None = None,
) -> TrainingSummary:
    """Train a classifier on a data set's ``train`` pictures; ``validation`` chooses the epoch.

    Where ``checkpoints`` holds an interrupted run of the same configuration, data and weights, it
    goes on from its last finished epoch and ends as it would have without the interruption.

    Args:
        config: its ``model`` and ``training`` sections are used.
        dataset: a folder that ``prepare`` wrote.
        output: gets weights.safetensors, model.json and training.json.
        checkpoints: a folder that survives a kill.
        logs: gets TensorBoard's event files.
        weights: a file to start from; ``config.model.weights`` is not read.

    Raises:
        TrainingError: the model cannot be built, or training fails; the message says what to try.
        DataError: there is no data set.
    """
    started = time.monotonic()
    data = Dataset.open(dataset)
    _check_pictures(data)
    torch.manual_seed(config.training.seed)
    built = build_model(config.model, len(data.info.classes), weights)
    _log.info("%s starts from: %s", config.model.name, built.weights_origin)
    with _explained(config), _quiet():
        run = _Run(config, data, built, checkpoints, logs, _fingerprint(config, data, weights))
        run.fit()
    keeper = run.keeper
    keeper.restore_best(built.network)
    classes, lineage = data.info.classes, _lineage(config, data, built)
    network = built.network.eval()
    save_model(
        output, TrainedModel(network, config.model.name, classes, built.preprocessing, lineage)
    )
    summary = _summarise(keeper, built, run, time.monotonic() - started)
    write_text(output / SUMMARY, summary.model_dump_json(indent=2) + "\n")
    return summary


class _Run:
    """One training run's parts, put together."""

    def __init__(
        self,
        config: Config,
        data: Dataset,
        built: BuiltModel,
        checkpoints: Path,
        logs: Path,
        fingerprint: str,
    ) -> None:
        settings = config.training
        self._config, self._data, self._built = config, data, built
        self._workers = settings.workers
        if self._workers is None:
            self._workers = suitable_workers(on_gpu=torch.cuda.is_available())
        self._training = training_loader(
            data.split("train"),
            built.preprocessing,
            augmentations=settings.augmentations,
            batch_size=settings.batch_size,
            seed=settings.seed,
            workers=self._workers,
        )
        self._validation = self._plain(data.split("validation"))
        if self._validation is None:
            _log.warning("There are no validation pictures: the last epoch's weights are kept.")
        self.precision = choose_precision(settings.precision)
        self.keeper = EpochKeeper(checkpoints, fingerprint, settings.patience)
        self._trainer = pl.Trainer(
            accelerator="auto",
            devices=1,
            precision="bf16-mixed" if self.precision == "bfloat16" else "32-true",
            max_epochs=settings.epochs,
            num_sanity_val_steps=0,
            log_every_n_steps=min(_LOG_EVERY_STEPS, len(self._training)),
            callbacks=[ProgressReport(), TensorBoard(data.info.classes), self.keeper],
            logger=TensorBoardLogger(logs, name="", version="", log_graph=False),
            plugins=[AtomicCheckpoints()],
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        self.device = str(self._trainer.strategy.root_device)

    def fit(self) -> None:
        """Fit the head where that is asked for, then the whole network."""
        settings, built = self._config.training, self._built
        steps = settings.epochs * len(self._training)
        classifier = Classifier(built.network, built.preprocessing, settings, steps)
        head_first = settings.head_first and built.pretrained
        # The head is fitted on features under these statistics. Under each batch's own, it would be
        # wrong from the first step: hand-drawn shapes, which are far from the photos that the
        # weights were trained on, then start at a loss of 13 instead of 1.
        classifier.keeps_statistics = head_first
        last = self.keeper.resume_from()
        if last is not None:
            _log.info("Training goes on after epoch %d.", self.keeper.history[-1].epoch)
        elif head_first:
            self._fit_head(classifier)
        if not self.keeper.exhausted:
            self._trainer.fit(
                classifier, self._training, self._validation, ckpt_path=last, weights_only=True
            )

    def _fit_head(self, classifier: Classifier) -> None:
        classifier.to(self._trainer.strategy.root_device)
        pictures = self._plain(self._data.split("train"))
        assert pictures is not None  # noqa: S101  (checked before)
        validation = self._validation
        with progress("fitting the head", len(pictures) + len(validation or ())) as advance:
            scores = fit_head(
                classifier,
                _counted(pictures, advance),
                _counted(validation, advance) if validation else None,
            )
            if scores:
                advance(0, f"F1 {scores['f1_macro']:.3f}")
        if scores is None:
            _log.warning("%s has no linear head to fit first.", self._config.model.name)
        else:
            self.keeper.keep(Epoch(epoch=0, validation=scores), classifier.network)

    def _plain(self, split: Split) -> "DataLoader[Batch] | None":
        if len(split) == 0:
            return None
        return plain_loader(
            split,
            self._built.preprocessing,
            batch_size=self._config.training.batch_size,
            workers=self._workers or 0,
            limit=_HEAD_PICTURES,
        )


def _counted(batches: Iterable[Batch], advance: Advance) -> Iterator[Batch]:
    for batch in batches:
        yield batch
        advance()


def _check_pictures(data: Dataset) -> None:
    counts = {name: n for name, n in data.info.counts.get("train", {}).items() if n}
    if len(counts) < 2:
        found = f"only {next(iter(counts))!r}" if counts else "none"
        raise TrainingError(
            f"{data.folder}: training needs pictures of at least two classes; there is {found} in"
            " the training split."
        )


def _fingerprint(config: Config, data: Dataset, weights: Path | None) -> str:
    """Of all that a run's result depends on."""
    known = {
        "model": config.model.model_dump(mode="json"),
        "training": config.training.model_dump(mode="json", exclude={"workers"}),
        "dataset": data.info.sha256,
        "weights": sha256_file(weights) if weights else None,
    }
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()


def _lineage(config: Config, data: Dataset, built: BuiltModel) -> dict[str, Any]:
    return {
        "dataset_sha256": data.info.sha256,
        "config": flatten(config),
        "seed": config.training.seed,
        "model": config.model.name,
        "weights": built.weights_origin,
        "commit": os.environ.get("PIXLOOP_COMMIT"),
        "versions": {
            "pixloop": version("pixloop"),
            "torch": torch.__version__,
            "timm": timm.__version__,
        },
    }


def _summarise(
    keeper: EpochKeeper, built: BuiltModel, run: _Run, seconds: float
) -> TrainingSummary:
    best, history = keeper.best, keeper.history
    assert best is not None  # noqa: S101  (an epoch was run, and the first is the best so far)
    return TrainingSummary(
        epochs=history[-1].epoch,
        best_epoch=best.epoch,
        validation=best.validation,
        head_only=history[0].validation if history[0].epoch == 0 else None,
        history=tuple(history),
        weights_origin=built.weights_origin,
        precision=run.precision,
        device=run.device,
        seconds=seconds,
    )


@contextmanager
def _explained(config: Config) -> Iterator[None]:
    """Say what to try where memory runs out."""
    try:
        yield
    except (RuntimeError, MemoryError) as e:
        text = str(e).lower()
        if not isinstance(e, (torch.OutOfMemoryError, MemoryError)) and "memory" not in text:
            raise
        smaller = max(1, config.training.batch_size // 2)
        raise TrainingError(
            f"Memory ran out with training.batch_size={config.training.batch_size} and"
            f" model.image_size={config.model.image_size}. Try training.batch_size={smaller}."
        ) from e


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Lightning's advice, which is about choices that are made here on purpose."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\.")
            yield
    finally:
        logger.setLevel(level)
