"""AutoGluon MultiModal: ``MultiModalPredictor.fit``.

Sources of the settings:

- ``documented``: the preset ``medium_quality``, which is the one with a MobileNet (AutoGluon's
  presets.py: ``optim.lr`` 4e-4), and the defaults of its configuration (page "Customize AutoMM"):
  at most 20 epochs with a patience of 10 checks, batches of 128 gathered from eights, AdamW, rates
  falling by 0.9 a layer, cosine schedule, TrivialAugment, validated twice an epoch, the three best
  checkpoints averaged greedily in the end.
- ``short``: not documented, made in its favour: batches of 32 that are not gathered, so that batch
  normalisation sees 32 pictures and there are four times as many steps, and a rate of 1e-3.

The network is changed by ``model.timm_image.checkpoint_name``, which may be a folder of weights and
configuration as AutoGluon itself writes them. Its loaders use two processes by default. ``fit``
does everything, so the clock also runs while AutoGluon looks at the table's columns. AutoGluon 1.6
wants an older torch, torchvision and timm than the other peers have.
"""

import json
import warnings
from pathlib import Path
from typing import Any

import pandas as pd
import timm
import torch
from autogluon.multimodal import MultiModalPredictor
from autogluon.multimodal.constants import LOGITS
from autogluon.multimodal.data.datamodule import BaseDataModule
from autogluon.multimodal.learners.base import BaseLearner
from autogluon.multimodal.models.utils import run_model
from curve import ARCHITECTURE, Curve, options
from lightning.pytorch import Callback

RECIPES: dict[str, dict[str, Any]] = {
    "documented": {},
    "short": {"env.batch_size": 32, "env.per_gpu_batch_size": 32, "optim.lr": 1e-3},
}


class Watch(Callback):  # type: ignore[misc]  # Lightning is Any to mypy
    """Looks at the test pictures whenever AutoGluon has validated: twice an epoch."""

    def __init__(self, curve: Curve, test: pd.DataFrame) -> None:
        self._curve, self._table = curve, test
        self._batches: list[Any] = []

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        if not trainer.sanity_checking:
            self._curve.look(lambda: self._accuracy(trainer, pl_module.model))

    @torch.no_grad()
    def _accuracy(self, trainer: Any, model: Any) -> float:
        if not self._batches:
            theirs = trainer.datamodule
            data = BaseDataModule(
                theirs.df_preprocessor, theirs.data_processors, 32, 0, test_data=self._table
            )
            data.setup("test")
            self._batches = list(data.test_dataloader())
        training = [module for module in model.modules() if module.training]
        model.eval()
        right = 0
        for batch in self._batches:
            logits = run_model(model, batch)[model.prefix][LOGITS]
            right += int((logits.argmax(1) == batch[model.label_key]).sum())
        for module in training:
            module.training = True
        return right / len(self._table)


def table(folder: Path) -> pd.DataFrame:
    """A row a picture: its path and its class."""
    files = sorted(folder.glob("*/*"))
    return pd.DataFrame(
        {"image": [str(file) for file in files], "label": [file.parent.name for file in files]}
    )


def write_checkpoint(weights: Path, folder: Path) -> None:
    """Weights and configuration as AutoGluon writes them, without ImageNet's classes."""
    network = timm.create_model(
        ARCHITECTURE, pretrained=True, pretrained_cfg_overlay={"file": str(weights)}, num_classes=0
    )
    folder.mkdir(parents=True)
    torch.save(network.state_dict(), folder / "pytorch_model.bin")
    config = {
        "architecture": ARCHITECTURE,
        "num_classes": 0,
        "num_features": network.num_features,
        "pretrained_cfg": {
            key: network.pretrained_cfg[key]
            for key in ("input_size", "mean", "std", "interpolation", "crop_pct")
        },
    }
    (folder / "config.json").write_text(json.dumps(config))


def main() -> None:
    warnings.filterwarnings("ignore")
    a = options(__doc__, RECIPES)
    checkpoint = a.work / "checkpoint"
    write_checkpoint(a.weights, checkpoint)
    train, validation, test = (table(a.folder / s) for s in ("train", "validation", "test"))
    curve = Curve(a, "autogluon.multimodal", "lightning")
    watch = Watch(curve, test)
    theirs = BaseLearner.get_callbacks_per_run
    BaseLearner.get_callbacks_per_run = lambda self, *args, **kwargs: [
        *theirs(self, *args, **kwargs),
        *([watch] if kwargs.get("is_train", True) else []),
    ]
    predictor = MultiModalPredictor(
        label="label", path=str(a.work / "model"), verbosity=1, enable_progress_bar=False
    )
    curve.start()
    predictor.fit(
        train_data=train,
        tuning_data=validation,
        presets="medium_quality",
        seed=42,
        hyperparameters={
            "model.names": ["timm_image"],
            "model.timm_image.checkpoint_name": str(checkpoint),
            "model.timm_image.image_size": a.size,
            "optim.max_epochs": a.epochs,
            "env.num_workers": a.workers,
            "env.num_gpus": 0,
            **RECIPES[a.recipe],
        },
    )
    curve.look(lambda: float(predictor.evaluate(test, metrics=["accuracy"])["accuracy"]))


if __name__ == "__main__":
    main()
