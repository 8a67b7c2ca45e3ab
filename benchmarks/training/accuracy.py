"""Seconds to an accuracy on test pictures, which are looked at while the clock stands still.

    python benchmarks/training/accuracy.py DATASET WEIGHTS [--set training.epochs=4]

Prints the curve as a line of JSON: pixloop's own entry beside its peers, each in a new process.
"""

import argparse
import json
import logging
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
import yaml
from clock import now
from lightning.pytorch.callbacks import Callback

from pixloop.config import Config
from pixloop.data.dataset import Dataset
from pixloop.training.loaders import plain_loader
from pixloop.training.models import build_model
from pixloop.training.run import TrainingRun

GOALS = (0.85, 0.90)
SIZE = 224


class AccuracyClock(Callback):  # type: ignore[misc]  # Lightning is Any to mypy
    """Notes seconds and test accuracy after the head and each epoch, of late or all layers."""

    def __init__(self, batches: Any) -> None:
        self._batches = list(batches)
        self._started, self._stood = now(), 0.0
        self.curve: list[tuple[float, float]] = []

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.note(pl_module)

    @torch.no_grad()
    def note(self, learner: Any) -> None:
        """Look at the test pictures while the clock stands still."""
        began = now()
        training = [module for module in learner.network.modules() if module.training]
        learner.network.eval()
        right = sum(
            int((learner(pictures.to(learner.device)).argmax(1).cpu() == labels).sum())
            for pictures, labels in self._batches
        )
        for module in training:
            module.training = True
        total = sum(len(labels) for _, labels in self._batches)
        self.curve.append((round(began - self._started - self._stood, 2), right / total))
        self._stood += now() - began


def time_to_accuracy(
    folder: Path,
    weights: Path,
    size: int = SIZE,
    benchmark: bool | None = None,
    change: Callable[[TrainingRun], None] = lambda run: None,
    **settings: Any,
) -> dict[str, Any]:
    """The curve of one training run, and what it says of the goals.

    The clock starts before the network is built, and runs while checkpoints are written. ``change``
    may change the run before it begins.
    """
    config = Config.model_validate(
        {
            "task": "classification",
            "data": ".",
            "model": {"name": "mobilenetv2_100", "resize": "squash", "image_size": size},
            "training": {"epochs": 3, "augmentations": ["flip", "crop", "color"], **settings},
        }
    )
    data = Dataset.open(folder)
    built = build_model(config.model, len(data.info.classes), weights)
    test = plain_loader(
        data.split("test"), built.preprocessing, batch_size=64, workers=0, limit=10_000
    )
    clock = AccuracyClock(test)
    torch.manual_seed(config.training.seed)
    built = build_model(config.model, len(data.info.classes), weights)
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        run = TrainingRun(config, data, built, work / "c", work / "l", "")
        if benchmark is not None:
            torch.backends.cudnn.benchmark = benchmark
        run._trainer.callbacks.insert(0, clock)
        run.after_warm_epoch = lambda scores: clock.note(run.learner)
        change(run)
        run.fit()
    best = max(accuracy for _, accuracy in clock.curve)
    marks = {f"{goal:.2f}": goal for goal in GOALS} | {"best": best}
    seconds = {
        name: next((s for s, accuracy in clock.curve if accuracy >= goal), None)
        for name, goal in marks.items()
    }
    return {"seconds_to": seconds, "best": round(best, 4), "curve": clock.curve}


def parse_settings(given: list[str]) -> dict[str, Any]:
    """``training.KEY=VALUE`` as keys and values."""
    pairs = [one.removeprefix("training.").split("=", 1) for one in given]
    return {key: yaml.safe_load(value) for key, value in pairs}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="a data set as the step Prepare writes it")
    parser.add_argument("weights", type=Path)
    parser.add_argument("--size", type=int, default=SIZE)
    parser.add_argument("--set", action="append", default=[], metavar="training.KEY=VALUE")
    a = parser.parse_args()
    logging.disable(logging.INFO)
    found = time_to_accuracy(a.data, a.weights, a.size, **parse_settings(a.set))
    print(json.dumps({"recipe": "pixloop", "size": a.size} | found), flush=True)


if __name__ == "__main__":
    main()
