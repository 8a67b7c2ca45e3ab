"""Hugging Face's Trainer with a network of timm's, wrapped by transformers itself.

The weights lie in a folder as the hub has them (``timm.models.save_for_hf``), which
``AutoModelForImageClassification`` opens as ``TimmWrapperForImageClassification``, offline.

Sources of the settings:

- ``documented``: the article "Timm and Transformers" of Hugging Face's blog (``learning_rate=5e-5,
  per_device_train_batch_size=16, num_train_epochs=3``, evaluated and saved every epoch, the best
  model loaded in the end) with the pictures of the guide "Image classification" of transformers'
  documentation: ``RandomResizedCrop``, ``ToTensor``, ``Normalize``; for validation the processor's
  own transforms. The rest are Trainer's defaults: AdamW, no weight decay, linear schedule.
- ``short``: made in its favour: bfloat16 as the page "CPU" advises (``bf16=True, use_cpu=True``),
  channels-last, and, documented nowhere, a rate that suits a convolutional network of this size,
  milder crops, mirrored, nothing cut off for validation; cosine schedule with warm-up
  (``learning_rate=1e-3, per_device_train_batch_size=32, lr_scheduler_type="cosine", warmup 0.1,
  weight_decay=0.01``).

Trainer loads pictures in its own process by default (``dataloader_num_workers=0``). The metric is
computed here, since ``evaluate`` fetches it from the hub.
"""

import json
from pathlib import Path
from typing import Any

import timm
import torch
from curve import ARCHITECTURE, Curve, accuracy, options
from datasets import load_dataset
from timm.models import save_for_hf
from torchvision import transforms as tv
from transformers import (
    AutoImageProcessor,
    AutoModelForImageClassification,
    DefaultDataCollator,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)

RECIPES: dict[str, dict[str, Any]] = {
    "documented": {"learning_rate": 5e-5, "per_device_train_batch_size": 16},
    "short": {
        "learning_rate": 1e-3,
        "per_device_train_batch_size": 32,
        "lr_scheduler_type": "cosine",
        "warmup_steps": 0.1,
        "weight_decay": 0.01,
        "bf16": True,
    },
}


class Watch(TrainerCallback):  # type: ignore[misc]  # transformers is Any to mypy
    """Looks at the test pictures in the middle and at the end of each epoch."""

    def __init__(self, curve: Curve, test: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
        self._curve, self._test = curve, test

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any, **more: Any) -> None:
        steps = state.max_steps // int(state.num_train_epochs)
        self._curve.step(steps, lambda: accuracy(_Logits(model), self._test))


class _Logits(torch.nn.Module):
    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model
        self.training = model.training

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model(pixel_values=pictures).logits
        return logits


def write_checkpoint(weights: Path, size: int, whole: bool, folder: Path) -> None:
    """The weights as a folder of the hub's kind, for pictures of a size, ``whole`` or cropped."""
    network = timm.create_model(
        ARCHITECTURE, pretrained=True, pretrained_cfg_overlay={"file": str(weights)}
    )
    save_for_hf(network, folder, safe_serialization=True)
    file = folder / "config.json"
    config = json.loads(file.read_text())
    config["pretrained_cfg"]["input_size"] = [3, size, size]
    if whole:
        config["pretrained_cfg"]["crop_pct"] = 1.0
    # Newer timm repeats the number of classes there; the hub does not.
    config.pop("model_args", None)
    file.write_text(json.dumps(config))


def pictures(a: Any, processor: Any) -> tuple[Any, Any, list[Any]]:
    """The training and validation pictures, transformed when they are asked for; test batches."""
    splits = ("train", "validation", "test")
    data = load_dataset(
        "imagefolder",
        data_files={split: str(a.folder / split / "**") for split in splits},
        cache_dir=str(a.work / "cache"),
    )
    short = a.recipe == "short"
    train = tv.Compose(
        [
            tv.RandomResizedCrop(a.size, scale=(0.35, 1.0) if short else (0.08, 1.0)),
            *([tv.RandomHorizontalFlip()] if short else []),
            tv.ToTensor(),
            tv.Normalize(processor.data_config["mean"], processor.data_config["std"]),
        ]
    )

    def by(transform: Any) -> Any:
        return lambda rows: {
            "pixel_values": [transform(picture.convert("RGB")) for picture in rows["image"]],
            "label": rows["label"],
        }

    test = data["test"].with_transform(by(processor.val_transforms))
    batches = [
        (torch.stack(rows["pixel_values"]), torch.tensor(rows["label"]))
        for rows in (test[i : i + 64] for i in range(0, len(test), 64))
    ]
    return (
        data["train"].with_transform(by(train)),
        data["validation"].with_transform(by(processor.val_transforms)),
        batches,
    )


def main() -> None:
    a = options(__doc__, RECIPES)
    set_seed(42)
    checkpoint = a.work / "checkpoint"
    write_checkpoint(a.weights, a.size, a.recipe == "short", checkpoint)
    processor = AutoImageProcessor.from_pretrained(checkpoint)
    train, validation, test = pictures(a, processor)
    names = train.features["label"].names
    curve = Curve(a, "transformers", "accelerate")
    curve.start()
    model = AutoModelForImageClassification.from_pretrained(
        checkpoint,
        num_labels=len(names),
        id2label=dict(enumerate(names)),
        label2id={name: number for number, name in enumerate(names)},
        ignore_mismatched_sizes=True,
    )
    if a.recipe == "short":
        model = model.to(memory_format=torch.channels_last)
    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=str(a.work / "out"),
            remove_unused_columns=False,
            eval_strategy="epoch",
            save_strategy="epoch",
            num_train_epochs=a.epochs,
            per_device_eval_batch_size=16,
            load_best_model_at_end=True,
            metric_for_best_model="accuracy",
            dataloader_num_workers=a.workers,
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
            **RECIPES[a.recipe],
        ),
        train_dataset=train,
        eval_dataset=validation,
        data_collator=DefaultDataCollator(),
        compute_metrics=lambda found: {
            "accuracy": float((found.predictions.argmax(1) == found.label_ids).mean())
        },
        callbacks=[Watch(curve, test)],
    )
    trainer.train()
    curve.look(lambda: accuracy(_Logits(trainer.model), test))


if __name__ == "__main__":
    main()
