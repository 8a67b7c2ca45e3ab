"""Training: a data set in, a model and how it was made out."""

import hashlib
import json
import logging
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import timm
import torch
import torchvision
from pydantic import BaseModel, ConfigDict

from pixloop.bundle import Task
from pixloop.config import Config, flatten
from pixloop.data.dataset import Dataset
from pixloop.errors import TrainingError
from pixloop.files import sha256_file, write_text
from pixloop.training.built_model import BuiltModel
from pixloop.training.checkpoints import Epoch, EpochKeeper
from pixloop.training.distributed import connected, from_first, rank
from pixloop.training.memory import Memory
from pixloop.training.models import TrainedModel, build_model, save_model
from pixloop.training.names import check_names
from pixloop.training.precision import Precision
from pixloop.training.run import TrainingRun

SUMMARY = "training.json"

#: What the networks come from.
_LIBRARY: Mapping[Task, dict[str, str]] = {
    "classification": {"timm": timm.__version__},
    "detection": {"torchvision": torchvision.__version__},
}

_log = logging.getLogger(__name__)


class TrainingSummary(BaseModel):
    """The content of training.json: what a training run did and reached."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    epochs: int  #: that were run
    best_epoch: int  #: whose weights were kept; 0 is the warm start: head and late layers alone
    validation: dict[str, float]  #: of the best epoch, by name, as in ``scores``
    head_only: dict[str, float] | None  #: of the head alone; None where none was fitted
    history: tuple[Epoch, ...]
    weights_origin: str
    precision: Precision
    batch_parts: int = 1  #: in how many each batch was learned, see ``memory``
    device: str
    seconds: float  #: of this run; a resumed run counts from where it was resumed


def train(
    config: Config,
    dataset: Path | str,
    output: Path,
    checkpoints: Path,
    logs: Path,
    weights: Path | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> TrainingSummary:
    """Train a model on a data set's ``train`` pictures; ``validation`` chooses the epoch.

    Where ``checkpoints`` holds an interrupted run of the same configuration, data and weights, it
    goes on from its last finished epoch and ends as it would have without the interruption.

    Under a launcher (see ``distributed``) every process calls this; ``training.batch_size`` is that
    of all together, and only the first process needs its ``checkpoints``, and writes anything.

    Args:
        config: its ``task``, ``model`` and ``training`` are used.
        dataset: a folder that ``prepare`` wrote, or its address s3://bucket/prefix, from which it
            streams.
        output: gets weights.safetensors, model.json and training.json.
        checkpoints: a folder that survives a kill.
        logs: gets TensorBoard's event files.
        weights: a file to start from; ``config.model.weights`` is not read.
        on_epoch: is told of every epoch as it ends, and at the start of those that an interrupted
            run had finished. What it raises ends the training.

    Raises:
        ConfigError: there is no model, optimizer or augmentation of a name.
        TrainingError: the model cannot be built, or training fails; the message says what to try.
        DataError: there is no data set.
    """
    started = time.monotonic()
    check_names(config)
    data = Dataset.open(dataset)
    _check_data(config, data)
    with _quiet(), connected():
        torch.manual_seed(config.training.seed)
        built = build_model(config.model, len(data.info.classes), weights, config.task)
        built = _as_the_first(built)
        if not config.training.head_first:
            built = replace(built, fixed_statistics=frozenset())
        _log.info("%s starts from: %s", config.model.name, built.weights_origin)
        fingerprint = _fingerprint(config, data, built, weights)
        memory = Memory(config, data, built, checkpoints, fingerprint)
        with memory.explained():
            run = TrainingRun(
                config, data, built, checkpoints, logs, memory.fingerprint, on_epoch, memory.parts
            )
            run.fit()
    keeper = run.keeper
    summary = _summarise(keeper, built, run, time.monotonic() - started)
    if rank() > 0:
        return summary
    keeper.restore_best(built.network)
    model = TrainedModel(
        built.network.eval(),
        config.model.name,
        data.info.classes,
        built.preprocessing,
        _lineage(config, data, built, run),
        config.task,
    )
    save_model(output, model)
    write_text(output / SUMMARY, summary.model_dump_json(indent=2) + "\n")
    return summary


def _check_data(config: Config, data: Dataset) -> None:
    if data.info.task != config.task:
        raise TrainingError(
            f"{data} is a data set for {data.info.task}, and task is {config.task}."
            " Prepare it again."
        )
    counts = {name: n for name, n in data.info.counts.get("train", {}).items() if n}
    if config.task == "detection" and not counts:
        raise TrainingError(f"{data}: training needs boxes; there is none in the training split.")
    if config.task == "classification" and len(counts) < 2:
        found = f"only {next(iter(counts))!r}" if counts else "none"
        raise TrainingError(
            f"{data}: training needs pictures of at least two classes; there is {found} in"
            " the training split."
        )


def _as_the_first(built: BuiltModel) -> BuiltModel:
    """With what the first process says of the weights: each looked for them, and one may fail.

    The weights themselves are made equal as the trainer begins.
    """
    said = from_first(lambda: (built.weights_origin, built.pretrained, built.fixed_statistics))
    origin, pretrained, fixed = said
    return replace(built, weights_origin=origin, pretrained=pretrained, fixed_statistics=fixed)


def _fingerprint(config: Config, data: Dataset, built: BuiltModel, weights: Path | None) -> str:
    """Of all that a run's result depends on."""
    # Published weights may be out of reach at one start and not at the next. A detector's words
    # tell COCO's from its backbone's; a classifier's also whether the hub answered or its cache.
    found = built.weights_origin if config.task == "detection" else True
    known = {
        "model": config.model.model_dump(mode="json"),
        "training": config.training.model_dump(mode="json", exclude={"workers", "out_of_memory"}),
        "dataset": data.info.sha256,
        "weights": sha256_file(weights) if weights else None,
        "pretrained": built.pretrained and found,
    }
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()


def _lineage(config: Config, data: Dataset, built: BuiltModel, run: TrainingRun) -> dict[str, Any]:
    return {
        "dataset_sha256": data.info.sha256,
        "config": flatten(config),
        "seed": config.training.seed,
        "batch_parts": run.parts.count,
        "model": config.model.name,
        "weights": built.weights_origin,
        "commit": os.environ.get("PIXLOOP_COMMIT"),
        "versions": {
            "pixloop": version("pixloop"),
            "torch": torch.__version__,
            **_LIBRARY[config.task],
        },
    }


def _summarise(
    keeper: EpochKeeper, built: BuiltModel, run: TrainingRun, seconds: float
) -> TrainingSummary:
    best, history = keeper.best, keeper.history
    assert best is not None  # noqa: S101  (an epoch was run, and the first is the best so far)
    return TrainingSummary(
        epochs=history[-1].epoch,
        best_epoch=best.epoch,
        validation=best.validation,
        head_only=history[0].head,
        history=tuple(history),
        weights_origin=built.weights_origin,
        precision=run.precision,
        batch_parts=run.parts.count,
        device=run.device,
        seconds=seconds,
    )


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
