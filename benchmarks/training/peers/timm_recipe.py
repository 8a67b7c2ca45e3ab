"""timm's own way of fine-tuning, by its API: train.py is not in the wheel.

Sources of the settings:

- The order of things, and every default: train.py of timm's repository. Random resized crop of 8 to
  100 % of the area with an aspect of 3/4 to 4/3, mirrored half the time, colour jitter 0.4, random
  interpolation, label smoothing 0.1, cosine schedule by epoch with 5 epochs of warm-up from 1e-5,
  no mixup, no average of the weights. Pictures for validation: crop_pct of the model.
- ``documented``: the fine-tuning command of the page "Scripts" of timm's documentation
  (``--pretrained --batch-size 32 --epochs 30 --opt adamw --lr 1e-4 --weight-decay 0.01 --amp``).
  It stands there for several labels a picture; with one, train.py's loss is cross-entropy.
- ``short``: not documented, made in its favour. A schedule of few epochs needs a higher rate, less
  warm-up and milder crops; options of train.py all of them: ``--lr 1e-3 --warmup-epochs 1
  --sched-on-updates --scale 0.35 1 --color-jitter 0.2 --crop-pct 1 --model-ema
  --model-ema-decay 0.99 --model-ema-warmup --channels-last``.

``--amp`` is bfloat16 on a CPU (``--amp-dtype``). train.py loads with 4 processes; here as many as
there are cores. It validates after each epoch, and so does this, with the clock running.
"""

from dataclasses import dataclass
from typing import Any

import timm
import torch
from curve import ARCHITECTURE, Curve, accuracy, options
from timm.data import create_dataset, create_loader, resolve_data_config
from timm.loss import LabelSmoothingCrossEntropy
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.utils import ModelEmaV3, random_seed

BATCH, SMOOTHING = 32, 0.1


@dataclass(frozen=True)
class Recipe:
    rate: float = 1e-4
    warm_up_epochs: int = 5
    by_update: bool = False
    scale: tuple[float, float] = (0.08, 1.0)
    jitter: float = 0.4
    averaged: bool = False
    crop_share: float | None = None
    memory: torch.memory_format = torch.contiguous_format


RECIPES = {
    "documented": Recipe(),
    "short": Recipe(
        1e-3, 1, True, (0.35, 1.0), 0.2, averaged=True, crop_share=1.0,
        memory=torch.channels_last,
    ),
}  # fmt: skip


class Run:
    """Loaders first, then, with the clock running, the network and its training."""

    def __init__(self, a: Any) -> None:
        self.recipe, self.epochs = RECIPES[a.recipe], a.epochs
        self.curve = Curve(a)
        random_seed(42)
        bare = timm.create_model(ARCHITECTURE)
        self.preprocessing = resolve_data_config(
            {"input_size": (3, a.size, a.size), "crop_pct": self.recipe.crop_share}, model=bare
        )
        self.folder, self.weights, self.workers = a.folder, a.weights, a.workers
        self.training = self._loader("train", training=True)
        self.validation = self._loader("validation")
        self.test = list(self._loader("test"))
        self.classes = len(self.training.dataset.reader.class_to_idx)

    def _loader(self, split: str, training: bool = False) -> Any:
        chosen = self.preprocessing
        changes = {"scale": self.recipe.scale, "ratio": (3 / 4, 4 / 3)} if training else {}
        return create_loader(
            create_dataset("", root=self.folder, split=split, is_training=training),
            input_size=chosen["input_size"],
            batch_size=BATCH,
            is_training=training,
            color_jitter=self.recipe.jitter,
            interpolation="random" if training else chosen["interpolation"],
            mean=chosen["mean"],
            std=chosen["std"],
            crop_pct=chosen["crop_pct"],
            num_workers=self.workers,
            device=torch.device("cpu"),
            **changes,
        )

    def fit(self) -> None:
        self.curve.start()
        network = timm.create_model(
            ARCHITECTURE,
            pretrained=True,
            pretrained_cfg_overlay={"file": str(self.weights)},
            num_classes=self.classes,
        ).to(memory_format=self.recipe.memory)
        average = ModelEmaV3(network, 0.99, use_warmup=True) if self.recipe.averaged else None
        optimizer = create_optimizer_v2(
            network, opt="adamw", lr=self.recipe.rate, weight_decay=0.01
        )
        steps = len(self.training)
        schedule, _ = create_scheduler_v2(
            optimizer,
            num_epochs=self.epochs,
            # No more than half of a run that was asked to be shorter than the default.
            warmup_epochs=min(self.recipe.warm_up_epochs, self.epochs // 2),
            step_on_epochs=not self.recipe.by_update,
            updates_per_epoch=steps,
        )
        loss = LabelSmoothingCrossEntropy(SMOOTHING)

        def test() -> float:
            found = [accuracy(network, self.test)]
            if average is not None:
                found.append(accuracy(average.module, self.test))
            return max(found)

        for epoch in range(self.epochs):
            network.train()
            for step, (pictures, targets) in enumerate(self.training):
                pictures = pictures.contiguous(memory_format=self.recipe.memory)
                with torch.autocast("cpu", torch.bfloat16):
                    value = loss(network(pictures), targets)
                optimizer.zero_grad()
                value.backward()
                optimizer.step()
                if average is not None:
                    average.update(network, step=epoch * steps + step)
                schedule.step_update(num_updates=epoch * steps + step + 1)
                self.curve.step(steps, test)
            with torch.autocast("cpu", torch.bfloat16):
                accuracy(network if average is None else average.module, self.validation)
            schedule.step(epoch + 1)


if __name__ == "__main__":
    Run(options(__doc__, RECIPES)).fit()
