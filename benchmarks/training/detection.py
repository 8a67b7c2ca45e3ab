"""A detector trained on bccd: the epoch is chosen by validation, the test pictures seen once."""

import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import Timer

from pixloop.config import Config
from pixloop.data.dataset import Dataset
from pixloop.training.loaders import plain_loader
from pixloop.training.models import build_model
from pixloop.training.run import TrainingRun
from pixloop.training.scores import score_boxes


def train_detector(
    folder: Path, weights: Path, size: int, epochs: int, most_seconds: float, **settings: Any
) -> dict[str, Any]:
    """Validation's and test's AP of the best epoch."""
    config = Config.model_validate(
        {
            "task": "detection",
            "data": ".",
            "model": {
                "name": "fasterrcnn_mobilenet_v2_fpn", "image_size": size, "resize": "squash",
            },
            "training": {
                "epochs": epochs,
                "patience": epochs,
                "augmentations": ["flip", "vflip", "shift", "color"],
                **settings,
            },
        }
    )  # fmt: skip
    started = time.monotonic()
    data = Dataset.open(folder)
    torch.manual_seed(config.training.seed)
    built = build_model(config.model, len(data.info.classes), weights, "detection")
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        run = TrainingRun(config, data, built, work / "c", work / "l", "")
        run._trainer.callbacks.insert(0, Timer(timedelta(seconds=most_seconds)))
        run.fit()
        seconds = time.monotonic() - started
        run.keeper.restore_best(built.network)
    assert run.keeper.best is not None
    return {
        "size": size,
        "epochs": [run.keeper.history[-1].epoch, epochs],
        "seconds": round(seconds, 1),
        "best_epoch": run.keeper.best.epoch,
        "validation": run.keeper.best.validation,
        "validation_map_50": [round(e.validation["map_50"], 4) for e in run.keeper.history],
        "test": _score(run, data, config),
    }


@torch.no_grad()
def _score(run: TrainingRun, data: Dataset, config: Config) -> dict[str, float]:
    learner: Any = run._trainer.lightning_module
    learner.to(run.device).eval()
    loader = plain_loader(
        data.split("test"),
        run._built.preprocessing,
        "detection",
        batch_size=config.training.batch_size,
        workers=0,
        limit=10_000,
    )
    found: list[dict[str, Any]] = []
    truth: list[dict[str, Any]] = []
    for pictures, targets in loader:
        answers = learner(pictures.to(run.device))
        found += [{name: value.cpu() for name, value in one.items()} for one in answers]
        truth += targets
    return score_boxes(found, truth)
