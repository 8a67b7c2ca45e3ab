"""Seconds to an accuracy on test pictures, which are looked at while the clock stands still."""

import tempfile
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from clock import now
from lightning.pytorch.callbacks import Callback

from pixloop.config import Config
from pixloop.data.dataset import Dataset
from pixloop.training.loaders import plain_loader
from pixloop.training.models import build_model
from pixloop.training.run import TrainingRun

GOALS = (0.85, 0.90)


class AccuracyClock(Callback):  # type: ignore[misc]  # Lightning is Any to mypy
    """Notes seconds and test accuracy before the first epoch (the head alone) and after each."""

    def __init__(self, batches: Any) -> None:
        self._batches = list(batches)
        self._started, self._stood = now(), 0.0
        self.curve: list[tuple[float, float]] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self._note(pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self._note(pl_module)

    @torch.no_grad()
    def _note(self, learner: Any) -> None:
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
    folder: Path, weights: Path, benchmark: bool | None = None, **settings: Any
) -> dict[str, Any]:
    """The curve of one training run, and what it says of the goals.

    The clock starts before the network is built, and runs while checkpoints are written.
    """
    config = Config.model_validate(
        {
            "task": "classification",
            "data": ".",
            "model": {"name": "mobilenetv2_100", "resize": "squash", "image_size": 161},
            "training": {"epochs": 6, "augmentations": ["flip", "crop", "color"], **settings},
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
        run.fit()
    best = max(accuracy for _, accuracy in clock.curve)
    marks = {f"{goal:.2f}": goal for goal in GOALS} | {"best": best}
    seconds = {
        name: next((s for s, accuracy in clock.curve if accuracy >= goal), None)
        for name, goal in marks.items()
    }
    return {"seconds_to": seconds, "best": round(best, 4), "curve": clock.curve}
